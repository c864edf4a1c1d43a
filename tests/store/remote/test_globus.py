"""The Globus connector at home and elsewhere: the real globus-sdk against the stand-in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedproxy.errors import ConfigError, StoreUnavailableError
from fedproxy.store import Store
from fedproxy.store.connectors.globus import GlobusConnector, connect
from fedproxy.testing.connectors import ConnectorConformance
from fedproxy.testing.globus import GlobusStandIn


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GlobusStandIn]:
    with GlobusStandIn() as made:
        client, secret = made.confidential_client()
        told = {**made.environment, "FEDPROXY_HOME": str(tmp_path / "fp"), "FEDPROXY_GLOBUS_CLIENT_ID": client, "FEDPROXY_GLOBUS_CLIENT_SECRET": secret}
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        yield made


def stands_at(monkeypatch: pytest.MonkeyPatch, collection: str, folder: Path) -> None:
    """This machine's own collection is this one."""
    monkeypatch.setenv("FEDPROXY_TRANSFER_GLOBUS_COLLECTION", collection)
    monkeypatch.setenv("FEDPROXY_TRANSFER_GLOBUS_FOLDER", str(folder))


@pytest.fixture
def home(service: GlobusStandIn, tmp_path: Path) -> str:
    """The store's home: the URL."""
    return f"globus://{service.collection(tmp_path / 'home')}/objects?poll_s=0.01"


class TestAtHome(ConnectorConformance):
    @pytest.fixture
    def connector(self, home: str, service: GlobusStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[GlobusConnector]:
        collection, folder = next(iter(service.collections.items()))
        stands_at(monkeypatch, collection, folder)
        made = connect(home)
        yield made
        made.close(clear=True)
        assert not service.transfers()


@pytest.mark.slow
class TestElsewhere(ConnectorConformance):
    @pytest.fixture
    def connector(self, home: str, service: GlobusStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GlobusConnector]:
        stands_at(monkeypatch, service.collection(tmp_path / "away"), tmp_path / "away")
        made = connect(home)
        yield made
        made.close(clear=True)
        assert not list((tmp_path / "home").rglob("*.fpo"))


@pytest.fixture
def written(home: str, service: GlobusStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[GlobusConnector, list[str]]:
    """Ten objects that were put at home; the connector stands elsewhere."""
    collection, folder = next(iter(service.collections.items()))
    stands_at(monkeypatch, collection, folder)
    keys = connect(home).put_batch([[bytes([index]) * 100_000] for index in range(10)])
    stands_at(monkeypatch, service.collection(tmp_path / "away"), tmp_path / "away")
    return connect(home), keys


def test_many_objects_are_pulled_by_one_task_and_once(written: tuple[GlobusConnector, list[str]], service: GlobusStandIn) -> None:
    connector, keys = written
    for _ in range(2):
        assert [bytes(found or b"")[:1] for found in connector.get_batch(keys)] == [bytes([index]) for index in range(10)]
    assert bytes(connect(connector.url).get(keys[3]) or b"") == b"\3" * 100_000
    assert [len(task.items) for task in service.transfers()] == [10]


def test_readers_at_the_same_time_pull_an_object_once(written: tuple[GlobusConnector, list[str]], service: GlobusStandIn) -> None:
    connector, keys = written
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(connect(connector.url).get(keys[0]) or b""))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [100_000] * 6
    assert len(service.transfers()) == 1


def test_what_was_replaced_at_home_is_pulled_again(written: tuple[GlobusConnector, list[str]], home: str, service: GlobusStandIn,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    connector, keys = written
    held = connector.get(keys[0])
    with monkeypatch.context() as there:
        stands_at(there, *next((identity, folder) for identity, folder in service.collections.items() if folder.name == "home"))
        connect(home).put([b"new"], key=keys[0])
    assert bytes(connector.get(keys[0]) or b"") == b"new"
    assert bytes(held or b"") == b"\0" * 100_000


def test_a_file_that_is_not_all_there_is_not_there(written: tuple[GlobusConnector, list[str]], tmp_path: Path) -> None:
    connector, keys = written
    path = tmp_path / "home" / "objects" / f"{keys[1]}.fpo"
    path.write_bytes(path.read_bytes()[:-1])
    assert connector.get(keys[1]) is None


def test_a_machine_without_a_collection_says_so(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDPROXY_TRANSFER_GLOBUS_COLLECTION", raising=False)
    assert not connect(home).reachable()
    with pytest.raises(StoreUnavailableError, match="has no Globus collection"):
        connect(home).get("key")


def test_a_login_that_globus_refuses_is_an_unavailable_store(written: tuple[GlobusConnector, list[str]], service: GlobusStandIn) -> None:
    connector, keys = written
    service.clients.clear()
    with pytest.raises(StoreUnavailableError, match="Globus refuses the login"):
        connector.get(keys[0])


def test_a_store_of_objects_lies_in_a_collection(home: str, service: GlobusStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stands_at(monkeypatch, service.collection(tmp_path / "away"), tmp_path / "away")
    with Store.from_url(home) as store:
        proxies = store.proxy_batch([{"number": index} for index in range(20)])
        assert [proxy["number"] for proxy in proxies] == list(range(20))
        assert len(service.transfers()) == 1


@pytest.mark.parametrize("url", ["globus://somewhere/x", "globus:///x", "globus://8d4b0e7c-5d0c-4d2e-9c53-9c5f3b6a2f10/a/../b",
                                 "globus://8d4b0e7c-5d0c-4d2e-9c53-9c5f3b6a2f10/a?token=secret"])
def test_a_url_that_makes_no_sense_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        connect(url)
