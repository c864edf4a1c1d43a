"""Large arguments and results travel through stores, and leave them again."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fedproxy
from fedproxy.dispatch.executor import Executor
from fedproxy.proxy import Proxy, is_resolved
from fedproxy.store import Store, proxy_from_ref
from tests.programs import Programs, wait_for

MB = 1_000_000


def kind_and_sum(x) -> tuple[str, float]:
    return type(x).__name__, float(np.sum(x))


def ones(n: int) -> np.ndarray:
    return np.ones(n)


def files(programs: Programs) -> list[str]:
    """Objects of the endpoint's shared-memory store."""
    folders = Path("/dev/shm").glob(f"fedproxy-{os.getuid()}-{programs.site('local')}*")
    return [str(p) for folder in folders for p in folder.iterdir() if not p.name.startswith(".")]


def test_a_large_argument_never_passes_the_service_and_keeps_its_type(executor: Executor) -> None:
    before = executor.client.service_stats()
    array = np.random.default_rng(1).random(20 * MB // 8)
    assert executor.submit(kind_and_sum, array).result(20) == ("ndarray", pytest.approx(array.sum()))
    after = executor.client.service_stats()
    assert after["bytes_in"] - before["bytes_in"] + after["bytes_out"] - before["bytes_out"] < 20_000


def test_large_arguments_one_level_down_are_found(executor: Executor) -> None:
    def total(items: list, *, table: dict) -> float:
        assert type(items) is list
        assert type(table["x"]) is np.ndarray
        return float(sum(a.sum() for a in items) + table["x"].sum() + len(table["name"]))

    before = executor.client.service_stats()["bytes_in"]
    future = executor.submit(total, [np.ones(MB), np.ones(2 * MB)], table={"x": np.ones(MB), "name": "four"})
    assert future.result(20) == 4 * MB + 4
    assert future.moved_bytes[0] > 32 * MB
    assert executor.client.service_stats()["bytes_in"] - before < 20_000


def test_many_small_things_that_are_large_together_go_through_a_store(executor: Executor) -> None:
    items = [str(i) * 10 for i in range(100_000)]
    before = executor.client.service_stats()["bytes_in"]
    assert executor.submit(len, items).result(20) == 100_000
    assert executor.client.service_stats()["bytes_in"] - before < 20_000


def test_a_large_result_is_a_lazy_proxy(executor: Executor) -> None:
    value = executor.submit(ones, MB).result(20)
    assert type(value) is Proxy
    assert isinstance(value, np.ndarray)
    assert not is_resolved(value)
    np.testing.assert_array_equal(value, np.ones(MB))


def test_a_result_is_passed_on_without_being_fetched(executor: Executor) -> None:
    value = executor.submit(ones, MB).result(20)
    assert executor.submit(kind_and_sum, value).result(20)[1] == MB
    assert not is_resolved(value)


def test_a_users_own_proxy_stays_lazy(executor: Executor, running: Programs) -> None:
    store = fedproxy.Store.from_url(running.store_url())
    proxy = store.proxy(np.ones(MB))
    assert executor.submit(kind_and_sum, proxy).result(20) == ("Proxy", MB)
    store.evict(proxy)


def test_nothing_stays_in_the_store_when_nobody_holds_it(executor: Executor, running: Programs) -> None:
    gc.collect()
    before = set(files(running))
    futures = [executor.submit(ones, MB) for _ in range(5)] + [executor.submit(kind_and_sum, np.ones(MB)) for _ in range(5)]
    assert [f.exception(20) for f in futures] == [None] * 10
    wait_for(lambda: len(set(files(running)) - before) == 5, "the arguments to be released")
    del futures
    gc.collect()
    wait_for(lambda: not set(files(running)) - before, "the store to be empty again")


def test_inline_arrays_arrive_aligned_and_writable(executor: Executor) -> None:
    def look(x: np.ndarray, y: np.ndarray) -> tuple[bool, bool, np.ndarray]:
        x += 1
        return bool(x.flags.aligned and y.flags.aligned), bool(y.flags.writeable), x

    aligned, writable, back = executor.submit(look, np.zeros(5001), np.ones(501, np.float32)).result(20)
    assert aligned
    assert writable
    assert back.flags.aligned
    back += 1
    assert back.sum() == 2 * 5001


def test_a_script_leaves_nothing_in_the_store_when_it_ends(running: Programs) -> None:
    before = set(files(running))
    script = "import fedproxy, numpy\nheld = fedproxy.submit(numpy.ones, 1_000_000, endpoint='local').result(20)\nassert held.sum() == 1_000_000\n"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "FEDPROXY_HOME": str(running.home)}, timeout=30, check=True)
    assert not set(files(running)) - before


def test_two_sites_keep_their_objects_apart(programs: Programs) -> None:
    programs.start_service()
    programs.start_endpoint("siteA", 1)
    programs.start_endpoint("siteB", 1)
    with programs.client() as client:
        a, b = Executor("siteA", client=client), Executor("siteB", client=client)
        made = a.submit(ones, MB).result(20)
        assert b.submit(kind_and_sum, made).result(20)[1] == MB
        assert a.submit(kind_and_sum, np.ones(MB)).result(20) == ("ndarray", MB)


def test_over_the_limit_without_a_store_is_refused_at_once(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    programs.start_service(payload_limit_bytes=100_000)
    programs.start_endpoint("far", 1)
    monkeypatch.setattr("fedproxy.dispatch.endpoints.reachable", lambda _url: False)
    monkeypatch.setenv("FEDPROXY_TRANSFER_ROUTES", "[]")  # else it would be pushed there
    with programs.client() as client:
        executor = Executor("far", client=client)
        with pytest.raises(fedproxy.errors.PayloadTooLargeError, match="no store is shared"):
            executor.submit(kind_and_sum, np.ones(MB))
        with pytest.raises(fedproxy.errors.PayloadTooLargeError, match="no store"):
            executor.submit(ones, MB).result(20)
        assert executor.submit(kind_and_sum, np.ones(10)).result(20) == ("ndarray", 10)


def test_a_proxy_among_the_arguments_is_not_resolved_by_submitting_it(executor: Executor, running: Programs) -> None:
    store = Store.from_url(running.store_url())
    ref = store.put(np.ones(MB))
    for proxy in (proxy_from_ref(ref), proxy_from_ref(ref, kind="ndarray")):
        assert executor.submit(kind_and_sum, proxy).result(20)[1] == MB
        assert not is_resolved(proxy)
