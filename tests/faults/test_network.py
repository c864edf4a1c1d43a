"""Bad networks between client, service and agent: a TCP proxy does to the connections what networks do."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Iterator

import pytest

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from tests.faults.ledger import Ledger, Promise, value_of, work
from tests.faults.stage import FULL, SHORT_S, Stage, seeds
from tests.faults.tcp_proxy import TcpProxy, Weather
from tests.faults.witness import Witness
from tests.programs import wait_for

TASKS = 300
pytestmark = pytest.mark.timeout(120)


class Between:
    """A service and an endpoint, with a proxy on the way of the agent and one on the way of the client."""

    def __init__(self, stage: Stage, book: Ledger) -> None:
        self.stage, self.book = stage, book
        stage.start_service()
        info = stage.info()
        self.agent = TcpProxy(int(info["zmq_port"]))
        self.client = TcpProxy(int(info["port"]))
        self.url = f"http://127.0.0.1:{self.client.port}"
        stage.will(("agent", "through", self.agent.port))
        stage.start_endpoint()

    def witness(self, **options: object) -> Witness:
        return Witness(self.stage, self.book, url=self.url, **options)  # type: ignore[arg-type]

    def online(self, wanted: bool, timeout_s: float = 20.0) -> None:
        with self.stage.client() as client:
            wait_for(lambda: client.get_endpoint_status("local")["online"] is wanted, f"online to be {wanted}", timeout_s)

    def close(self) -> None:
        self.agent.close()
        self.client.close()


@pytest.fixture
def between(stage: Stage, book: Ledger) -> Iterator[Between]:
    made = Between(stage, book)
    yield made
    made.close()


def submitting(witness: Witness, seed: int, pause_s: float = 0.01) -> threading.Thread:
    thread = threading.Thread(target=witness.submit_all, args=(TASKS, seed), kwargs={"pause_s": pause_s}, daemon=True)
    thread.start()
    return thread


def some_ran(book: Ledger, count: int) -> None:
    wait_for(lambda: len(book.executions()) >= count, f"{count} executions", 30)


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("reset", [False, True], ids=["cut", "reset"])
def test_connections_that_flap_break_no_promise(between: Between, seed: int, reset: bool) -> None:
    witness = between.witness()
    with witness.watching():
        submitter = submitting(witness, seed)
        cuts = 0
        for _ in range(12):
            time.sleep(0.2)
            cuts += between.agent.cut(reset=reset) + between.client.cut(reset=reset)
        assert cuts >= 8, "the fault did not fire"
        submitter.join(60)
        witness.wait()
    witness.prove(Promise(lost_at_most=0))


@pytest.mark.heartbeat(SHORT_S)
@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("silent", ["up", "down", "both"])
def test_a_half_open_connection_of_the_agent_is_found(between: Between, silent: str, seed: int) -> None:
    """Nobody is told that the bytes vanish. The service gives the endpoint up, and takes it back."""
    witness = between.witness()
    witness.submit_all(60, seed)
    some_ran(between.book, 30)
    between.agent.weather = Weather(drop_up=silent != "down", drop_down=silent != "up")
    witness.submit_all_from(60, 60)
    wait_for(lambda: between.agent.dropped, "bytes to be dropped")
    if silent != "down":
        between.online(False)
    else:
        time.sleep(3.0)  # twice the threshold: the agent hears nothing, and connects anew
    between.agent.weather = Weather()
    between.online(True)
    # What was on its way to the silent endpoint may have started: it is LOST, never run twice.
    witness.prove(Promise())


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("weather", [
    pytest.param(Weather(delay_s=0.2), id="200 ms"),
    pytest.param(Weather(bytes_per_s=125_000.0), id="1 Mbit per s"),
    pytest.param(Weather(stall_share=0.05), id="5 percent loss"),
    pytest.param(Weather(delay_s=0.05, bytes_per_s=125_000.0, stall_share=0.05), id="all of it"),
])
def test_a_slow_and_lossy_network_breaks_no_promise(between: Between, weather: Weather, seed: int) -> None:
    between.agent.weather = between.client.weather = weather
    witness = between.witness()
    with witness.watching():
        submitter = submitting(witness, seed)
        submitter.join(90)
        assert not submitter.is_alive()
        witness.wait()
    assert between.agent.passed > 20_000
    assert between.client.passed > 20_000
    assert between.agent.stalls or not weather.stall_share
    assert between.agent.held_s > 0.3, "the agent's line was as good as any"
    assert between.client.held_s > 0.3, "the client's line was as good as any"
    between.agent.weather = between.client.weather = Weather()
    witness.prove(Promise(lost_at_most=0))


def test_a_reply_that_is_lost_after_the_commit_makes_no_second_task(between: Between) -> None:
    witness = between.witness()
    witness.submit(range(5))
    for at in range(5, 25, 5):
        between.client.weather = Weather(drop_down=True)
        before = between.client.dropped
        submitted = threading.Thread(target=witness.submit, args=(range(at, at + 5),), daemon=True)
        submitted.start()
        wait_for(lambda before=before: between.client.dropped > before, "the reply to be dropped")
        between.client.weather = Weather()
        between.client.cut(reset=True)
        submitted.join(30)
        assert not submitted.is_alive()
    assert all(story.submitted >= 2 for key, story in between.book.stories().items() if key >= 5), "no submit was repeated"
    witness.prove(Promise(lost_at_most=0))


@pytest.mark.skipif(not FULL, reason="takes the client's silence threshold (35 s): part of `make test-faults`")
def test_a_client_finds_its_half_open_connections(between: Between) -> None:
    with Client(between.url, between.stage.address().token) as client, Executor("local", client=client) as executor:
        path = str(between.book.executions_path)
        assert executor.submit(work, path, 0).result(20) == value_of(0)
        futures = [executor.submit(work, path, number, 0.02) for number in range(1, 100)]
        some_ran(between.book, 10)
        assert between.client.silence() >= 2, "no connection to silence"
        some_ran(between.book, 100)
        _, waiting = concurrent.futures.wait(futures, timeout=1)
        assert waiting, "the silence was not one"
        assert [future.result(100) for future in futures] == [value_of(number) for number in range(1, 100)]
    assert max(between.book.executions().values()) == 1


@pytest.mark.parametrize("seed", seeds())
def test_an_executor_on_a_flapping_connection_gets_every_value(between: Between, seed: int) -> None:
    with Client(between.url, between.stage.address().token) as client, Executor("local", client=client) as executor:
        path = str(between.book.executions_path)
        futures = []
        cuts = 0
        for number in range(TASKS):
            futures.append(executor.submit(work, path, number, 0.002))
            if number % 60 == 59:
                cuts += between.agent.cut(reset=bool(seed % 2)) + between.client.cut(reset=True)
                time.sleep(0.1)
        assert cuts >= 5, "the fault did not fire"
        assert [future.result(60) for future in futures] == [value_of(number) for number in range(TASKS)]
    assert max(between.book.executions().values()) == 1
