"""Tasks out and results in through a real service and a real endpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedproxy.dispatch.client import Client
from fedproxy.errors import ConfigError
from fedproxy.patterns.steering import Method, Result, TaskQueues, campaign_report
from fedproxy.proxy import Proxy
from tests.programs import Programs


def double(value: object) -> object:
    return value + value  # type: ignore[operator]


def fail(word: str) -> None:
    raise KeyError(word)


def fail_until(path: str, times: int) -> int:
    with open(path, "a+") as file:
        file.write("x")
        file.seek(0)
        count = len(file.read())
    if count <= times:
        raise ConnectionError("not yet")
    return count


def wait_for_file(path: str) -> str:
    while not Path(path).exists():
        time.sleep(0.01)
    return path


def count_up(stop: int, size: int = 1) -> Iterator[object]:
    for number in range(stop):
        yield np.full(size, number) if size > 1 else number
    return "all"


def break_after(stop: int) -> Iterator[int]:
    yield from range(stop)
    raise RuntimeError("broken")


@pytest.fixture
def queues(client: Client) -> Iterator[TaskQueues]:
    functions = (double, fail, fail_until, wait_for_file, count_up, break_after, count_run)
    with TaskQueues([Method(function, "local") for function in functions], topics=["a", "b"], client=client) as made:
        yield made


def test_results_come_back_by_topic_with_inputs_task_info_and_times(queues: TaskQueues) -> None:
    ids = {queues.send_inputs(number, method="double", topic=topic, task_info={"n": number}): topic for number, topic in enumerate("abab")}
    assert queues.active_count == 4
    for topic in "ab":
        for _ in range(2):
            result = queues.get_result(topic, timeout=30)
            assert ids[result.task_id] == topic == result.topic
            assert (result.value, result.args, result.success) == (2 * result.task_info["n"], (result.task_info["n"],), True)
            stamps = [result.timestamps[stage] for stage in ("created", "started", "compute_started", "compute_ended", "result_sent")]
            assert stamps == sorted(stamps)
    assert queues.wait_until_done(timeout=1)


def test_an_exception_is_a_result_that_says_so(queues: TaskQueues) -> None:
    queues.send_inputs("nothing", method="fail")
    result = queues.get_result(timeout=30)
    assert (result.success, type(result.exception), result.failure) == (False, KeyError, "KeyError: 'nothing'")


def test_a_task_that_fails_is_run_again_as_often_as_was_asked(queues: TaskQueues, tmp_path: Path) -> None:
    queues.send_inputs(str(tmp_path / "enough"), 2, method="fail_until", max_retries=2)
    assert queues.get_result(timeout=30).value == 3
    queues.send_inputs(str(tmp_path / "too-few"), 2, method="fail_until", max_retries=1)
    assert isinstance(queues.get_result(timeout=30).exception, ConnectionError)


def test_large_values_stay_in_their_store_until_they_are_used(queues: TaskQueues) -> None:
    array = np.arange(100_000)
    queues.send_inputs(array, method="double")
    result = queues.get_result(timeout=30)
    assert isinstance(result._value, Proxy)
    assert (result.value == 2 * array).all()
    assert result.seconds("compute_started", "compute_ended") >= 0


@pytest.mark.parametrize("size", [1, 50_000])
def test_a_generator_gives_its_values_as_they_come_and_then_what_it_returns(queues: TaskQueues, size: int) -> None:
    task_id = queues.send_inputs(5, size, method="count_up", topic="a")
    results = [queues.get_result("a", timeout=30) for _ in range(6)]
    assert [result.intermediate for result in results] == [True] * 5 + [False]
    assert [int(np.max(result.value)) for result in results[:-1]] == list(range(5))
    assert (results[-1].value, {result.task_id for result in results}) == ("all", {task_id})
    assert queues.active_count == 0


def test_a_generator_that_breaks_gives_what_it_had(queues: TaskQueues) -> None:
    queues.send_inputs(3, method="break_after")
    results = [queues.get_result(timeout=30) for _ in range(4)]
    assert [result.value for result in results[:3]] == [0, 1, 2]
    assert isinstance(results[3].exception, RuntimeError)


def test_stale_tasks_are_cancelled_whether_they_wait_or_run(queues: TaskQueues, tmp_path: Path) -> None:
    for number in range(6):
        queues.send_inputs(str(tmp_path / "never"), method="wait_for_file", task_info={"n": number})
    assert len(queues.running) == 6
    assert queues.cancel(lambda result: result.task_info["n"] > 0) == 5
    (tmp_path / "never").touch()
    results = [queues.get_result(timeout=30) for _ in range(6)]
    assert {result.task_info["n"]: result.cancelled for result in results} == {number: number > 0 for number in range(6)}


def test_urgent_tasks_go_before_those_that_wait_also_when_they_become_urgent_later(queues: TaskQueues, tmp_path: Path) -> None:
    for _ in range(2):
        queues.send_inputs(str(tmp_path / "go"), method="wait_for_file", topic="b")  # both workers are busy
    for number in range(200):
        queues.send_inputs(str(tmp_path / "order"), "", number, method="count_run", task_info={"n": number}, priority=-1 if number < 100 else 0)
    assert queues.reprioritize(lambda result: result.task_info.get("n") == 150, 10) == 1
    queues.send_inputs(str(tmp_path / "order"), "", 200, method="count_run", task_info={"n": 200}, priority=20)
    for executor in queues._executors.values():
        executor.flush()
    (tmp_path / "go").touch()
    seen = [queues.get_result(timeout=60).task_info["n"] for _ in range(201)]
    assert seen.index(200) < seen.index(150) + 4  # two workers, two tasks ahead in each
    assert seen.index(150) < 30
    assert min(seen.index(number) for number in range(100)) > 60


def test_wrong_names_are_errors_that_say_what_there_is(queues: TaskQueues) -> None:
    with pytest.raises(ConfigError, match="no method called 'tripple'"):
        queues.send_inputs(1, method="tripple")
    with pytest.raises(ConfigError, match="no topic called 'c'"):
        queues.send_inputs(1, method="double", topic="c")
    with pytest.raises(TimeoutError, match="topic 'a' within"):
        queues.get_result("a", timeout=0.01)
    with pytest.raises(ConfigError, match="two methods are called"):
        TaskQueues([Method(double, "local"), Method(double, "local")])
    assert queues.active_count == 0


def test_thresholds_differ_by_topic(client: Client) -> None:
    with TaskQueues({double: "local"}, topics=["small"], client=client, thresholds={"small": 100}) as queues:
        moved = {}
        for topic in ("default", "small"):
            queues.send_inputs(b"x" * 1_000, topic=topic)
            future = next(iter(queues._running.values())).future
            queues.get_result(topic, timeout=30)
            moved[topic] = future.stored_bytes > 0
        assert moved == {"default": False, "small": True}


def count_run(path: str, wait: str, number: int) -> int:
    with open(path, "a") as file:
        file.write("x")
    while wait and not Path(wait).exists():
        time.sleep(0.01)
    return number


def test_a_campaign_goes_on_from_its_journal_and_runs_nothing_twice(running: Programs, tmp_path: Path) -> None:
    journal, go, runs = tmp_path / "journal.jsonl", tmp_path / "go", tmp_path / "runs"
    with running.client() as client, TaskQueues({count_run: "local"}, client=client, journal=journal) as queues:
        for number in range(3):
            queues.send_inputs(str(runs), "", number)
        first = [queues.get_result(timeout=30).value for _ in range(3)]
        for number in range(3, 6):
            queues.send_inputs(str(runs), str(go), number, task_info={"n": number})
        for executor in queues._executors.values():
            executor.flush()
    with journal.open("ab") as file:
        file.write(b'{"event": "asked", "id": "cut sh')  # as a crash may leave it
    go.touch()
    with running.client() as client, TaskQueues({count_run: "local"}, client=client, journal=journal) as queues:
        assert sorted(result.value for result in queues.restored) == sorted(first) == [0, 1, 2]
        assert [result.task_info["n"] for result in queues.reattached] == [3, 4, 5]
        assert sorted(queues.get_result(timeout=30).value for _ in range(3)) == [3, 4, 5]
        assert len(runs.read_text()) == 6
    with running.client() as client, TaskQueues({count_run: "local"}, client=client, journal=journal) as queues:
        assert len(queues.restored) == 6
        assert not queues.reattached
    report = campaign_report(journal)
    assert (report.tasks, report.failed) == ({"count_run": 6}, 0)
    assert 0 < report.utilization <= 1
    report.picture(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5_000


def test_what_was_written_down_and_never_sent_is_sent_when_the_campaign_goes_on(running: Programs, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with running.client() as client, TaskQueues({double: "local"}, client=client, journal=journal) as queues:
        lost = Result("6f2b8e0e-0000-4000-8000-000000000001", "double", args=(21,), timestamps={"created": 1.0})
        assert queues._journal is not None
        queues._journal.asked(lost, "a-group-that-the-service-never-heard-of")
    with running.client() as client, TaskQueues({double: "local"}, client=client, journal=journal) as queues:
        assert queues.get_result(timeout=30).value == 42


def test_a_file_that_is_no_journal_is_refused(running: Programs, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n")
    with running.client() as client, pytest.raises(ConfigError, match="not a journal"):
        TaskQueues({double: "local"}, client=client, journal=tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "hello\n"
