"""Workers in real podman containers, from images that are imported into a storage of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedproxy.config.containers import Containers
from fedproxy.errors import ImageMissingError
from tests.endpoint.containers.conftest import Engine, require
from tests.endpoint.containers.test_bubblewrap import label_and_pid

CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=10000:10000", "nproc=10000:10000"]
netns = "host"
pids_limit = 0
[engine]
{runtime}
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
STORAGE_CONF = """
[storage]
driver = "vfs"
runroot = "{directory}/run"
graphroot = "{directory}/graph"
"""


def podman(*arguments: str, stdin: bytes | None = None) -> str:
    done = subprocess.run(["podman", *arguments], input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture
def imported(images: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an image in podman's storage; no container is left at the end."""
    require("podman", "podman")
    if os.getuid() != 0:
        pytest.skip("rootless podman needs subordinate ids that this user may not have")
    runtime = 'runtime = "runc"' if shutil.which("runc") else ""
    for name, text in (("CONTAINERS_CONF", CONTAINERS_CONF.format(runtime=runtime)), ("CONTAINERS_STORAGE_CONF", STORAGE_CONF.format(directory=tmp_path))):
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(name, str(tmp_path / name))
    archive = subprocess.run(["tar", "-C", images[0], "-cf", "-", "."], capture_output=True, check=True).stdout
    podman("import", "-q", "-", "fedproxy-test", stdin=archive)
    yield "localhost/fedproxy-test"
    assert podman("ps", "--all", "--quiet") == ""


@pytest.mark.slow
def test_functions_run_in_imported_images_and_in_root_file_systems(imported: str, engine: Engine, images: tuple[str, str]) -> None:
    engine.start(Containers(runtime="podman"), max_workers=2)
    first = engine.run(label_and_pid, container=imported)
    assert first == ("first", 1)
    assert engine.run(label_and_pid, container=imported) == first
    assert engine.run(label_and_pid, container=images[1]) == ("second", 1)
    assert engine.of(imported)["cold_starts"] == 1
    assert engine.of(imported)["warm"] == 1
    assert isinstance(engine.failure(engine.submit(label_and_pid, container="no-such-image")), ImageMissingError)
