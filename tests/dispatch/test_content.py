"""The name of a call by its content."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from fedproxy.dispatch.content import call_key

SCRIPT = """
import functools, sys
import numpy as np
from fedproxy.dispatch.content import call_key

FACTOR = {factor}

class Model:
    def __init__(self, words): self.words = words
    def score(self, x): return len(self.words) * x {tweak}

def helper(x): return x * FACTOR

def work(x, *, words=("a",)): return helper(x) + len(words)

def recursive(n): return 1 if n < 2 else n * recursive(n - 1)

for call in [(work, (1,), {{"words": {{"x", "yy", "zzz"}}}}), (Model(["a", "b"]).score, (2,), {{}}), (functools.partial(work, 3), (), {{}}),
             (recursive, (5,), {{}}), (lambda y: y + FACTOR, (np.arange(10.0).reshape(2, 5).T,), {{}}), (len, ([1] * 100,), {{}})]:
    print(call_key(*call).hex())
"""


def keys(tmp_path: Path, seed: int, factor: int = 2, tweak: str = "", before: str = "") -> list[str]:
    script = tmp_path / "script.py"
    script.write_text(before + SCRIPT.format(factor=factor, tweak=tweak))
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_name_is_the_same_in_every_process_and_changes_with_what_counts(tmp_path: Path) -> None:
    first = keys(tmp_path, 1)
    assert len(set(first)) == 6
    assert keys(tmp_path, 2, before="# lines move\n\n\n") == first
    other_constant = keys(tmp_path, 1, factor=3)
    assert [a == b for a, b in zip(first, other_constant, strict=True)] == [False, True, False, True, False, True]
    other_method = keys(tmp_path, 1, tweak="+ 1")
    assert [a == b for a, b in zip(first, other_method, strict=True)] == [True, False, True, True, True, True]


def add(a: int, b: int = 1) -> int:
    return a + b


def test_equal_values_share_a_name_however_they_are_held() -> None:
    one, another = "".join(["ab", "c"]), "abc"
    assert call_key(add, ([one, one],), {}) == call_key(add, ([one, another],), {})
    array = np.arange(12.0).reshape(3, 4)
    assert call_key(add, (array,), {}) == call_key(add, (np.asfortranarray(array),), {}) == call_key(add, (array[:, :],), {})
    assert call_key(add, (1,), {"b": 1, "a": 2}) == call_key(add, (1,), {"a": 2, "b": 1})
    assert call_key(add, ({3, 1, 2},), {}) == call_key(add, ({1, 2, 3},), {})


def test_what_differs_in_type_form_or_place_differs_in_name() -> None:
    calls = [((), {}), ((1, 2), {}), ((12,), {}), (([1, 2],), {}), (([[1], 2],), {}), ((1,), {"b": 2}), ((), {"a": 1, "b": 2}), ((0.0,), {}), ((-0.0,), {}),
             ((float("nan"),), {}), (("",), {}), ((b"",), {}), ((np.float64(1),), {}), ((np.array(["a"], object),), {}), ((np.ma.array([1], mask=[1]),), {}),
             ((np.array([1]),), {}), ((Path("a"),), {}), ((functools.partial(add, 1),), {}), ((add,), {}), ((int,), {}), ((slice(1),), {})]
    assert len({call_key(add, args, kwargs) for args, kwargs in calls}) == len(calls)
    assert call_key(add, (1,), {}, "image-a") != call_key(add, (1,), {}, "image-b")


def test_functions_that_name_each_other_have_names() -> None:
    def even(n: int) -> bool:
        return n == 0 or odd(n - 1)

    def odd(n: int) -> bool:
        return n != 0 and even(n - 1)

    assert call_key(even, (3,), {}) is not None
    assert call_key(even, (3,), {}) != call_key(odd, (3,), {})
