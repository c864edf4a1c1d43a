"""Packets that the kernel loses between the agent and the service, with the ledger running. `test_network` does the like to connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.ledger import Ledger, Promise
from tests.faults.packets import Namespace, namespace
from tests.faults.stage import Stage, seeds
from tests.faults.witness import Witness
from tests.programs import wait_for

TASKS = 200
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def cable(stage: Stage) -> Iterator[Namespace]:
    """A service, and the endpoint ``local`` in a namespace of its own."""
    with namespace() as made:
        stage.prefix["local"] = made.prefix
        stage.start_service(host=made.service_side)
        stage.start_endpoint()
        try:
            yield made
        finally:
            stage.stop()


def submitting(witness: Witness, seed: int) -> threading.Thread:
    thread = threading.Thread(target=witness.submit_all, args=(TASKS, seed), kwargs={"pause_s": 0.01}, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("seed", seeds())
def test_five_percent_of_lost_packets_break_no_promise(stage: Stage, book: Ledger, cable: Namespace, seed: int) -> None:
    cable.lose(0.05)
    witness = Witness(stage, book)
    with witness.watching():
        submitter = submitting(witness, seed)
        submitter.join(90)
        assert not submitter.is_alive()
        witness.wait(120.0)
    assert min(cable.lost()) > 0, "the fault did not fire"
    witness.prove(Promise())
    witness.close()


@pytest.mark.parametrize("seed", seeds())
def test_a_cable_that_is_pulled_again_and_again_on_a_slow_line_breaks_no_promise(stage: Stage, book: Ledger, cable: Namespace, seed: int) -> None:
    cable.limit(1_000_000)
    witness = Witness(stage, book)
    with witness.watching():
        submitter = submitting(witness, seed)
        for _ in range(4):
            seen = len(book.executions())
            wait_for(lambda: len(book.executions()) > seen or not submitter.is_alive(), "tasks to run", 60)  # noqa: B023 - used at once
            cable.down()
            time.sleep(0.5)  # how long the cable is out is the fault itself
            cable.up()
            stage.mark("the cable was pulled")
        submitter.join(90)
        assert not submitter.is_alive()
        witness.wait(120.0)
    assert len(stage.fired("the cable was pulled")) == 4
    assert cable.held_back() > 0, "the line was not slow"
    witness.prove(Promise())
    witness.close()
