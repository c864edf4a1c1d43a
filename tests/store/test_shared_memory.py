from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedproxy.errors import InvalidKeyError, StoreFullError, StoreUnavailableError
from fedproxy.store import Store
from fedproxy.store.connectors.shm import ShmConnector, folder_of
from fedproxy.testing.connectors import eventually

PUT_100 = """
import sys, numpy as np
from fedproxy.store import Store
store = Store.from_url(sys.argv[1])
refs = [store.put(np.full(20_000, i)) for i in range(50)] + [store.put(b"x" * i) for i in range(25)]
refs += list(store.put_batch([b"y"] * 25))
lasting = store.put("lasting", ttl=600)
print(refs[7].key, lasting.key, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def putter(urls: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    url = urls["shm"] + "?lease_s=1"
    process = subprocess.Popen(
        [sys.executable, "-c", PUT_100, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate(timeout=20)


def test_what_a_killed_process_put_is_gone_after_its_lease(
    putter: subprocess.Popen[str], urls: dict[str, str], namespace: str
) -> None:
    assert putter.stdout is not None
    key, lasting = putter.stdout.readline().split()
    with Store.from_url(urls["shm"] + "?lease_s=1") as store:
        store.put("this process looks after the store too", ttl=600)
        assert store.get(key)[0] == 7
        threading.Event().wait(1.5)
        assert store.exists(key), "a living owner's objects outlast the lease"
        putter.send_signal(signal.SIGKILL)
        putter.wait(20)
        assert eventually(lambda: not store.exists(key))
        left = [name for name in os.listdir(folder_of(namespace)) if not name.startswith((".own-", ".turn"))]
        assert eventually(lambda: len([n for n in os.listdir(folder_of(namespace)) if not n.startswith((".own-", ".turn"))]) == 2), left
        assert store.get(lasting) == "lasting"
        store.close(clear=True)


def test_a_recycled_segment_is_never_written_under_a_reader(urls: dict[str, str]) -> None:
    with Store.from_url(urls["shm"]) as store:
        ref = store.put(np.full(100_000, 1))
        held = store.get(ref)
        store.evict(ref)
        for value in range(2, 12):
            other = store.put(np.full(100_000, value))
            assert store.get(other)[0] == value
            store.evict(other)
        assert (held == 1).all()
        store.close(clear=True)


def test_warm_pages_are_used_again(urls: dict[str, str], namespace: str) -> None:
    with Store.from_url(urls["shm"]) as store:
        inodes = set()
        for value in range(10):
            ref = store.put(np.full(100_000, value))
            inodes.add((folder_of(namespace) / ref.key).stat().st_ino)
            assert (store.get(ref) == value).all()
            store.evict(ref)
        assert len(inodes) == 1
        store.close(clear=True)


def test_readers_and_writers_in_many_threads_see_whole_objects_only(urls: dict[str, str]) -> None:
    with Store.from_url(urls["shm"]) as store:
        current = [store.put(np.full(40_000, 0))]
        failures: list[str] = []
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                array = store.get(current[0], default=None)
                if array is not None and array.min() != array.max():
                    failures.append(f"{array.min()} {array.max()}")

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for value in range(1, 300):
            old, current[0] = current[0], store.put(np.full(40_000, value))
            store.evict(old)
        stop.set()
        for thread in threads:
            thread.join(20)
        assert not failures
        store.close(clear=True)


def test_many_live_objects_stay_within_the_limit_of_open_files(urls: dict[str, str]) -> None:
    with Store.from_url(urls["shm"]) as store:
        before = len(os.listdir("/proc/self/fd"))
        refs = [store.put(np.full(10_000, index)) for index in range(600)]
        assert len(os.listdir("/proc/self/fd")) - before <= 520
        assert [store.get(ref)[0] for ref in refs] == list(range(600))
        store.evict_batch(refs)
        store.close(clear=True)


def test_an_object_put_before_a_fork_is_there_in_the_child_and_after_it(urls: dict[str, str]) -> None:
    with Store.from_url(urls["shm"]) as store:
        ref = store.put(np.full(100_000, 1))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                mine = store.put(np.full(100_000, 2))
                status = 0 if store.get(ref)[0] == 1 and store.get(mine)[0] == 2 else 1
                store.evict(mine)
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert store.get(ref)[0] == 1
        store.close(clear=True)


@pytest.fixture
def small_memory(tmp_path: Path) -> Iterator[Path]:
    """A memory file system of 8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root can mount a small memory file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("scheme", ["shm", "file"])
def test_a_full_store_says_so_and_stays_usable(small_memory: Path, urls: dict[str, str], scheme: str) -> None:
    url = f"{urls['shm']}?root={small_memory}" if scheme == "shm" else f"file://{small_memory}/store"
    with Store.from_url(url) as store:
        refs = [store.put(np.full(250_000, 1)) for _ in range(3)]
        for obj in (np.zeros(5_000_000), [b"x" * 60_000] * 100):
            with pytest.raises(StoreFullError, match="make room"):
                store.put(obj) if isinstance(obj, np.ndarray) else store.put_batch([bytes(60_000) for _ in range(200)])
        assert store.get(refs[0])[0] == 1
        store.evict_batch(refs)
        assert store.get(store.put(np.full(800_000, 2)))[-1] == 2
        store.close(clear=True)


def test_reserved_pages_make_room_when_memory_is_full(small_memory: Path, urls: dict[str, str]) -> None:
    with Store.from_url(f"{urls['shm']}?root={small_memory}&arena_bytes=8000000") as store:
        store.evict(store.put(np.zeros(700_000)))
        ref = store.put(np.ones(900_000))
        assert store.get(ref)[0] == 1
        store.close(clear=True)


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, namespace: str) -> None:
    folder = folder_of(namespace, str(tmp_path))
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(StoreUnavailableError, match="somebody else"):
        ShmConnector(namespace, root=str(tmp_path))
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises((StoreUnavailableError, InvalidKeyError)):
        ShmConnector(namespace, root=str(tmp_path))


@pytest.mark.parametrize("scheme", ["shm", "file"])
def test_a_link_in_the_place_of_an_object_is_not_followed(
    scheme: str, urls: dict[str, str], tmp_path: Path, namespace: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    with Store.from_url(urls[scheme]) as store:
        store.put(1)
        folder = folder_of(namespace) if scheme == "shm" else tmp_path / "objects"
        (folder / "linked").symlink_to(secret)
        with pytest.raises(InvalidKeyError, match="link"):
            store.get("linked")
        assert not store.exists("linked")
        store.connector.put([b"mine"], key="linked")
        assert secret.read_text() == "not yours"
        store.evict("linked")
        assert secret.exists()
        store.close(clear=True)


def test_a_folder_that_went_away_is_unavailable_and_not_empty(tmp_path: Path) -> None:
    with Store.from_url(f"file://{tmp_path}/gone") as store:
        ref = store.put(1)
        (tmp_path / "gone").rename(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / ref.key).unlink()
        with pytest.raises(StoreUnavailableError, match="gone"):
            store.get(ref)


def test_a_folder_of_the_same_path_but_another_store_is_refused(tmp_path: Path) -> None:
    url = Store.from_url(f"file://{tmp_path}/a").url
    Store.from_url(url).close(clear=True)
    with Store.from_url(f"file://{tmp_path}/a"), pytest.raises(StoreUnavailableError, match="another store"):
        Store.from_url(url)
