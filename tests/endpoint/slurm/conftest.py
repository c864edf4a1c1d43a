"""A real Slurm for a module."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedproxy.testing.slurm import Slurm, missing, slurm


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    """Three nodes; every process started from here on finds them."""
    lacking = missing()
    if lacking:
        message = f"not installed: {', '.join(lacking)} (Debian packages slurm-wlm, munge)"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with tempfile.TemporaryDirectory(prefix="fp-slurm-") as folder, slurm(Path(folder)) as running:  # a short path: munge has a socket in it
        patch = pytest.MonkeyPatch()
        patch.setenv("SLURM_CONF", running.environment["SLURM_CONF"])
        patch.setenv("PATH", running.environment["PATH"])
        try:
            yield running
        finally:
            patch.undo()
