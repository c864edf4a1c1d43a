"""Submitting through the whole path: client, service, agent, worker and back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import subprocess
import sys
import threading
import time

import pytest

import fedproxy
from fedproxy.dispatch.client import Client, TaskPendingError
from fedproxy.dispatch.executor import Executor
from fedproxy.errors import ConfigError, SerializationError, ServiceUnavailableError, TaskLostError, UnknownEndpointError, UnknownTaskError
from tests.programs import Programs, alive, wait_for


class Tired(Exception):
    """An exception type of the user's own."""

    def __init__(self, hours: int, *, place: str) -> None:
        super().__init__(hours, place)
        self.hours, self.place = hours, place

    def __reduce__(self):
        return functools.partial(Tired, place=self.place), (self.hours,)


def add(a: int, b: int) -> int:
    return a + b


def fall_asleep() -> None:
    raise Tired(3, place="here")


class Doubler:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return x * self.factor

    def method(self, x: int) -> int:
        return x * self.factor + 1


def test_a_function_runs_in_another_process(executor: Executor) -> None:
    assert executor.submit(os.getpid).result(20) != os.getpid()


def test_every_kind_of_callable_works(executor: Executor) -> None:
    outside = 7

    def closure(x: int) -> int:
        return x + outside

    calls = [(lambda x: x + 1, 2), (closure, 8), (functools.partial(add, 10), 11), (Doubler(5), 5), (Doubler(5).method, 6), (abs, 1)]
    assert [executor.submit(fn, 1).result(20) for fn, _ in calls] == [expected for _, expected in calls]


