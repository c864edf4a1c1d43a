"""What goes wrong between sites ends as a typed error on the future, and the task's state says so."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.errors import (
    AuthenticationError,
    DataLostError,
    DigestMismatchError,
    NotFoundError,
    StagingFullError,
    TransferCancelledError,
    TransferStalledError,
    UnreachableSiteError,
)
from fedproxy.store import ref_of
from tests.programs import wait_for
from tests.transfer.gated_proxy import GatedProxy
from tests.transfer.sites import Sites, at_site

MB = 1_000_000
pytestmark = pytest.mark.slow


def total(array: np.ndarray) -> float:
    return float(array.sum())


def touch(value: object) -> int:
    return len(value)  # type: ignore[arg-type]


class Setting:
    """Site A behind a proxy; B as usual; ``small`` with little room."""

    def __init__(self, folder: Path) -> None:
        self.proxy = GatedProxy()
        self.sites = Sites(folder)

    def start(self) -> None:
        port = self.free_port()
        self.proxy.lead_to(f"http://127.0.0.1:{port}")
        self.sites.start("A", data_port=port, data_url=self.proxy.url, routes=("direct",))
        self.sites.start("B", routes=("direct",), give_up_s=4.0, stall_s=2.0)
        self.sites.start("small", routes=("direct",), give_up_s=4.0, space_bytes=100_000)

    @staticmethod
    def free_port() -> int:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as server:
            return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    made = Setting(tmp_path_factory.mktemp("bad"))
    with at_site("laptop", made.sites.folder, {"FEDPROXY_TRANSFER_ROUTES": "[direct]"}), made.sites, closing(made.proxy):
        made.start()
        yield made


@pytest.fixture
def client(setting: Setting) -> Iterator[Client]:
    with setting.sites.client() as made:
        yield made
    setting.proxy.corrupt = False
    setting.proxy.allow(1 << 62)


def fails(client: Client, endpoint: str, value: object, error: type[Exception]) -> str:
    """The task ends FAILED with this error; its text."""
    future = Executor(endpoint, client=client).submit(touch, value)
    with pytest.raises(error) as caught:
        future.result(60)
    assert future.status() == "FAILED"
    return str(caught.value)


def test_an_object_that_was_lost_is_told_by_key_store_and_site(setting: Setting, client: Client) -> None:
    store = setting.sites.store("A")
    proxy = store.proxy(b"x" * MB)
    ref = ref_of(proxy)
    assert ref is not None
    store.evict(ref)
    text = fails(client, "B", proxy, DataLostError)
    assert ref.key in text


def test_what_is_changed_on_the_way_is_asked_for_again_and_then_refused(setting: Setting, client: Client) -> None:
    setting.proxy.corrupt = True
    text = fails(client, "B", setting.sites.store("A").proxy(b"x" * MB), DigestMismatchError)
    assert "not what was sent" in text


def test_a_destination_without_room_says_so(setting: Setting, client: Client) -> None:
    assert "space_bytes" in fails(client, "small", setting.sites.store("A").proxy(b"x" * MB), StagingFullError)


def test_a_transfer_that_stalls_ends(setting: Setting, client: Client) -> None:
    setting.proxy.allow(setting.proxy.passed + 500_000)
    assert "no byte" in fails(client, "B", setting.sites.store("A").proxy(b"x" * (20 * MB)), TransferStalledError)


def test_a_site_that_nobody_knows_is_named_at_once(setting: Setting, client: Client) -> None:
    from attrs import evolve

    from fedproxy.store import proxy_from_ref

    ref = ref_of(setting.sites.store("A").proxy(b"x" * MB))
    assert ref is not None
    text = fails(client, "B", proxy_from_ref(evolve(ref, site="atlantis", store="file:///atlantis?id=1")), UnreachableSiteError)
    assert "'atlantis'" in text
    assert "never heard of" in text


def test_a_task_that_is_cancelled_while_it_waits_for_its_data_stops_the_transfer(setting: Setting, client: Client) -> None:
    setting.proxy.allow(setting.proxy.passed + 500_000)
    future = Executor("B", client=client).submit(touch, setting.sites.store("A").proxy(b"x" * (20 * MB)))
    wait_for(lambda: setting.sites.transfers(client, "moving"), "the transfer")
    assert future.cancel()
    wait_for(lambda: setting.sites.transfers(client, "cancelled"), "its end")
    setting.proxy.allow(1 << 62)
    assert future.status() == "CANCELLED"


def test_a_transfer_that_somebody_cancels_fails_the_task_that_needs_it(setting: Setting, client: Client) -> None:
    setting.proxy.allow(setting.proxy.passed + 500_000)
    future = Executor("B", client=client).submit(touch, setting.sites.store("A").proxy(b"y" * (20 * MB)))
    (moving,) = wait_for(lambda: setting.sites.transfers(client, "moving"), "the transfer")  # type: ignore[misc]
    client.rest.json("POST", f"/v1/transfers/{str(moving['id'])[:8]}/cancel")
    with pytest.raises(TransferCancelledError):
        future.result(30)
    assert future.status() == "FAILED"


def test_a_connection_that_breaks_is_taken_up_where_it_broke(setting: Setting, client: Client) -> None:
    data = np.arange(5 * MB, dtype=float)
    before = setting.proxy.passed
    setting.proxy.allow(before + 25 * MB)
    future = Executor("B", client=client).submit(total, setting.sites.store("A").proxy(data))
    setting.proxy.wait_passed(before + 25 * MB)
    setting.proxy.drop()
    setting.proxy.allow(1 << 62)
    assert future.result(60) == data.sum()
    assert setting.proxy.passed - before < data.nbytes + 36 * MB, "what was in flight may come twice, what had arrived may not"


def test_killing_the_agent_in_the_middle_of_200_mb_loses_nothing_that_had_arrived(setting: Setting, client: Client) -> None:
    data = np.arange(25 * MB, dtype=float)
    before = setting.proxy.passed
    setting.proxy.allow(before + 120 * MB)
    future = Executor("B", client=client).submit(total, setting.sites.store("A").proxy(data))
    setting.proxy.wait_passed(before + 120 * MB)
    setting.sites.kill("B", signal.SIGKILL)
    setting.proxy.allow(1 << 62)
    setting.sites.start("B", routes=("direct",), give_up_s=30.0)
    assert future.result(90) == data.sum()
    assert setting.proxy.passed - before < data.nbytes + 70 * MB, "nothing was fetched twice from the start"


def test_another_user_gets_no_ticket_no_copy_and_nothing_from_the_relay(setting: Setting, client: Client) -> None:
    import sqlite3

    from fedproxy.service.accounts import _digest

    database = setting.sites.folder / "service" / "service.db"
    setting.sites.kill("service", signal.SIGTERM)
    with sqlite3.connect(database) as connection:
        connection.execute("INSERT INTO tokens VALUES (?, 'eve', 0.0)", (_digest("eve's token"),))
    connection.close()
    setting.sites.programs.start_service()
    ref = ref_of(setting.sites.store("A").proxy(b"x" * MB))
    assert ref is not None
    endpoint = client.get_endpoint_status("A")["id"]
    client.rest.tell("POST", "/v1/replicas", {"add": [{"object": ref.object_id, "site": "A", "store": ref.store, "key": ref.key, "size": 1}]})
    client.rest.raw("PUT", f"/v1/relay/{ref.object_id}?start=0&total=3", data=b"abc").close()
    with Client(str(setting.sites.service["url"]), "eve's token") as eve:
        for name in ("A", endpoint):
            with pytest.raises(NotFoundError):
                eve.rest.json("POST", "/v1/tickets", {"endpoint": name, "method": "GET", "objects": [{"store": ref.store, "key": ref.key}]})
        assert eve.rest.json("POST", "/v1/replicas/find", {"objects": [ref.object_id], "route": "", "stores": []}) == []
        assert eve.rest.json("GET", "/v1/sites")["endpoints"] == []
        assert eve.rest.json("GET", "/v1/transfers") == []
        with pytest.raises(NotFoundError):
            eve.rest.json("POST", "/v1/exports", {"site": "A", "route": "relay", "objects": []})
        for method in ("GET",):
            with pytest.raises(NotFoundError):
                eve.rest.raw(method, f"/v1/relay/{ref.object_id}")
        eve.rest.tell("DELETE", f"/v1/relay/{ref.object_id}", None)
        with pytest.raises(NotFoundError):
            eve.rest.json("GET", f"/v1/relay/{ref.object_id}/state")
    assert client.rest.raw("GET", f"/v1/relay/{ref.object_id}").content == b"abc"
    with Client(str(setting.sites.service["url"]), "nobody's token") as nobody, pytest.raises(AuthenticationError):
        nobody.rest.json("GET", f"/v1/relay/{ref.object_id}/state")


def test_a_site_whose_endpoint_is_gone_is_named_with_since_when_and_what_was_tried(setting: Setting, client: Client) -> None:
    setting.sites.kill("A", signal.SIGKILL)
    wait_for(lambda: client.get_endpoint_status("B")["online"] and not client.get_endpoint_status("A")["online"], "the service to know")
    text = fails(client, "B", setting.sites.store("A").proxy(b"x" * MB), UnreachableSiteError)
    assert "site 'A'" in text
    assert "last heard of" in text
    assert "direct" in text
