"""The README's snippet, pasted into a file, runs as it stands after the command above it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.fixture
def environment(tmp_path):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FEDPROXY_")}
    environment = {**clean, "FEDPROXY_HOME": str(tmp_path / "home"), "PYTHONWARNINGS": "error"}
    yield environment
    run("-m", "fedproxy", "down", environment=environment)


def run(*arguments, environment, cwd=None):
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=90, check=False
    )


def test_the_snippet_runs_as_it_stands(environment, tmp_path):
    snippet = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    assert "    fedproxy up\n" in README.read_text()
    up = run("-m", "fedproxy", "up", environment=environment)
    assert up.returncode == 0, up.stderr
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "snippet.py").write_text(snippet)
    done = run("snippet.py", environment=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert re.match(r"\d+ bright pixels\n", done.stdout)


def test_every_page_that_is_linked_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README.read_text()):
        assert (README.parent / target).exists(), target