def test_a_function_of_main_works_from_a_script(running: Programs) -> None:
    script = (
        "import fedproxy, math\n"
        "class Point:\n    def __init__(self, x): self.x = x\n"
        "def far(p): return Point(math.hypot(p.x, 4))\n"
        "r = fedproxy.submit(far, Point(3), endpoint='local').result(20)\n"
        "assert isinstance(r, Point) and r.x == 5, r\n"
        "print('fine')\n")
    environment = {**os.environ, "FEDPROXY_HOME": str(running.home)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "fine\n"


def test_the_users_own_exception_is_raised_with_the_remote_traceback(executor: Executor) -> None:
    with pytest.raises(Tired) as caught:
        executor.submit(fall_asleep).result(20)
    assert (caught.value.hours, caught.value.place) == (3, "here")
    import traceback

    assert "in fall_asleep" in "".join(traceback.format_exception(caught.value))


def test_an_exception_that_cannot_be_pickled_is_told_as_text(executor: Executor) -> None:
    def odd() -> None:
        class Odd(Exception):
            def __init__(self) -> None:
                super().__init__("with a lock")
                self.lock = threading.Lock()

        raise Odd

    with pytest.raises(fedproxy.FedproxyError, match="Odd"):
        executor.submit(odd).result(20)


def test_system_exit_in_the_function_ends_the_task_and_not_the_caller(executor: Executor) -> None:
    with pytest.raises(fedproxy.FedproxyError, match="SystemExit"):
        executor.submit(sys.exit, 3).result(20)
    assert executor.submit(add, 1, 1).result(20) == 2


def test_what_cannot_be_pickled_is_named_at_submit(executor: Executor) -> None:
    with pytest.raises(SerializationError, match="lock"):
        executor.submit(add, threading.Lock(), 1)
    lock = threading.Lock()
    with pytest.raises(SerializationError, match="lock"):
        executor.submit(lambda: lock)


def test_what_cannot_be_called_is_refused(executor: Executor) -> None:
    with pytest.raises(TypeError, match="callable"):
        executor.submit(3)  # type: ignore[arg-type]


def test_an_unknown_option_is_named_with_the_one_that_was_meant(executor: Executor) -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'priorty' \(did you mean priority\?\)"):
        executor.using(priorty=5)


def test_an_unknown_endpoint_is_named_with_those_that_exist(client: Client) -> None:
    with pytest.raises(UnknownEndpointError, match=r"'nowhere'.*local"):
        Executor("nowhere", client=client).submit(add, 1, 2)


def test_unknown_options_are_refused(client: Client) -> None:
    with pytest.raises(ConfigError, match="retrys"):
        Executor("local", client=client, retrys=3)
    with pytest.raises(ConfigError, match="retries"):
        Executor("local", client=client, retries=-1)


def test_without_a_service_the_error_says_how_to_start_one(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDPROXY_HOME", str(tmp_path))
    monkeypatch.delenv("FEDPROXY_SERVICE_URL", raising=False)
    with pytest.raises(ServiceUnavailableError, match="fedproxy up"):
        Client()
    with pytest.raises(ServiceUnavailableError, match="fedproxy up"):
        Client("http://127.0.0.1:9", "x").get_endpoints()


def test_futures_are_those_of_concurrent_futures(executor: Executor) -> None:
    futures = [executor.submit(add, i, i) for i in range(20)]
    done, pending = concurrent.futures.wait(futures, timeout=20)
    assert len(done) == 20
    assert not pending
    assert sorted(f.result() for f in concurrent.futures.as_completed(futures, timeout=20)) == [2 * i for i in range(20)]


def test_asyncio_awaits_futures_and_takes_them_as_they_end(executor: Executor) -> None:
    async def scenario() -> None:
        assert await asyncio.wrap_future(executor.submit(add, 20, 1)) == 21
        assert await executor.submit(add, 20, 2) == 22
        with pytest.raises(Tired):
            await executor.submit(fall_asleep)
        slow, fast = executor.submit(time.sleep, 0.5), executor.submit(time.sleep, 0.0)
        assert [f is fast async for f in fedproxy.as_completed([slow, fast])] == [True, False]

    asyncio.run(scenario())


def test_submitting_inside_a_callback_works(executor: Executor) -> None:
    arrived = threading.Event()
    values: list[int] = []

    def again(future: concurrent.futures.Future[int]) -> None:
        values.append(future.result())
        if len(values) < 5:
            executor.submit(add, future.result(), 1).add_done_callback(again)
        else:
            arrived.set()

    executor.submit(add, 0, 1).add_done_callback(again)
    assert arrived.wait(20)
    assert values == [1, 2, 3, 4, 5]


def test_map_keeps_order_and_stops_at_the_first_exception(executor: Executor) -> None:
    assert list(executor.map(add, range(100), range(100))) == [2 * i for i in range(100)]
    assert list(executor.map(add, [], [])) == []
    results = executor.map(lambda x: 1 // x, [1, 0, 1], chunksize=1)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(ValueError, match="chunksize"):
        executor.map(add, [1], [1], chunksize=0)


def test_many_threads_submit_at_once(executor: Executor) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        futures = list(threads.map(lambda i: executor.submit(add, i, 0), range(400)))
    assert [f.result(20) for f in futures] == list(range(400))


def test_shutdown_waits_and_then_refuses(client: Client) -> None:
    executor = Executor("local", client=client)
    futures = [executor.submit(time.sleep, 0.05) for _ in range(4)]
    executor.shutdown()
    executor.shutdown()
    assert all(f.done() for f in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(add, 1, 1)


def test_status_and_timeline_tell_every_station(executor: Executor) -> None:
    future = executor.submit(add, 1, 1)
    future.result(20)
    assert future.status() == "SUCCEEDED"
    stations = future.timeline()
    assert list(stations) == [
        "submitted", "accepted", "committed", "dispatched", "received", "started", "called", "evaluated", "ended", "returned", "finished", "resolved"]
    assert stations["submitted"] <= stations["committed"] <= stations["started"] <= stations["ended"] <= stations["resolved"]


def test_a_second_process_gets_a_result_by_its_id(executor: Executor, running: Programs) -> None:
    future = executor.submit(add, 20, 22)
    future.result(20)
    with running.client() as other:
        assert [other.get_result(future.task_id) for _ in range(2)] == [42, 42]
        with pytest.raises(UnknownTaskError):
            other.get_result("00000000-0000-7000-8000-000000000000")
        slow = executor.submit(time.sleep, 1)
        wait_for(lambda: slow.status() in ("QUEUED", "SENT"), "the task to be accepted")
        with pytest.raises(TaskPendingError):
            other.get_result(slow.task_id)


def test_a_group_is_reloaded_elsewhere(executor: Executor, running: Programs) -> None:
    futures = [executor.submit(add, i, 1) for i in range(50)]
    concurrent.futures.wait(futures, timeout=20)
    with running.client() as other:
        again = Executor(client=other).reload_tasks(executor.task_group_id)
        assert [f.result(20) for f in again] == [f.result() for f in futures]


def test_a_group_is_reloaded_by_the_executor_that_has_already_heard_of_its_results(executor: Executor) -> None:
    futures = [executor.submit(add, i, 1) for i in range(50)]
    concurrent.futures.wait(futures, timeout=20)
    for _ in range(3):
        again = executor.reload_tasks()
        later = executor.submit(add, 1, 1)
        assert [f.result(20) for f in again][:50] == [f.result() for f in futures]
        assert later.result(20) == 2


def test_the_same_key_gives_the_same_task_and_another_call_is_a_conflict(executor: Executor) -> None:
    first = executor.submit_once("run-1", add, 1, 2)
    assert first.result(20) == 3
    again = executor.submit_once("run-1", add, 1, 2)
    assert again.result(20) == 3
    assert again.task_id == first.task_id
    with pytest.raises(fedproxy.FedproxyError, match="run-1"):
        executor.submit_once("run-1", add, 3, 4).result(20)


def test_a_running_task_is_cancelled_and_its_neighbour_is_not(executor: Executor) -> None:
    sleeper, neighbour = executor.submit(time.sleep, 60), executor.submit(time.sleep, 0.5)
    wait_for(lambda: sleeper.status() == "SENT", "the task to be sent")
    assert sleeper.cancel()
    assert sleeper.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        sleeper.result()
    assert neighbour.result(20) is None
    assert not neighbour.cancel()


def test_a_worker_that_dies_loses_its_task_only(executor: Executor) -> None:
    started = time.monotonic()
    bad = executor.submit(os._exit, 7)
    good = [executor.submit(add, i, 0) for i in range(100)]
    with pytest.raises(TaskLostError, match="exited with code 7"):
        bad.result(20)
    assert time.monotonic() - started < 2.0
    assert [f.result(20) for f in good] == list(range(100))


def test_a_segfault_tells_the_signal_and_the_end_of_stderr(executor: Executor) -> None:
    def crash() -> None:
        import ctypes
        import sys

        print("about to crash", file=sys.stderr, flush=True)
        ctypes.string_at(0)

    with pytest.raises(TaskLostError, match=r"(?s)SIGSEGV.*about to crash"):
        executor.submit(crash).result(20)


def test_loss_is_repaired_when_it_is_allowed(client: Client, tmp_path) -> None:
    marker = tmp_path / "marker"

    def die_once(path: str) -> str:
        import os

        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) == 1:
            os._exit(1)
        return "survived"

    assert Executor("local", client=client, retries_on_loss=1).submit(die_once, str(marker)).result(20) == "survived"
    assert marker.read_text() == "xx"


def test_a_task_that_kills_every_worker_is_put_aside(client: Client) -> None:
    with pytest.raises(fedproxy.FedproxyError, match="DEAD"):
        Executor("local", client=client, retries_on_loss=10).submit(os._exit, 1).result(30)


def test_an_exception_is_retried_as_often_as_allowed(client: Client, tmp_path) -> None:
    def third_time(path: str) -> int:
        with open(path, "a") as file:
            file.write("x")
        with open(path) as file:
            tries = len(file.read())
        if tries < 3:
            raise ValueError(tries)
        return tries

    assert Executor("local", client=client, retries=2).submit(third_time, str(tmp_path / "a")).result(20) == 3
    with pytest.raises(ValueError, match="2"):
        Executor("local", client=client, retries=1).submit(third_time, str(tmp_path / "b")).result(20)


def test_an_offline_endpoint_warns_and_the_task_waits(programs: Programs) -> None:
    programs.start_service()
    programs.start_endpoint("later", 1)
    programs.kill("later")
    with programs.client() as client:
        wait_for(lambda: not client.get_endpoint_status("later")["online"], "the service to notice")
        started = time.monotonic()
        with pytest.warns(fedproxy.errors.EndpointOfflineWarning, match="later"):
            future = Executor("later", client=client).submit(add, 2, 3)
        assert time.monotonic() - started < 1.0
        with pytest.raises(fedproxy.errors.EndpointOfflineError, match="later"):
            Executor("later", client=client, on_offline="fail").submit(add, 2, 3)
        wait_for(lambda: future.status() == "QUEUED", "the task to be queued")
        programs.start_endpoint("later", 1)
        assert future.result(20) == 5



def test_walltime_really_stops_a_task_and_its_children(client: Client, tmp_path) -> None:
    def hang(path: str) -> None:
        import subprocess

        child = subprocess.Popen(["sleep", "60"])
        with open(path, "w") as file:
            file.write(str(child.pid))
        child.wait()

    executor = Executor("local", client=client, walltime_s=0.5)
    started = time.monotonic()
    with pytest.raises(fedproxy.errors.TaskExpiredError, match=r"walltime of 0\.5 s"):
        executor.submit(hang, str(tmp_path / "child")).result(20)
    assert time.monotonic() - started < 5
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not alive(child), "the child to be gone")
    assert executor.submit(add, 1, 1).result(20) == 2
    with pytest.raises(ConfigError, match="walltime_s"):
        Executor("local", client=client, walltime_s=-1)


def test_executors_that_share_a_client_leave_no_connection_behind(client):
    opened = []
    for number in range(5):
        with Executor("local", client=client) as executor:
            assert executor.submit(abs, -number).result(30) == number
        opened.append(len(os.listdir("/proc/self/fd")))
    assert opened[-1] - opened[0] < 2, f"one more for each executor would be four: {opened}"
