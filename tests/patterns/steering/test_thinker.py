"""Thinkers with every kind of agent, at a real endpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedproxy.dispatch.client import Client
from fedproxy.errors import ConfigError
from fedproxy.patterns.steering import (
    BaseThinker,
    Flag,
    ResourceCounter,
    Result,
    TaskQueues,
    agent,
    event_responder,
    result_processor,
    task_submitter,
)
from tests.programs import Programs


def square(number: int) -> int:
    return number * number


@pytest.fixture
def queues(client: Client) -> Iterator[TaskQueues]:
    with TaskQueues({square: "local"}, topics=["sim", "ml"], client=client) as made:
        yield made


class Campaign(BaseThinker):
    """Squares numbers; after every fifth result it "trains" with the slots of the simulations."""

    def __init__(self, queues: TaskQueues, goal: int = 20) -> None:
        rec = ResourceCounter(3, ["sim", "ml"])
        rec.reallocate(None, "sim", 3)
        super().__init__(queues, rec)
        self.goal, self.next, self.most = goal, 0, 2
        self.found: list[int] = []
        self.train = Flag()
        self.trainings: list[tuple[int, int]] = []
        self.started = self.prepared = 0

    def prepare_agent(self) -> None:
        self.prepared += 1

    @agent(startup=True)
    def first(self) -> None:
        self.started += 1

    @task_submitter(task_type="sim", n_slots=1)
    def simulate(self) -> None:
        self.queues.send_inputs(self.next, topic="sim")
        self.next += 1

    @result_processor(topic="sim")
    def learn(self, result: Result) -> None:
        self.found.append(result.value)
        if len(self.found) == self.goal:
            self.done.set()
        self.counter().release("sim")
        if len(self.found) % 5 == 0:
            self.train.set()

    @event_responder(event_name="train", reallocate_resources=True, gather_from="sim", gather_to="ml", disperse_to="sim", max_slots="most")
    def fit(self) -> None:
        if self.counter().acquire("ml", 1, cancel_if=self.done):
            self.queues.send_inputs(100 + len(self.trainings), topic="ml")
            result = self.queues.take("ml", timeout=30)
            assert result is not None
            self.counter().release("ml")
            self.trainings.append((result.value, self.counter().allocated_slots("ml")))


def test_a_campaign_with_every_kind_of_agent_runs_to_its_goal(queues: TaskQueues) -> None:
    thinker = Campaign(queues)
    thinker.start()
    thinker.join(60)
    assert not thinker.is_alive()
    thinker.check()
    assert len(thinker.found) == thinker.next >= 20  # what was under way at the end was seen too
    assert set(thinker.found) == {n * n for n in range(thinker.next)}
    assert thinker.started == 1
    assert thinker.prepared == 4
    assert thinker.trainings[0][0] == 100 * 100
    assert all(1 <= slots <= 2 for _, slots in thinker.trainings)
    assert queues.active_count == 0
    assert thinker.counter().allocated_slots("sim") == 3


def test_an_agent_that_raises_ends_the_campaign_and_is_heard_of(queues: TaskQueues, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Campaign):
        @result_processor(topic="sim")
        def learn(self, result: Result) -> None:
            raise ZeroDivisionError(f"cannot learn from {result.value}")

    thinker = Broken(queues)
    thinker.start()
    thinker.join(60)
    assert not thinker.is_alive()
    with pytest.raises(ZeroDivisionError, match="cannot learn from"):
        thinker.check()
    assert "failed" in caplog.text
    queues.wait_until_done(0)


def test_a_result_that_nobody_processes_keeps_no_campaign_from_its_end(queues: TaskQueues) -> None:
    class Leaves(BaseThinker):
        @agent
        def asks(self) -> None:
            self.queues.send_inputs(3, topic="ml")
            self.queues.send_inputs(4, topic="sim")

        @result_processor(topic="sim")
        def takes(self, result: Result) -> None:
            self.taken = result.value

    thinker = Leaves(queues)
    thinker.start()
    thinker.join(60)
    assert not thinker.is_alive()
    thinker.check()
    assert thinker.taken == 16
    assert queues.get_result("ml", timeout=30).value == 9


def test_a_plain_agent_ends_the_campaign_with_itself(queues: TaskQueues) -> None:
    class Short(BaseThinker):
        @agent
        def only(self) -> None:
            self.queues.send_inputs(7)
            self.got = self.queues.get_result(timeout=30).value
            self.name_seen = self.agent_name

        @agent(startup=True)
        def waits(self) -> None:
            assert self.done.wait(60)

    thinker = Short(queues)
    thinker.run()
    thinker.check()
    assert (thinker.got, thinker.name_seen) == (49, "only")


def test_mistakes_in_a_thinker_are_errors_that_say_what_to_do(queues: TaskQueues) -> None:
    class Empty(BaseThinker):
        pass

    class NoSlots(BaseThinker):
        @task_submitter(task_type="sim")
        def submit(self) -> None:
            raise AssertionError

    class NoEvent(BaseThinker):
        @event_responder(event_name="missing")
        def respond(self) -> None:
            raise AssertionError

    with pytest.raises(ConfigError, match="has no agents"):
        Empty(queues).run()
    for kind, words in ((NoSlots, "has no slots"), (NoEvent, "has no event 'missing'")):
        thinker = kind(queues)
        thinker.run()
        with pytest.raises(ConfigError, match=words):
            thinker.check()
    with pytest.raises(ConfigError, match="responds to an event"):
        event_responder(lambda self: None)
    with pytest.raises(ConfigError, match="to itself"):
        event_responder(event_name="x", reallocate_resources=True, gather_from="a", gather_to="a")


KILLED = '''
import sys
from pathlib import Path
from fedproxy.patterns.steering import *

def simulate(folder, number):
    """Counts its own runs, outside fedproxy."""
    import os, time
    descriptor = os.open(f"{folder}/runs", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"%d\\n" % number)
    os.close(descriptor)
    time.sleep(0.02)
    return number * number

class Campaign(BaseThinker):
    def __init__(self, queues, folder, total):
        rec = ResourceCounter(4, ["sim"])
        rec.reallocate(None, "sim", 4)
        super().__init__(queues, rec)
        self.folder, self.total = folder, total
        known = [*queues.restored, *queues.reattached]
        self.todo = sorted(set(range(total)) - {result.task_info["n"] for result in known}, reverse=True)
        self.found = {result.task_info["n"]: result.value for result in queues.restored}
        rec.acquire("sim", min(4, len(queues.reattached)))
        print("restored", len(queues.restored), "reattached", len(queues.reattached), flush=True)

    @task_submitter(task_type="sim")
    def submit(self):
        if self.todo:
            number = self.todo.pop()
            self.queues.send_inputs(self.folder, number, task_info={"n": number})
        else:
            self.done.wait()

    @result_processor
    def learn(self, result):
        assert result.success, result.failure
        self.found[result.task_info["n"]] = result.value
        print("found", len(self.found), flush=True)
        if len(self.found) == self.total:
            self.done.set()
        self.rec.release("sim")

folder = sys.argv[1]
with TaskQueues({simulate: "local"}, journal=f"{folder}/journal.jsonl") as queues:
    thinker = Campaign(queues, folder, 60)
    thinker.run()
    thinker.check()
    assert thinker.found == {n: n * n for n in range(60)}
    print("complete", flush=True)
'''


def test_a_thinker_killed_in_the_middle_goes_on_and_no_simulation_is_run_again(running: Programs, tmp_path: Path) -> None:
    script = tmp_path / "campaign.py"
    script.write_text(KILLED)
    environment = {**os.environ, "FEDPROXY_HOME": str(running.home)}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True)

    for stop_at in (10, 30):  # killed twice
        with start() as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("found") and int(line.split()[1]) >= stop_at:
                    process.send_signal(signal.SIGKILL)
                    break
            assert process.wait(30) == -signal.SIGKILL
    with start() as process:
        out, _ = process.communicate(timeout=90)
    assert process.returncode == 0, out
    assert "complete" in out
    assert int(out.split()[1]) >= 29  # the journal had them
    runs = (tmp_path / "runs").read_text().split()
    assert sorted(map(int, runs)) == list(range(60))
    events = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "ended" for event in events) == 60
    assert not list(tmp_path.glob("journal.jsonl.values/.*"))  # nothing half-written
