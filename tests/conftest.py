"""Fixtures shared by all tests: real programs on free ports, gone at the end."""

from __future__ import annotations

import faulthandler
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.testing.globus import GlobusStandIn
from tests.programs import Programs

_TEARDOWN_S = 180


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """A finalizer that never returns ends the test's process, with a traceback (pytest's own watch over hanging tests ends when a test has failed)."""
    faulthandler.dump_traceback_later(_TEARDOWN_S, exit=True, file=sys.__stderr__)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What others leave in the temporary folder when they are killed (Parsl's managers, Open MPI, Dask) goes at the end. Its path is short: for sockets."""
    tmp_path_factory.getbasetemp()  # stays where it is
    with tempfile.TemporaryDirectory(prefix="fp-", ignore_cleanup_errors=True) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Nothing runs yet."""
    made = Programs(tmp_path)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """A service and the endpoint ``local`` with two workers, shared by a module."""
    made = Programs(tmp_path_factory.mktemp("home"))
    try:
        made.start_service()
        made.start_endpoint()
        yield made
    finally:
        made.stop()


@pytest.fixture
def client(running: Programs) -> Iterator[Client]:
    """A client of the module's service."""
    with running.client() as made:
        yield made


@pytest.fixture
def executor(client: Client) -> Iterator[Executor]:
    """An executor on the module's endpoint."""
    made = Executor("local", client=client)
    try:
        yield made
    finally:
        made.shutdown(wait=False)


@pytest.fixture
def globus_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GlobusStandIn]:
    """Nobody is logged in; fedproxy's home is ``home`` below the test's folder, and not there yet."""
    monkeypatch.setenv("FEDPROXY_HOME", str(tmp_path / "home"))
    for name in ("CLIENT_ID", "CLIENT_SECRET", "TRANSFER_TOKEN"):
        monkeypatch.delenv(f"FEDPROXY_GLOBUS_{name}", raising=False)
    with GlobusStandIn() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made
