from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.fixture
def home(tmp_path):
    """A folder for fedproxy that is not there yet."""
    return tmp_path / "home"


@pytest.fixture
def cli(home):
    """Run ``fedproxy`` in its own home; whatever it left running is stopped at the end."""

    def run(*arguments, env=None, timeout=60):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("FEDPROXY_")}
        return subprocess.run(
            [sys.executable, "-m", "fedproxy", *arguments], capture_output=True, text=True, timeout=timeout,
            check=False, stdin=subprocess.DEVNULL,
            env={**clean, "FEDPROXY_HOME": str(home), "COLUMNS": "200", **(env or {})},
        )

    yield run
    run("down")
