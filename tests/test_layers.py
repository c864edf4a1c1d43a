"""The layers of the design hold, and breaking them is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [str(program), "--config", str(tree / "pyproject.toml"), "--no-cache"], cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, timeout=100, check=False,
    )


@pytest.fixture
def copy(tmp_path):
    """A copy of the tree in which something may be planted."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "fedproxy", tree / "fedproxy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


def test_the_layers_hold():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("module", "planted", "said"), [
    ("service/planted.py", "from fedproxy.serialize import serialize\n", "planted -> fedproxy.serialize"),
    ("service/planted.py", "import pickle\n", "fedproxy.service.planted -> pickle"),
    ("store/planted.py", "import fedproxy.service\n", "fedproxy.store.planted -> fedproxy.service"),
    ("endpoint/planted.py", "import fedproxy.dispatch\n", "fedproxy.endpoint.planted -> fedproxy.dispatch"),
])
def test_a_planted_violation_is_caught(copy, module, planted, said):
    (copy / "fedproxy" / module).write_text(f'"""Planted."""\n\n{planted}')
    done = lint_imports(copy)
    assert done.returncode != 0
    assert said in done.stdout


def test_the_copy_itself_is_clean(copy):
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout + done.stderr
