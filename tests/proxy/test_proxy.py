from __future__ import annotations

import asyncio
import collections.abc
import copy
import math
import operator
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedproxy.errors import ProxyResolveError
from fedproxy.proxy import (
    LambdaFactory,
    Proxy,
    SimpleFactory,
    aresolve,
    aresolve_batch,
    extract,
    get_factory,
    is_resolved,
    resolve,
    resolve_async,
    resolve_batch,
)


def lazy(obj: Any) -> Proxy[Any]:
    return Proxy(SimpleFactory(obj))


NUMBERS = st.integers(-1_000, 1_000) | st.floats(-1e6, 1e6, allow_nan=False) | st.fractions()
BINARY = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, divmod,
    operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
]
UNARY = [operator.neg, operator.pos, abs, int, float, bool, str, hash, round, math.floor, math.ceil, math.trunc, repr]


def outcome(operation: Callable[..., Any], *args: Any) -> Any:
    try:
        return operation(*args)
    except Exception as exc:
        return type(exc)


@pytest.mark.parametrize("operation", BINARY, ids=lambda op: op.__name__)
@settings(deadline=None, max_examples=50)
@given(left=NUMBERS, right=NUMBERS)
def test_arithmetic_is_that_of_the_targets(operation: Callable[..., Any], left: Any, right: Any) -> None:
    expected = outcome(operation, left, right)
    assert outcome(operation, lazy(left), right) == expected
    assert outcome(operation, left, lazy(right)) == expected
    assert outcome(operation, lazy(left), lazy(right)) == expected


@pytest.mark.parametrize("operation", UNARY, ids=lambda op: op.__name__)
@settings(deadline=None, max_examples=50)
@given(value=NUMBERS)
def test_conversions_are_those_of_the_target(operation: Callable[..., Any], value: Any) -> None:
    proxy = lazy(value)
    resolve(proxy)
    found, expected = outcome(operation, proxy), outcome(operation, value)
    assert found == expected
    assert type(found) is type(expected)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers()) | st.text() | st.binary() | st.dictionaries(st.integers(), st.integers()))
def test_containers_are_those_of_the_target(value: Any) -> None:
    proxy = lazy(value)
    assert len(proxy) == len(value)
    assert list(proxy) == list(value)
    assert bool(proxy) == bool(value)
    assert proxy == value
    assert (5 in proxy) == (5 in value) if not isinstance(value, str) else ("5" in proxy) == ("5" in value)
    assert list(reversed(proxy)) == list(reversed(value))
    assert operator.length_hint(proxy) == len(value)


@pytest.mark.parametrize(
    ("operation", "left", "right"),
    [
        (operator.and_, 12, 10), (operator.or_, {1}, {2}), (operator.xor, 12, 10), (operator.lshift, 1, 3),
        (operator.rshift, 8, 2), (operator.pow, 2, 10), (operator.matmul, np.eye(2), np.ones((2, 2))),
        (operator.add, [1], [2]), (operator.add, "a", "b"), (operator.mul, [1], 3), (operator.mod, "%s!", "x"),
        (operator.contains, [1, 2], 2), (operator.getitem, {"a": 1}, "a"),
    ],
)
def test_other_operators_work_on_either_side(operation: Callable[..., Any], left: Any, right: Any) -> None:
    expected = operation(left, right)
    for first, second in ((lazy(left), right), (left, lazy(right)), (lazy(left), lazy(right))):
        if operation is operator.getitem and isinstance(second, Proxy) and not isinstance(first, Proxy):
            continue
        assert np.all(operation(first, second) == expected)


@pytest.mark.parametrize("name", ["iadd", "isub", "imul", "ifloordiv", "imod", "ipow", "ilshift", "irshift", "iand", "ior", "ixor"])
def test_in_place_operators_leave_a_proxy_of_the_result(name: str) -> None:
    proxy = lazy(13)
    kept = proxy
    proxy = getattr(operator, name)(proxy, 2)
    assert proxy is kept
    assert extract(proxy) == getattr(operator, name)(13, 2)


def test_in_place_operators_change_a_mutable_target() -> None:
    target = [1]
    proxy = lazy(target)
    proxy += [2]
    assert target == [1, 2]
    assert type(proxy) is Proxy


