from __future__ import annotations

import gc
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fedproxy.errors import OwnershipError, StoreError
from fedproxy.proxy import Proxy
from fedproxy.store import (
    ContextLifetime,
    LeaseLifetime,
    Store,
    StoreExecutor,
    borrow,
    clone,
    into_owned,
    mut_borrow,
    ref_of,
    update,
)


def test_what_a_context_holds_goes_with_it(store: Store) -> None:
    with ContextLifetime() as lifetime:
        ref = store.put([1], lifetime=lifetime)
        proxy = store.proxy([2], lifetime=lifetime)
        assert proxy == [2]
        assert store.exists(ref)
    assert lifetime.done()
    assert not store.exists(ref)
    with pytest.raises(StoreError, match="ended"):
        store.put([1], lifetime=lifetime)


def test_a_lease_ends_by_itself_unless_it_is_extended(store: Store) -> None:
    lease = LeaseLifetime(0.2)
    ref = store.put(1, lifetime=lease)
    lease.extend(0.3)
    threading.Event().wait(0.3)
    assert store.exists(ref)
    deadline = time.monotonic() + 10
    while store.exists(ref) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert lease.done()
    assert not store.exists(ref)


def test_an_owned_object_goes_with_its_owner(store: Store) -> None:
    owned = store.owned_proxy([1, 2])
    ref = ref_of(owned)
    assert ref is not None
    copy = clone(owned)
    assert owned == copy == [1, 2]
    del owned
    gc.collect()
    assert not store.exists(ref)
    assert copy[0] == 1


def test_borrowing_follows_the_rules(store: Store) -> None:
    owned = store.owned_proxy({"a": 1})
    first, second = borrow(owned), borrow(owned)
    assert pickle.loads(pickle.dumps(first)) == {"a": 1}
    with pytest.raises(OwnershipError, match="borrowed 2 times"):
        mut_borrow(owned)
    with pytest.raises(OwnershipError):
        update(owned)
    with pytest.raises(OwnershipError, match="borrow"):
        pickle.dumps(owned)
    del first, second
    gc.collect()
    writer = mut_borrow(owned)
    with pytest.raises(OwnershipError, match="to be changed"):
        borrow(owned)
    writer["a"] = 2
    update(writer)
    del writer
    gc.collect()
    assert borrow(owned) == {"a": 2}


def test_a_plain_proxy_gets_an_owner_once(store: Store) -> None:
    proxy = store.proxy([1])
    owned = into_owned(proxy)
    assert owned == [1]
    with pytest.raises(OwnershipError):
        into_owned(owned)


def test_a_future_is_awaited_by_another_thread(store: Store) -> None:
    future = store.future()
    proxy = pickle.loads(pickle.dumps(future.proxy(timeout=20)))
    called = threading.Event()
    future.add_done_callback(lambda _: called.set())
    assert not future.done()
    with pytest.raises(TimeoutError):
        future.result(0.05)
    timer = threading.Timer(0.1, pickle.loads(pickle.dumps(future)).set_result, ([1, 2],))
    timer.start()
    assert proxy == [1, 2]
    assert future.done()
    assert called.wait(20)
    timer.join(20)


def test_a_future_that_failed_raises_what_it_was_given(store: Store) -> None:
    future = store.future()
    future.set_exception(ValueError("no such data"))
    with pytest.raises(ValueError, match="no such data"):
        future.result(5)
    assert isinstance(future.exception(5), ValueError)
    other = store.future()
    other.set_result(1)
    assert other.exception(5) is None


def seen(value: object) -> tuple[bool, object]:
    return isinstance(value, Proxy), value.sum() if hasattr(value, "sum") else value


def test_an_executor_proxies_each_item_of_a_map(store: Store) -> None:
    arrays = [np.full(50_000, index) for index in range(3)]
    with StoreExecutor(ThreadPoolExecutor(2), store, threshold_bytes=10_000) as executor:
        assert list(executor.map(seen, [*arrays, 5])) == [(True, 0), (True, 50_000), (True, 100_000), (False, 5)]
        large = executor.submit(np.ones, 50_000).result(20)
        assert type(large) is Proxy
        assert large.sum() == 50_000
        with pytest.raises(ZeroDivisionError):
            executor.submit(lambda array: 1 / 0, arrays[0]).result(20)
