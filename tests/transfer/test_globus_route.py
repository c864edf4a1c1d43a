"""Objects between real endpoints by Globus: the real globus-sdk against the stand-in."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from fedproxy.config.lifetimes import TASK_DATA_TTL_S
from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.errors import GlobusPausedError, GlobusTaskError
from fedproxy.store import Store, ref_of
from fedproxy.testing.globus import GlobusStandIn
from fedproxy.transfer.objects import Replica, Wanted
from fedproxy.transfer.routes.base import Outgoing
from fedproxy.transfer.routes.globus import GlobusRoute, lies_at
from fedproxy.transfer.service_link import ServiceLink
from fedproxy.transfer.sites import GlobusOffer, Site
from tests.programs import wait_for
from tests.transfer.sites import Sites, at_site

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory, globus: GlobusStandIn) -> Iterator[Sites]:
    """``lab`` shows its store in a collection; the store of ``attic`` lies outside of its collection. ``only`` may use Globus only, ``any`` all routes."""
    made = Sites(tmp_path_factory.mktemp("sites"))
    with at_site("laptop", made.folder), made:

        def collection(site: str, below: str = "") -> dict[str, object]:
            folder = made.folder / site / below
            folder.mkdir(parents=True, exist_ok=True)
            shown = globus.collection(made.folder / f"shown-{site}")
            (made.folder / f"shown-{site}" / "data").symlink_to(folder)
            return {"globus_collection": shown, "globus_base_path": "/data", "globus_folder": str(folder)}

        made.start("lab", data_host="", **collection("lab"))
        made.start("attic", data_host="", **collection("attic", "exchange"))
        made.start("only", routes=("globus",), give_up_s=3.0, **collection("only"))
        made.start("impatient", routes=("globus",), give_up_s=1.0, stall_s=0.2, **collection("impatient"))
        measured = made.folder / "any" / "endpoints" / "any" / "data" / "speeds.json"
        measured.parent.mkdir(parents=True)
        measured.write_text(json.dumps([{"source": "lab", "here": "any", "route": "globus", "setup_s": 0.01, "bytes_per_s": 1e9, "samples": 3}]))
        made.start("any", **collection("any", "exchange"))
        yield made


@pytest.fixture(scope="module")
def client(sites: Sites) -> Iterator[Client]:
    with sites.client() as made:
        yield made


def total(*arrays: np.ndarray) -> float:
    return float(sum(array.sum() for array in arrays))


def object_of(proxy: object) -> str:
    ref = ref_of(proxy)  # type: ignore[arg-type]
    assert ref is not None
    return ref.object_id


def report_of(sites: Sites, client: Client, name: str) -> dict[str, object]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for each in sites.wait_for_transfers(client, 1):
            if each["object"] == name:
                return each
    raise AssertionError("no report")


def test_a_hundred_objects_are_one_transfer_task_for_the_pair(sites: Sites, client: Client, globus: GlobusStandIn) -> None:
    before = len(globus.transfers())
    store = sites.store("lab")
    proxies = [store.proxy(np.full(3_000, float(index))) for index in range(100)]
    assert Executor("only", client=client).submit(total, *proxies).result(90) == 3_000 * sum(range(100))
    made = globus.transfers()[before:]
    assert [len(task.items) for task in made] == [100]
    assert made[0].document["verify_checksum"] is True
    assert all(item["source_path"].startswith("/data/store/") for item in made[0].items)
    assert report_of(sites, client, object_of(proxies[99]))["route"] == "globus"


def test_a_file_that_was_damaged_on_its_way_is_sent_again(sites: Sites, client: Client, globus: GlobusStandIn) -> None:
    globus.faults.corrupt["*"] = 1
    data = np.random.default_rng(1).random(50_000)
    assert Executor("only", client=client).submit(total, sites.store("lab").proxy(data)).result(90) == data.sum()
    assert [event["code"] for event in globus.transfers()[-1].events] == ["STARTED", "VERIFY_CHECKSUM", "SUCCEEDED"]


def test_an_expired_token_is_renewed(sites: Sites, client: Client, globus: GlobusStandIn) -> None:
    globus.expire_tokens()
    asked = globus.calls["POST /v2/oauth2/token"]
    assert Executor("only", client=client).submit(total, sites.store("lab").proxy(np.ones(10_000))).result(90) == 10_000
    assert globus.calls["POST /v2/oauth2/token"] > asked


def test_what_lies_outside_of_the_collection_is_laid_there_first(sites: Sites, client: Client, globus: GlobusStandIn) -> None:
    before = len(globus.transfers())
    proxies = [sites.store("attic").proxy(np.full(5_000, value)) for value in (1.0, 2.0)]
    assert Executor("only", client=client).submit(total, *proxies).result(90) == 15_000
    assert [len(task.items) for task in globus.transfers()[before:]] == [2]


def test_globus_is_chosen_where_it_is_the_best_there_is(sites: Sites, client: Client) -> None:
    proxy = sites.store("lab").proxy(np.ones(20_000))
    assert Executor("any", client=client).submit(total, proxy).result(90) == 20_000
    told = report_of(sites, client, object_of(proxy))
    assert str(told["explain"]).startswith("globus from lab: ")
    assert "relay from lab" in str(told["explain"])
    assert not list((sites.folder / "any" / "exchange" / "fedproxy-arriving").iterdir())


def test_a_task_that_globus_fails_is_a_typed_error_on_the_future(sites: Sites, client: Client, globus: GlobusStandIn) -> None:
    globus.faults.fail = ("PERMISSION_DENIED", "no write access")
    try:
        future = Executor("only", client=client).submit(total, sites.store("lab").proxy(np.ones(10_000)))
        with pytest.raises(GlobusTaskError, match="PERMISSION_DENIED: no write access"):
            future.result(90)
    finally:
        globus.faults.fail = None


def test_a_task_that_is_paused_for_a_consent_is_a_typed_error_on_the_future(sites: Sites, client: Client, globus: GlobusStandIn) -> None:
    globus.faults.pause = "ConsentRequired"
    try:
        future = Executor("impatient", client=client).submit(total, sites.store("lab").proxy(np.ones(10_000)))
        with pytest.raises(GlobusPausedError, match="is paused: ConsentRequired"):
            future.result(90)
    finally:
        globus.faults.pause = ""
    assert globus.transfers()[-1].cancelled.is_set()


def test_exports_are_removed_when_they_are_old(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []

    class Link:
        def remove_copies(self, places: Iterable[tuple[str, str]]) -> None:
            told.extend(places)

    here = Site("lab", globus=GlobusOffer("c", "/data", str(tmp_path / "shown")))
    store = Store.from_url(f"file://{tmp_path / 'store'}")
    ref = store.put(b"x" * 1_000)
    outgoing = Outgoing(Wanted.of(ref), Replica("lab", store.url, ref.key))
    route = GlobusRoute(cast("ServiceLink", Link()))
    (copy,) = route.export([outgoing], here)
    path = tmp_path / "shown" / "fedproxy-exports" / copy.key
    assert (copy.store, path.stat().st_mode & 0o777) == ("globus-export://c/data/fedproxy-exports", 0o600)
    assert lies_at(copy, here) == f"/data/fedproxy-exports/{copy.key}"
    os.utime(path, (0, time.time() - TASK_DATA_TTL_S - 10))
    route.export([], here)
    assert not path.exists()
    assert told == [(copy.key, copy.store)]


@pytest.mark.parametrize("source", [
    Replica("lab", "file:///elsewhere/store", "k"), Replica("lab", "file:///lab/other", "k"), Replica("lab", "file:///lab/../etc", "k"),
    Replica("lab", "shm://host/lab", "k"), Replica("lab", "globus-export://other/data", "k")])
def test_only_files_of_the_sites_own_stores_are_read_in_place(source: Replica) -> None:
    site = Site("lab", stores=frozenset({"file:///lab/store", "file:///lab/../etc", "file:///elsewhere/store"}), globus=GlobusOffer("c", "/data", "/lab"))
    assert lies_at(source, site) is None
    assert lies_at(Replica("lab", "file:///lab/store?id=1", "k"), site) == "/data/store/k"


def test_a_cancelled_task_ends_its_transfer_at_globus(sites: Sites, client: Client, globus: GlobusStandIn) -> None:
    before = len(globus.transfers())
    globus.faults.slow_s = 60.0
    try:
        future = Executor("only", client=client).submit(total, sites.store("lab").proxy(np.ones(10_000)))
        wait_for(lambda: len(globus.transfers()) > before, "the transfer")
        assert future.cancel()
        wait_for(globus.transfers()[-1].cancelled.is_set, "its end", 60)
    finally:
        globus.faults.slow_s = 0.0


def test_killing_the_agent_in_the_middle_sends_nothing_twice(sites: Sites, client: Client, globus: GlobusStandIn) -> None:
    before = len(globus.transfers())
    globus.faults.slow_s = 4.0
    try:
        future = Executor("any", client=client).submit(total, sites.store("lab").proxy(np.full(10_000, 2.0)))
        wait_for(lambda: len(globus.transfers()) > before, "the transfer")
        sites.kill("any")
        sites.start("any", **sites.options["any"])
        assert future.result(90) == 20_000
    finally:
        globus.faults.slow_s = 0.0
    assert len(globus.transfers()) == before + 1
    assert json.loads((sites.folder / "any" / "endpoints" / "any" / "data" / "globus.json").read_text()) == []


def test_no_secret_is_told_to_the_service_or_the_logs(sites: Sites, client: Client, globus: GlobusStandIn) -> None:
    secret = next(secret for secret in globus.clients.values() if secret)
    told = [path for path in sites.folder.rglob("*") if path.is_file() and path.suffix in (".log", ".json", ".db", "") and secret.encode() in path.read_bytes()]
    assert not told
    assert secret not in json.dumps(client.rest.json("GET", "/v1/sites"))


def test_an_object_that_is_gone_is_lost_and_the_others_of_its_batch_arrive(sites: Sites, client: Client) -> None:
    store = sites.store("lab")
    kept, gone = store.proxy(np.ones(9_000)), store.proxy(np.ones(9_001))
    ref = ref_of(gone)
    assert ref is not None
    Store.from_url(store.url).evict(ref)
    executor = Executor("only", client=client)
    lost, fine = executor.submit(total, gone), executor.submit(total, kept)
    assert fine.result(90) == 9_000
    with pytest.raises(LookupError, match="Globus could not read it: FILE_NOT_FOUND"):
        lost.result(90)
