"""Fixtures of the fault matrix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger
from tests.faults.stage import Stage, Witness


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Nothing runs yet."""
    made = Stage(tmp_path)
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
