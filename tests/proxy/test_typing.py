"""For a type checker a ``Proxy[T]`` goes wherever a ``T`` goes. mypy is run for real; pyright finds the same where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

USES_PROXIES = """
import numpy as np
from fedproxy import Proxy, Store

def total(values: list[int]) -> int:
    return sum(values)

def mean(array: np.ndarray) -> float:
    return float(array.mean())

store = Store.from_url("memory://typed")
numbers = store.proxy([1, 2, 3])
kept: Proxy[list[int]] = numbers
total(numbers)
numbers[0], len(numbers), numbers + [4]
array = store.proxy(np.arange(3))
mean(array), array.shape, array + 1
plain: dict[str, int] = store.proxy({"a": 1})
plain.keys()
reveal_type(numbers)
"""


def checkers() -> list[list[str]]:
    found = [[sys.executable, "-m", "mypy", "--strict"]]
    return found + ([[shutil.which("pyright") or "", "--pythonpath", sys.executable]] if shutil.which("pyright") else [])


@pytest.mark.slow
@pytest.mark.parametrize("checker", checkers(), ids=lambda checker: Path(checker[-2]).name)
def test_type_checkers_take_a_proxy_for_its_target_and_see_what_it_is_a_proxy_of(checker: list[str], tmp_path: Path) -> None:
    (tmp_path / "uses.py").write_text(USES_PROXIES)
    done = subprocess.run([*checker, "uses.py"], cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Proxy[list[int]]" in done.stdout.replace("builtins.", "")
