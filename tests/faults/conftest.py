"""Fixtures of the fault matrix."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger
from tests.faults.stage import Stage, seeds
from tests.faults.witness import Witness


def pytest_configure(config: pytest.Config) -> None:
    """The marks of this folder."""
    config.addinivalue_line("markers", "heartbeat(period_s): who is silent for three of these is given up")


def pytest_report_header() -> str:
    """What a failure is repeated with."""
    return f"fault seeds: {' '.join(map(str, seeds()))} (FEDPROXY_FAULT_SEEDS={os.environ.get('FEDPROXY_FAULT_SEEDS', '')!r})"


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """Nothing runs yet."""
    made = Stage(tmp_path)
    mark = request.node.get_closest_marker("heartbeat")
    if mark is not None:
        (made.heartbeat_s,) = mark.args
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    made = Ledger(tmp_path / "book")
    yield made
    made.close()


@pytest.fixture
def witness(stage: Stage, book: Ledger) -> Iterator[Witness]:
    """A service, the endpoint ``local`` with two workers, and a client that writes everything down."""
    stage.start_service()
    stage.start_endpoint()
    made = Witness(stage, book)
    yield made
    made.close()
