"""Builds that break a promise on purpose: the ledger must catch each of them, or it proves nothing about the real one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import zmq
from zmq.utils import z85

from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import decode, encode
from fedproxy.serialize import serialize
from tests.faults.ledger import Ledger, Promise, Remains, violations
from tests.faults.stage import SHORT_S, Stage, eventually
from tests.faults.witness import Witness
from tests.programs import wait_for

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=["real build", "sabotaged build"])
def broken(request: pytest.FixtureRequest) -> bool:
    """Each scenario is run with both: the real build must pass it."""
    return bool(request.param == "sabotaged build")


def judge(witness: Witness, broken: bool, promise: Promise, words: tuple[str, ...]) -> None:
    found = witness.verdict(promise)
    if not broken:
        assert not found, "\n".join(found[:20])
        return
    assert any(word in text for text in found for word in words), f"the ledger did not notice; it says {found[:20]}"


def test_acknowledging_before_the_commit_is_caught(stage: Stage, book: Ledger, broken: bool) -> None:
    if broken:
        stage.will(("service", "acknowledge_before_commit"))
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book)
    witness.submit(range(50))
    stage.kill("service")
    stage.will()
    stage.start_service()
    assert stage.fired("acknowledge before commit") or not broken
    judge_without_waiting(witness, broken)


def judge_without_waiting(witness: Witness, broken: bool) -> None:
    if not broken:
        witness.prove()
        return
    witness.collect()
    found = violations(witness.ledger.stories(), {}, Remains({}), Promise())
    assert any("the service has nothing" in text for text in found), found


def test_skipping_the_journal_is_caught(stage: Stage, book: Ledger, broken: bool) -> None:
    if broken:
        stage.will(("agent", "skip_journal"))
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book, sleep_s=0.2)
    witness.submit(range(6))
    wait_for(lambda: len(book.executions()) >= 2, "two tasks to run")
    stage.kill("local")
    stage.start_endpoint()
    assert stage.fired("skip journal") or not broken
    judge(witness, broken, Promise(lost_at_most=2), ("ran 2 times", "tasks were lost"))


@pytest.mark.heartbeat(SHORT_S)
def test_dropping_the_fencing_is_caught(stage: Stage, book: Ledger, broken: bool) -> None:
    if broken:
        stage.will(("service", "drop_fencing"))
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book, sleep_s=0.3)
    with witness.watching():
        witness.submit(range(4))
        wait_for(lambda: len(book.executions()) >= 2, "two tasks to run")
        agent = stage.running["local"].pid
        os.kill(agent, signal.SIGSTOP)
        stage.mark("stopped")
        wait_for(lambda: any(s == "LOST" for story in book.stories().values() for _, s in story.states), "a task to be given up")
        os.kill(agent, signal.SIGCONT)
        if broken:
            eventually(stage, "late result believed")
            wait_for(lambda: any(s == "SUCCEEDED" for story in book.stories().values() for _, s in story.states), "the late result")
        else:
            wait_for(lambda: witness.rest.json("GET", "/v1/stats")["late_results"] >= 1, "a late result to be counted")
    judge(witness, broken, Promise(), ("more than one ending", "go from LOST to SUCCEEDED"))


@pytest.fixture
def intruder(stage: Stage) -> Iterator[Intruder]:
    stage.will()
    made = Intruder()
    yield made
    made.close()


class Intruder:
    """Has keys of its own that nobody registered; says that it is the endpoint, takes tasks and makes up results."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._stop = threading.Event()
        self.heard: list[str] = []
        self._thread: threading.Thread | None = None

    def attack(self, address: str, server_key: bytes, endpoint_id: str) -> None:
        public, secret = zmq.curve_keypair()
        assert len(z85.decode(public)) == 32
        self._socket.linger = 0
        for option, value in ((zmq.CURVE_SERVERKEY, server_key), (zmq.CURVE_PUBLICKEY, public), (zmq.CURVE_SECRETKEY, secret),
                              (zmq.ROUTING_ID, f"{endpoint_id}/intruder".encode())):
            self._socket.setsockopt(option, value)
        self._socket.connect(address)
        self._socket.send(encode(m.Hello(endpoint_id, "intruder", "j", "b", (1,), 1000)))
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        while not self._stop.is_set():
            if not self._socket.poll(50):
                continue
            message, _ = decode(self._socket.recv_multipart()[0])
            self.heard.append(type(message).__name__)
            if isinstance(message, m.Tasks):
                forged = bytes(serialize(-1))
                outcomes = tuple(m.Outcome(t.id, t.attempt, 10, len(forged)) for t in message.items)
                self._socket.send_multipart([encode(m.Results(outcomes)), forged * len(outcomes)])

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)
        self._socket.close()
        self._context.term()


def test_losing_the_zap_handler_is_caught(stage: Stage, book: Ledger, intruder: Intruder, broken: bool) -> None:
    if broken:
        stage.will(("service", "lose_zap"))
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book)
    info = stage.info()
    registered = witness.rest.json("GET", "/v1/endpoints/local")
    answer = witness.rest.json("POST", "/v1/endpoints", {"name": "decoy", "public_key": "x" * 40})
    stage.kill("local", signal.SIGTERM)
    intruder.attack(f"tcp://127.0.0.1:{info['zmq_port']}", answer["server_key"].encode(), registered["id"])
    time.sleep(1.0)  # the intruder has a second to be let in
    stage.mark("intruder knocked")
    witness.submit(range(20))
    if broken:
        wait_for(lambda: "Tasks" in intruder.heard, "the intruder to be let in")
    else:
        stage.start_endpoint()
        assert intruder.heard == []
    judge(witness, broken, Promise(), ("has the value -1", "without having run"))