def test_special_methods_that_others_forget() -> None:
    assert f"{lazy(3.14159):.2f}" == "3.14"
    assert f"{lazy(255):#x}" == "0xff"
    assert round(lazy(3.14159), 2) == 3.14
    assert round(lazy(1234), -2) == 1200
    assert pow(lazy(3), 4, 5) == 1
    assert divmod(17, lazy(5)) == (3, 2)
    assert [10, 20][lazy(1)] == 20
    assert "%05d" % lazy(42) == "00042"  # noqa: UP031
    assert complex(lazy(2)) == 2
    assert bytes(lazy([1, 2])) == b"\x01\x02"
    assert os.fspath(lazy(Path("/x"))) == "/x"
    assert math.trunc(lazy(Fraction(7, 2))) == 3
    assert next(lazy(iter([5]))) == 5
    assert {lazy("key"): 1}["key"] == 1
    assert lazy("b") in {"b"}
    assert lazy(len)([1, 2]) == 2
    assert isinstance(True, lazy(int))
    assert issubclass(bool, lazy(int))

    class Child(lazy(dict)):  # type: ignore[misc]
        pass

    assert issubclass(Child, dict)


def test_attributes_are_read_set_and_deleted_on_the_target() -> None:
    class Thing:
        """Its documentation."""

        def __init__(self) -> None:
            self.x = 1

    target = Thing()
    proxy = lazy(target)
    proxy.x = 5
    proxy.new = 6
    assert (target.x, target.new) == (5, 6)  # type: ignore[attr-defined]
    del proxy.x
    assert not hasattr(target, "x")
    assert vars(proxy) == {"new": 6}
    assert proxy.__class__ is Thing
    assert isinstance(proxy, Thing)
    assert "new" in dir(proxy)
    with pytest.raises(AttributeError, match="absent"):
        _ = proxy.absent
    items = lazy({"a": 1})
    items["b"] = 2
    del items["a"]
    assert items == {"b": 2}


def test_a_context_manager_and_a_file_work(tmp_path: Path) -> None:
    with lazy(open(tmp_path / "f", "w")) as file:
        file.write("x")
    assert file.closed


def test_async_protocols_work() -> None:
    class Source:
        async def __aenter__(self) -> str:
            return "entered"

        async def __aexit__(self, *exc: object) -> None:
            pass

        def __aiter__(self) -> Any:
            return self._items()

        async def _items(self) -> Any:
            yield 1
            yield 2

    async def answer() -> int:
        return 42

    async def work() -> None:
        async with lazy(Source()) as entered:
            assert entered == "entered"
        assert [item async for item in lazy(Source())] == [1, 2]
        assert await lazy(answer()) == 42
        assert await anext(lazy(Source().__aiter__())) == 1
        proxies = [lazy(index) for index in range(3)]
        await aresolve_batch(proxies)
        assert all(map(is_resolved, proxies))
        assert await aresolve(lazy([1])) == [1]

    asyncio.run(work())


def test_numpy_takes_a_proxy_for_an_array() -> None:
    array = np.arange(6.0).reshape(2, 3)
    for make in (lambda: lazy(array), lambda: Proxy(SimpleFactory(array), np.ndarray)):
        assert np.shares_memory(np.asarray(make()), array)
        assert np.sum(make()) == 15
        assert (np.sqrt(make()) == np.sqrt(array)).all()
        assert (array + make() == 2 * array).all()
        assert (make() @ array.T == array @ array.T).all()
        assert make().T.shape == (3, 2)
        assert (make()[0, 1:] == [1, 2]).all()
        assert np.concatenate([make(), array]).shape == (4, 3)
        assert isinstance(make(), np.ndarray)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 lets classes give buffers")
def test_a_proxy_gives_its_targets_buffer() -> None:
    assert bytes(memoryview(lazy(b"abc"))) == b"abc"


def never() -> Any:
    raise AssertionError("resolved")


