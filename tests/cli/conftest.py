from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedproxy.config.home import host_id
from fedproxy.store import Store


@pytest.fixture
def home(tmp_path):
    """A folder for fedproxy that is not there yet."""
    return tmp_path / "home"


@pytest.fixture
def clean_env(home):
    """The environment without the user's own fedproxy."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FEDPROXY_")}
    site = f"test-{secrets.token_hex(4)}"
    yield {**kept, "FEDPROXY_HOME": str(home), "FEDPROXY_SITE": site, "COLUMNS": "200"}
    Store.from_url(f"shm://{host_id()}/{site}").close(clear=True)


@pytest.fixture
def as_user(clean_env, home, monkeypatch):
    """This process belongs to ``home``, too."""
    for name in [name for name in os.environ if name.startswith("FEDPROXY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FEDPROXY_HOME", str(home))
    monkeypatch.setenv("FEDPROXY_SITE", clean_env["FEDPROXY_SITE"])


@pytest.fixture
def cli(clean_env):
    """Run ``fedproxy`` in its own home; whatever it left running is stopped at the end."""

    def run(*arguments, env=None, timeout=100):
        return subprocess.run(
            [sys.executable, "-m", "fedproxy", *arguments], capture_output=True, text=True, timeout=timeout,
            check=False, stdin=subprocess.DEVNULL, env={**clean_env, **(env or {})},
        )

    yield run
    run("down")


@pytest.fixture
def alive_below():
    """The processes whose FEDPROXY_HOME is a folder or below it."""

    def find(folder):
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(each.startswith(f"FEDPROXY_HOME={folder}".encode()) for each in environment):
                found.append(int(entry.name))
        return found

    return find


@pytest.fixture
def wait_until():
    """Wait for a condition, not for a time."""

    def wait(what, timeout_s=20.0):
        deadline = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.05)

    return wait
