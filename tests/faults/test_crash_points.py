"""``kill -9`` at the points where a program has done one thing and not yet the next, with the ledger running."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from zlib import crc32

import pytest

from fedproxy.errors import ServiceUnavailableError
from fedproxy.protocol.ids import task_id_text
from tests.faults.ledger import Ledger, Promise
from tests.faults.stage import FULL, SHORT_S, Stage, eventually, seeds
from tests.faults.witness import Witness
from tests.programs import wait_for

TASKS = 240

_F = "fedproxy.service.forwarder:Forwarder."
_O = "fedproxy.service.outbound:Outbound."
_A = "fedproxy.endpoint.agent:Agent."
_H = "fedproxy.endpoint.holdings:Holdings."
SERVICE = [
    ("fedproxy.service.ledger:Ledger.apply", "before", 60), ("fedproxy.service.ledger:Ledger.apply", "after", 60),
    ("fedproxy.service.commit:GroupCommit._finished", "before", 60), ("fedproxy.service.intake:Intake._insert", "after", 40),
    ("fedproxy.service.intake:Intake.submit", "after", 40),
    ("fedproxy.service.endings:Endings.settled", "before", 60), ("fedproxy.service.endings:Endings.settled", "after", 60),
]
FORWARDER = [
    (_O + "deliver", "before", 30), (_O + "_departed", "before", 30), (_O + "_departed", "after", 30), (_F + "_results", "before", 60),
    (_F + "_results", "after", 60), (_F + "_acknowledge", "before", 60), (_F + "_acknowledge", "after", 60), (_F + "_received", "after", 6),
    (_F + "_hello", "after", 1), (_O + "pump", "after", 60), (_F + "_hello", "before", 1), (_F + "inserted", "before", 40), (_F + "inserted", "after", 40),
    (_F + "_tell_settled", "before", 20), (_F + "_tell_settled", "after", 20),
]
AGENT = [
    (_A + "_take_tasks", "before", 30), (_H + "accept", "after", 30), (_H + "hand", "before", 40), (_H + "hand", "after", 40),
    (_H + "finish", "before", 40), (_H + "finish", "after", 40), (_A + "_send_results", "before", 40), (_A + "_send_results", "after", 40),
    (_H + "settle", "before", 40), (_H + "settle", "after", 40), (_A + "_welcome", "before", 1), (_A + "_acknowledge", "after", 10),
    (_A + "_hello", "after", 1), (_A + "_finish", "before", 40), (_A + "_finish", "after", 40), ("fedproxy.endpoint.journal:Journal._flushed", "before", 3),
]
WORKER = [
    ("fedproxy.endpoint.worker:Worker._run", "before", 40), ("fedproxy.endpoint.worker:Worker._run", "after", 40),
    ("fedproxy.endpoint.worker:Worker._answer", "after", 40), ("fedproxy.endpoint.worker:Worker._learn", "before", 1),
    ("fedproxy.endpoint.worker:Worker._learn", "after", 1),
]


def points(program: str, table: list[tuple[str, str, int]], always: int) -> list[object]:
    """Crash points as parameters: all with every seed in the full matrix, every ``always``-th otherwise."""
    chosen = table if FULL else table[::always]
    return [pytest.param(program, place, when, most, seed, id=f"{program}-{place.rpartition(':')[2]}-{when}-seed{seed}")
            for place, when, most in chosen for seed in seeds()]


ALL = [*points("service", SERVICE, 3), *points("service", FORWARDER, 4), *points("agent", AGENT, 5), *points("worker", WORKER, 2)]


def run_through(stage: Stage, book: Ledger, seed: int, promise: Promise, *marks: str, retries_on_loss: int = 0,
                before_the_end: Callable[[], object] = lambda: None) -> None:
    """Tasks are submitted while the fault waits for its moment; whatever dies is started again."""
    stage.start_service()
    stage.start_endpoint(wait=False)
    with stage.kept_running():
        stage.registered()
        witness = Witness(stage, book, retries_on_loss=retries_on_loss)
        with witness.watching():
            submitter = threading.Thread(target=witness.submit_all, args=(TASKS, seed), kwargs={"until": lambda: all(map(stage.fired, marks))}, daemon=True)
            submitter.start()
            submitter.join(60)
            assert not submitter.is_alive()
            for mark in marks:
                eventually(stage, mark)
            witness.wait()
        before_the_end()
        witness.prove(promise)
        witness.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("program", "place", "when", "most", "seed"), ALL)
def test_a_kill_at_any_point_breaks_no_promise(stage: Stage, book: Ledger, program: str, place: str, when: str, most: int, seed: int) -> None:
    count = random.Random(crc32(f"{place}{when}{seed}".encode())).randint(1, most)
    stage.will((program, "crash", place, when, count))
    # A killed agent or worker loses at most what its two workers had, filled ahead with at most 64 short calls each.
    lost_at_most = 0 if program == "service" else 2 * 64
    run_through(stage, book, seed, Promise(lost_at_most=lost_at_most), f"crash {place}")
    assert stage.restarts or program == "worker"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize(("program", "fault", "most"), [("agent", "torn_record", 60), ("worker", "torn_answer", 40)])
def test_a_kill_in_the_middle_of_a_write_breaks_no_promise(stage: Stage, book: Ledger, program: str, fault: str, most: int, seed: int) -> None:
    count = random.Random(crc32(f"{fault}{seed}".encode())).randint(2, most)
    stage.will((program, fault, count))
    run_through(stage, book, seed, Promise(lost_at_most=2 * 64), fault.replace("_", " "))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", seeds())
def test_workers_that_die_again_and_again_run_no_task_more_often_than_allowed(stage: Stage, book: Ledger, seed: int) -> None:
    stage.will(("worker", "die_now_and_then", 0.05, seed))
    promise = Promise(executions_at_most=3, lost_at_most=TASKS, ends_allowed=frozenset({"SUCCEEDED", "LOST", "DEAD"}))
    run_through(stage, book, seed, promise, "worker died", retries_on_loss=2)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", seeds())
def test_acknowledgements_that_get_lost_break_no_promise(stage: Stage, book: Ledger, seed: int) -> None:
    stage.will(("service", "lose_acks", 0.3, seed), ("agent", "crash", _H + "settle", "after", 20))

    def break_the_connection() -> None:
        """Only then can an acknowledgement have been lost; what it was for is sent again after the next hello."""
        stage.will()
        stage.kill("service")
        stage.start_service()

    run_through(stage, book, seed, Promise(lost_at_most=2 * 64), "lost acks", f"crash {_H}settle", before_the_end=break_the_connection)


@pytest.mark.timeout(60)
@pytest.mark.heartbeat(SHORT_S)
def test_a_task_that_was_given_up_is_told_to_nobody_before_that_is_durable(stage: Stage, book: Ledger) -> None:
    """Nobody would say it again after a crash: the task would end in another way than its client was told."""
    stage.will(("service", "crash_at_ending", "LOST"))
    stage.start_service()
    stage.start_endpoint(workers=1)
    with stage.kept_running():
        witness = Witness(stage, book, sleep_s=0.5)
        with witness.watching():
            witness.submit([0])
            wait_for(book.executions, "the task to run")
            agent = stage.running["local"].pid
            os.kill(agent, signal.SIGSTOP)
            eventually(stage, "crash at LOST")
            os.kill(agent, signal.SIGCONT)
            witness.wait()
        witness.prove(Promise())
        witness.close()


@pytest.mark.timeout(60)
def test_a_cancelled_task_is_told_to_nobody_before_that_is_durable(stage: Stage, book: Ledger) -> None:
    stage.will(("service", "crash_at_ending", "CANCELLED"))
    stage.start_service()
    stage.start_endpoint(workers=1)
    witness = Witness(stage, book)
    stage.kill("local", signal.SIGTERM)
    with stage.kept_running():
        with witness.watching():
            witness.submit([0])
            (task_id,) = witness.task_ids()
            with suppress(ServiceUnavailableError):
                witness.rest.json("POST", "/v1/tasks/cancel", [task_id_text(task_id)])
            eventually(stage, "crash at CANCELLED")
            stage.registered()
            stage.start_endpoint()
            witness.wait()
        witness.prove(Promise())
        witness.close()