def test_looking_does_not_resolve() -> None:
    proxy: Proxy[Any] = Proxy(never, np.ndarray)
    assert "not resolved" in repr(proxy)
    assert "numpy:ndarray" in repr(proxy)
    assert isinstance(proxy, Proxy)
    assert isinstance(proxy, np.ndarray)
    assert not isinstance(proxy, dict)
    assert proxy.__class__ is np.ndarray
    assert "shape" in dir(proxy)
    for name in ("_repr_html_", "_repr_mimebundle_", "_ipython_display_", "_ipython_canary_method_should_not_exist_"):
        assert not hasattr(proxy, name)
    pickle.dumps(proxy)
    copy.copy(proxy)
    copy.deepcopy(proxy)
    weakref.ref(proxy)
    assert callable(get_factory(proxy))
    assert not is_resolved(proxy)
    assert "not resolved" in repr([Proxy(never)])


def test_a_copy_of_a_resolved_proxy_is_a_copy() -> None:
    proxy = lazy([[1]])
    resolve(proxy)
    shallow, deep = copy.copy(proxy), copy.deepcopy(proxy)
    proxy[0].append(2)
    proxy.append([3])
    assert shallow == [[1, 2]]
    assert deep == [[1]]


def test_many_threads_call_the_factory_once() -> None:
    calls = []
    started = threading.Barrier(8)

    def factory() -> list[int]:
        calls.append(1)
        threading.Event().wait(0.05)
        return [1]

    proxy = Proxy(factory)
    found: list[int] = []

    def use() -> None:
        started.wait(10)
        found.append(len(proxy))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == [1] * 8
    assert len(calls) == 1


def test_a_failed_resolve_is_typed_and_can_be_retried() -> None:
    attempts = []

    def flaky() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError("cable pulled")
        return "there"

    proxy = Proxy(flaky)
    for _ in range(2):
        with pytest.raises(ProxyResolveError, match="cable pulled") as caught:
            len(proxy)
        assert isinstance(caught.value.__cause__, OSError)
        assert not is_resolved(proxy)
    assert proxy == "there"


def test_an_attribute_error_of_the_factory_is_not_a_missing_attribute() -> None:
    def broken() -> Any:
        raise AttributeError("inside")

    with pytest.raises(ProxyResolveError, match="inside"):
        hasattr(Proxy(broken), "x")


def test_a_proxy_that_needs_itself_says_so() -> None:
    holder: list[Any] = []
    holder.append(Proxy(lambda: len(holder[0])))
    with pytest.raises(ProxyResolveError, match="needs itself"):
        resolve(holder[0])


def test_proxies_do_not_nest() -> None:
    assert type(extract(lazy(lazy(lazy([1]))))) is list


def test_batches_and_background() -> None:
    proxies = [lazy(index) for index in range(5)]
    resolve_batch([*proxies, Proxy(lambda: 9)])
    assert all(map(is_resolved, proxies))
    proxy = Proxy(LambdaFactory(max, 3, 4))
    resolve_async(proxy).result(10)
    assert pickle.loads(pickle.dumps(proxy)) == 4
    assert extract("not a proxy") == "not a proxy"
    with pytest.raises(ProxyResolveError):
        resolve_async(Proxy(lambda: 1 / 0)).result(10)


def test_pickled_proxies_stay_proxies() -> None:
    proxy: Proxy[Any] = Proxy(SimpleFactory([1, 2]), list)
    twin = pickle.loads(pickle.dumps(proxy))
    assert type(twin) is Proxy
    assert isinstance(twin, list)
    assert not is_resolved(twin)
    assert twin == [1, 2]


def test_protocol_checks_see_the_target() -> None:
    assert isinstance(lazy({}), collections.abc.Mapping)
    assert isinstance(lazy([1]), collections.abc.Sequence)
    assert not isinstance(lazy(5), collections.abc.Mapping)


def test_a_typed_proxy_passes_for_its_type(tmp_path: Path) -> None:
    program = tmp_path / "typed.py"
    program.write_text(
        "from fedproxy.proxy import Proxy, extract\n"
        "def total(values: list[int]) -> int:\n    return sum(values)\n"
        "proxy: Proxy[list[int]] = Proxy(lambda: [1])\n"
        "print(total(proxy), total(extract(proxy)))\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert checked.returncode == 0, checked.stdout
