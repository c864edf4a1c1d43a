"""The folder of a namespace goes with the last object and the last owner, whoever has it open."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedproxy.config.home import host_id
from fedproxy.errors import DataLostError, StoreUnavailableError
from fedproxy.store import Store
from fedproxy.store.connectors.shm import ShmConnector, folder_of
from fedproxy.store.connectors.shm_owner import PREFIX


def run(code: str, namespace: str) -> None:
    subprocess.run([sys.executable, "-c", code, f"shm://{host_id()}/{namespace}"], check=True, timeout=60)


def test_a_folder_goes_with_the_process_that_evicted_its_last_object(namespace: str) -> None:
    run("import sys; from fedproxy import Store\nstore = Store.from_url(sys.argv[1])\nstore.evict(store.put(bytes(10**6)))", namespace)
    assert not folder_of(namespace).exists()


def test_a_folder_goes_with_a_process_that_only_looked(namespace: str) -> None:
    run("import sys; from fedproxy import Store\nassert not Store.from_url(sys.argv[1]).exists('nothing')", namespace)
    assert not folder_of(namespace).exists()


def test_a_folder_stays_as_long_as_an_object_in_it(namespace: str) -> None:
    run("import sys; from fedproxy import Store\nStore.from_url(sys.argv[1]).connector.put([b'mine'], key='kept')", namespace)
    with_it = ShmConnector(namespace)
    assert with_it.get("kept") == b"mine"
    with_it.evict("kept")
    with_it.close()
    assert not folder_of(namespace).exists()


def test_an_owner_that_was_killed_and_left_no_object_does_not_hold_the_folder(namespace: str) -> None:
    run("import os, sys; from fedproxy import Store\nstore = Store.from_url(sys.argv[1])\nstore.evict(store.put(1))\nos._exit(0)", namespace)
    assert [name for name in os.listdir(folder_of(namespace)) if name.startswith(PREFIX)]
    ShmConnector(namespace).close()
    assert not folder_of(namespace).exists()


def test_who_has_a_folder_open_that_went_finds_what_is_put_into_the_next_one(namespace: str) -> None:
    reader, writer = ShmConnector(namespace), ShmConnector(namespace)
    writer.evict(writer.put([b"first"]))
    writer.close()
    assert not folder_of(namespace).exists()
    assert reader.get("second") is None
    assert not reader.exists("second")
    assert list(reader.entries()) == []
    assert reader.gc() == 0
    writer = ShmConnector(namespace)
    writer.put([b"2"], key="second")
    small = writer.put_small([b"3", b"4"])
    assert reader.get("second") == b"2"
    assert reader.get_batch(small) == [b"3", b"4"]
    assert reader.get_ranges([("second", 0, 1)]) == [b"2"]
    assert reader.wait("second", 0)
    reader.evict_batch(["second", *small])
    assert not writer.exists("second")
    writer.close()
    third = reader.put([b"5"])
    assert folder_of(namespace).exists()
    assert ShmConnector(namespace).get(third) == b"5"
    reader.close(clear=True)
    assert not folder_of(namespace).exists()


def test_a_folder_that_somebody_took_away_under_an_owner_is_unavailable(namespace: str) -> None:
    owner = ShmConnector(namespace)
    key = owner.put([b"object"])
    for name in os.listdir(folder_of(namespace)):
        (folder_of(namespace) / name).unlink()
    folder_of(namespace).rmdir()
    with pytest.raises(StoreUnavailableError, match="gone"):
        owner.get(key)
    owner.close()


def test_folders_that_come_and_go_under_many_processes_lose_nothing(namespace: str) -> None:
    code = """
import sys
from fedproxy import Store
for turn in range(60):
    with Store.from_url(sys.argv[1]) as store:
        ref = store.put([turn, b"x" * (100 if turn % 2 else 100_000)])
        assert store.get(ref)[0] == turn, turn
        store.evict(ref)
"""
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda _: run(code, namespace), range(6)))
    assert not folder_of(namespace).exists()


def test_an_object_whose_folder_went_is_lost_and_not_unavailable(namespace: str) -> None:
    with Store.from_url(f"shm://{host_id()}/{namespace}") as store:
        folder_of(namespace).rmdir()
        with pytest.raises(DataLostError):
            store.get("nothing")
