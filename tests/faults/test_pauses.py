"""Programs that stand still longer than the heartbeats allow, clocks that jump, messages that come twice, results that come late."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tests.faults.ledger import Ledger, Promise
from tests.faults.stage import SHORT_S, Stage, eventually, seeds
from tests.faults.witness import Witness
from tests.programs import wait_for

pytestmark = pytest.mark.timeout(120)
THRESHOLD_S = 3 * SHORT_S
"""Lost after three heartbeats."""
TASKS = 200


def pause(stage: Stage, name: str, seconds: float) -> None:
    """SIGSTOP, and SIGCONT after a while."""
    pid = stage.running[name].pid
    os.kill(pid, signal.SIGSTOP)
    state = wait_for(lambda: _state(pid) == "T", f"{name} to stand still")
    assert state
    stage.mark(f"stopped {name}")
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


@pytest.mark.heartbeat(SHORT_S)
@pytest.mark.parametrize("seed", seeds())
def test_an_agent_that_stands_still_is_given_up_and_its_late_results_change_nothing(stage: Stage, book: Ledger, seed: int) -> None:
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book, sleep_s=0.02)
    with witness.watching():
        witness.submit_all(TASKS, seed)
        wait_for(lambda: len(book.executions()) >= 20, "executions")
        pause(stage, "local", 2 * THRESHOLD_S)
        witness.wait()
        wait_for(lambda: witness.rest.json("GET", "/v1/stats")["late_results"] >= 1, "a late result")
    states = [story.states[-1][1] for story in book.stories().values()]
    assert "LOST" in states, "the agent was not given up"
    witness.prove(Promise())
    witness.close()


@pytest.mark.heartbeat(SHORT_S)
@pytest.mark.parametrize("seed", seeds())
def test_what_an_agent_that_stood_still_had_is_run_again_if_that_is_allowed(stage: Stage, book: Ledger, seed: int) -> None:
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book, sleep_s=0.02, retries_on_loss=2)
    with witness.watching():
        witness.submit_all(TASKS, seed)
        wait_for(lambda: len(book.executions()) >= 20, "executions")
        pause(stage, "local", 2 * THRESHOLD_S)
        witness.wait()
    assert "is lost: silent for" in stage.log("service"), "the agent was not given up"
    witness.prove(Promise(executions_at_most=3, lost_at_most=0))
    witness.close()


@pytest.mark.heartbeat(SHORT_S)
def test_what_was_given_up_while_its_agent_was_away_is_not_begun_when_it_is_back(stage: Stage, book: Ledger) -> None:
    stage.start_service()
    stage.start_endpoint(workers=1)
    witness = Witness(stage, book, sleep_s=0.5)
    witness.submit(range(20))
    wait_for(lambda: book.executions() and stage.held() >= 18, "the agent to have them")
    stage.kill("local")
    witness.wait()
    ran = book.executions()
    assert len(ran) < 10, "nothing was given up"
    stage.start_endpoint(workers=1)
    witness.submit([100])
    wait_for(lambda: book.executions()[100], "a new task to run")
    witness.wait()
    assert book.executions() - ran == {100: 1}
    witness.prove(Promise())
    witness.close()


@pytest.mark.heartbeat(2 * SHORT_S)  # the agent itself may be kept from running for a while
@pytest.mark.parametrize("seed", seeds())
def test_a_service_that_stood_still_blames_nobody(stage: Stage, book: Ledger, seed: int) -> None:
    """It heard nothing because it did not listen: nobody is lost for that."""
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book, sleep_s=0.01)
    submitter = threading.Thread(target=witness.submit_all, args=(TASKS, seed), kwargs={"pause_s": 0.05}, daemon=True)
    submitter.start()
    for _ in range(3):
        wait_for(lambda: len(book.executions()) >= 10, "executions")
        pause(stage, "service", 2 * 2 * THRESHOLD_S)
        time.sleep(0.3)
    submitter.join(60)
    assert not submitter.is_alive()
    assert stage.log("service").count("itself stood still for") >= 3
    witness.prove(Promise(lost_at_most=0))
    witness.close()


def test_a_worker_that_stands_still_holds_up_its_own_task_only(stage: Stage, book: Ledger) -> None:
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book, sleep_s=0.01)
    witness.submit_all(50, 1)
    worker = stage.workers()[0]
    os.kill(worker, signal.SIGSTOP)
    wait_for(lambda: _state(worker) == "T", "the worker to stand still")
    witness.submit_all_from(100, 50)
    wait_for(lambda: len(book.executions()) >= 90, "the other worker to go on", 30)
    assert _state(worker) == "T"
    os.kill(worker, signal.SIGCONT)
    witness.prove(Promise(lost_at_most=0))
    witness.close()


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, 10 * 365.25 * 86400.0, -10 * 365.25 * 86400.0], ids=["+1h", "-1h", "+10y", "-10y"])
@pytest.mark.parametrize("program", ["service", "agent", "worker"])
def test_a_clock_that_jumps_breaks_no_promise(stage: Stage, book: Ledger, program: str, seconds: float) -> None:
    stage.will((program, "clock_steps", seconds, 1.0, 2.0))
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book, sleep_s=0.005)
    with witness.watching():
        witness.submit_all(TASKS, 1, pause_s=0.01, until=lambda: stage.fired("clock"))
        eventually(stage, "clock")
        if program == "service":
            witness.submit_all_from(5000, 20)
            witness.wait()
            witness.rest.json("GET", "/forget")  # the hourly clean-up, at the wrong time
        witness.wait()
    witness.prove(Promise(lost_at_most=0))
    witness.close()


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("fault", [
    ("service", "send_twice", "fedproxy.wire.zmq_channel:Hub.send"),
    ("agent", "send_twice", "fedproxy.wire.zmq_channel:Channel.send"),
    ("agent", "results_again", 0.3),
    ("service", "acks_again", 0.3),
], ids=["every message to the agent", "every message to the service", "old results", "old acknowledgements"])
def test_messages_that_come_twice_change_nothing(stage: Stage, book: Ledger, fault: tuple[object, ...], seed: int) -> None:
    stage.will(fault)
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book, retries_on_loss=1, sleep_s=0.002)
    with witness.watching():
        witness.submit_all(TASKS, seed)
        wait_for(lambda: len(book.executions()) >= 40, "executions")
        os.kill(stage.workers()[0], signal.SIGKILL)  # a second attempt, so that old messages are about another one
        witness.wait()
    assert stage.fired("twice") or stage.fired("replayed")
    witness.prove(Promise(executions_at_most=2, lost_at_most=0))
    witness.close()


def test_an_old_acknowledgement_does_not_stop_a_new_attempt(stage: Stage, book: Ledger) -> None:
    """The agent has lost the acknowledgement of attempt 0 when attempt 1 arrives: what it then hears of attempt 0 is not about attempt 1."""
    stage.will(("service", "acks_again", 0.25))
    stage.start_service()
    stage.start_endpoint(workers=1)
    witness = Witness(stage, book, retries_on_loss=2, sleep_s=1.0)
    witness.submit([0])
    wait_for(lambda: book.executions()[0] == 1, "the first attempt")
    os.kill(stage.workers()[0], signal.SIGKILL)
    wait_for(lambda: book.executions()[0] == 2, "the second attempt")
    eventually(stage, "replayed acks")
    witness.prove(Promise(executions_at_most=2, lost_at_most=0))
    witness.close()


def test_a_submit_that_is_replayed_is_the_same_task(witness: Witness) -> None:
    from fedproxy.protocol.ids import new_task_id, task_id_text

    ids = {key: new_task_id() for key in range(10)}
    for _ in range(3):
        message = witness.post(ids)
        assert not message.rejected
        for key, task_id in ids.items():
            witness.ledger.write("submit", key, id=task_id_text(task_id))
            witness.ledger.write("acknowledged", key, id=task_id_text(message.same_as.get(task_id, task_id)))
    witness.prove(Promise(lost_at_most=0))
