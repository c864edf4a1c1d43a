from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedproxy.config.home import host_id
from fedproxy.store import Store
from fedproxy.store.connectors.shm import folder_of


@pytest.fixture
def namespace() -> Iterator[str]:
    """A shared memory namespace of this test alone; nothing of it may be left."""
    name = f"test-{secrets.token_hex(6)}"
    yield name
    folder = folder_of(name)
    left = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    for path in left:
        (folder / path).unlink(missing_ok=True)
    if folder.is_dir():
        folder.rmdir()
    assert not left


@pytest.fixture
def urls(tmp_path: Path, namespace: str) -> dict[str, str]:
    """A URL for each local technology."""
    return {
        "memory": f"memory://{namespace}",
        "file": f"file://{tmp_path}/objects",
        "shm": f"shm://{host_id()}/{namespace}",
    }


@pytest.fixture(params=["memory", "file", "shm"])
def store(request: pytest.FixtureRequest, urls: dict[str, str]) -> Iterator[Store]:
    made = Store.from_url(urls[request.param])
    yield made
    made.close(clear=True)
