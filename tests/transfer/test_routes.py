"""Each route forced once and chosen once, between real endpoints that share nothing but the service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.store import Store
from tests.programs import wait_for
from tests.transfer.sites import Sites, at_site
from tests.transfer.web import web_server

pytestmark = pytest.mark.slow
MB = 1_000_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("published")
    with web_server(folder) as url:
        yield folder, url


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory, files: tuple[Path, str], s3: str) -> Iterator[Sites]:
    """Source ``all`` offers every route; the others one each, and no data server. Destinations ``only-…`` may use one route, ``any`` all of them."""
    folder, url = files
    bucket = f"s3://bucket/shared?endpoint_url={s3}"
    made = Sites(tmp_path_factory.mktemp("sites"))
    with at_site("laptop", made.folder), made:
        here = {"allowed_hosts": ("127.0.0.1",), "buckets": (bucket,)}
        for source in ("all", "web", "cloud", "hidden"):
            (made.folder / source).mkdir()
        os.symlink(made.folder / "all" / "store", folder / "all")
        os.symlink(made.folder / "web" / "store", folder / "web")
        store = made.store("all").url
        made.start("all", buckets=(bucket,), published=(f"{store}={url}/all",))
        made.start("web", data_host="", published=(f"{made.store('web').url}={url}/web",))
        made.start("cloud", data_host="", buckets=(bucket,))
        made.start("hidden", data_host="")
        for route in ("bucket", "url", "relay", "direct"):
            made.start(f"only-{route}", routes=(route,), **here)
        made.start("any", **here)
        yield made


@pytest.fixture(scope="module")
def client(sites: Sites) -> Iterator[Client]:
    with sites.client() as made:
        yield made


def total(array: np.ndarray) -> float:
    return float(array.sum())


def moved(sites: Sites, client: Client, source: str, destination: str) -> dict[str, object]:
    """Use a fresh object of one site at another; how it got there."""
    data = np.random.default_rng(7).random(MB)
    at_source = sites.store(source).proxy(data)
    name = elsewhere_name(at_source)
    assert Executor(destination, client=client).submit(total, at_source).result(90) == data.sum()
    done: list[dict[str, object]] = []
    while not done:
        done = [each for each in sites.wait_for_transfers(client, 1) if each["object"] == name]
    return done[0]


def elsewhere_name(proxy: object) -> str:
    from fedproxy.store import ref_of

    ref = ref_of(proxy)  # type: ignore[arg-type]
    assert ref is not None
    return ref.object_id


@pytest.mark.parametrize("route", ["bucket", "direct", "url", "relay"])
def test_each_route_works_where_it_is_the_only_one_allowed(sites: Sites, client: Client, route: str) -> None:
    told = moved(sites, client, "all", f"only-{route}")
    assert (told["route"], told["source"]) == (route, "all")
    assert f"{next(r for r in ('bucket', 'direct', 'url', 'relay') if r != route)} from all: not allowed here" in str(told["explain"])


@pytest.mark.parametrize(("source", "route"), [("all", "direct"), ("web", "url"), ("cloud", "bucket"), ("hidden", "relay")])
def test_each_route_is_chosen_where_it_is_the_best_there_is(sites: Sites, client: Client, source: str, route: str) -> None:
    told = moved(sites, client, source, "any")
    assert told["route"] == route
    assert str(told["explain"]).startswith(f"{route} from {source}: ")


def test_a_copy_that_one_site_has_staged_serves_the_next(sites: Sites, client: Client) -> None:
    data = np.ones(MB)
    store = sites.store("hidden")
    at_source = store.proxy(data)
    assert Executor("any", client=client).submit(total, at_source).result(90) == MB
    from fedproxy.store import ref_of

    ref = ref_of(at_source)
    assert ref is not None
    Store.from_url(store.url).evict(ref)  # the origin is gone; the relay's copy too
    client.rest.tell("DELETE", f"/v1/relay/{ref.object_id}", None)
    assert Executor("only-direct", client=client).submit(total, at_source).result(90) == MB

    def told() -> list[tuple[object, object]]:
        mine = [each for each in sites.transfers(client) if each["object"] == ref.object_id and each["destination"] == "only-direct"]
        return [(each["source"], each["route"]) for each in mine]

    wait_for(told, "the report of the second transfer")
    assert told() == [("any", "direct")]


def test_payloads_never_pass_the_service_but_for_the_relay(sites: Sites, client: Client) -> None:
    before = client.service_stats()
    moved(sites, client, "all", "any")
    after = client.service_stats()
    assert after["bytes_in"] - before["bytes_in"] < 50_000
    assert after["bytes_out"] - before["bytes_out"] < 50_000
