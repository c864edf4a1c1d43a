"""Tasks out, results in, by topic: what the agents of a campaign talk to.

Strategy: a task is a call through an `Executor`, its result is pushed to the topic's inbox by the future's callback, and
nothing asks again and again. With a journal every task is written down before it is asked for and every result before
an agent sees it.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define

from fedproxy import Client, Executor, Options, TaskFuture
from fedproxy.errors import ConfigError
from fedproxy.patterns.steering.following import Follower
from fedproxy.patterns.steering.inbox import Inboxes
from fedproxy.patterns.steering.journal import Journal
from fedproxy.patterns.steering.methods import Method, method_table, streamed
from fedproxy.patterns.steering.result import Result
from fedproxy.store import Store

_STREAM_TTL_S = 24 * 3600.0
_STAGE_OF = {
    "accepted": "accepted",
    "dispatched": "dispatched",
    "received": "input_received",
    "started": "started",
    "called": "compute_started",
    "evaluated": "compute_ended",
    "ended": "result_sent",
    "finished": "finished",
}
"""The stations of a task (`fedproxy.protocol.timeline`) among the stages of a result."""


@define
class _Running:
    result: Result
    future: TaskFuture[Any]
    follower: Follower | None = None


class TaskQueues:
    """Sends tasks and hands out results by topic. Safe for threads.

    Args:
        methods: ``{function: endpoint}``, or a list of `Method`.
        topics: names of topics besides ``default``.
        client: of which service; by default the local one or that of the environment.
        options: see `fedproxy.Options`, for all tasks; those of a `Method` come before them.
        thresholds: topic → bytes from which on inputs and results go by proxy, where it differs.
        journal: a file that the campaign is written to. One that exists is gone on with: ``restored`` are the results of before, ``reattached``
            the tasks that were under way; their results come as if nothing had happened.

    Raises:
        ConfigError: methods, topics or journal are not what they should be.
        ServiceUnavailableError: no service runs or answers.
    """

    def __init__(
        self, methods: Mapping[Callable[..., Any], str] | Iterable[Method], *, topics: Iterable[str] = (), client: Client | None = None,
        options: Options | None = None, thresholds: Mapping[str, int] | None = None, journal: str | Path | None = None,
    ) -> None:
        self.methods = method_table(methods)
        self._calls = {name: streamed(method.function) if method.streams else method.function for name, method in self.methods.items()}
        self._inboxes = Inboxes(["default", *topics])
        self._thresholds = {self._inboxes.known(topic): nbytes for topic, nbytes in (thresholds or {}).items()}
        self._own_client = client is None
        self.client = client or Client()
        self._options = options or Options()
        self._executors: dict[str, Executor] = {}
        self._chosen: dict[tuple[Any, ...], Options] = {}
        self._lock = threading.RLock()
        self._running: dict[str, _Running] = {}
        self._active: Counter[str] = Counter()
        self._idle = threading.Condition()
        self._closed = False
        self.restored: list[Result] = []
        """Tasks that had ended before this process began, in the order of asking."""
        self.reattached: list[Result] = []
        """Tasks that were under way when this process began."""
        self._journal = None if journal is None else Journal(Path(journal), str(uuid.uuid4()))
        self._recorder = None if journal is None else ThreadPoolExecutor(1, "fedproxy-journal")
        if self._journal is not None:
            self._resume(self._journal)

    # ------------------------------------------------------------ tasks out

    def send_inputs(
        self, *args: Any, method: str | None = None, input_kwargs: Mapping[str, Any] | None = None, topic: str = "default",
        task_info: Mapping[str, Any] | None = None, priority: int = 0, max_retries: int = 0,
    ) -> str:
        """Ask for a task. Returns its id at once.

        Args:
            method: the name of a method; may be left out where there is only one.
            topic: whose inbox its results go to.
            task_info: JSON, given back with the result.
            priority: higher ones are started first among the waiting tasks of an endpoint.
            max_retries: how often it is run again after an exception.

        Raises:
            ConfigError: an unknown method or topic, or ``task_info`` that is no JSON.
            SerializationError: the inputs cannot be sent.
            ServiceUnavailableError: the service does not answer.
        """
        name = method or (next(iter(self.methods)) if len(self.methods) == 1 else "")
        if name not in self.methods:
            raise ConfigError(f"no method called {name!r}", hint=f"methods are {', '.join(self.methods)}")
        result = Result(
            str(uuid.uuid4()), name, self._inboxes.known(topic), args, dict(input_kwargs or {}), dict(task_info or {}), priority, max_retries,
            timestamps={"created": time.time()})
        self._count(result, 1)
        try:
            self._start(result)
        except BaseException:
            self._count(result, -1)
            raise
        return result.task_id

    def _start(self, result: Result) -> None:
        executor, options = self._executor(self.methods[result.method].endpoint), self._options_of(result)
        call, args, key = self._calls[result.method], result.args, None
        follower = self._follower(result) if self.methods[result.method].streams else None
        if follower is not None:
            args = (follower.place, *args)
        if self._journal is not None:
            self._journal.asked(result, executor.task_group_id)
            key = _key(self._journal, result)
        future = executor.submit_call(call, args, result.kwargs, options, key)
        result.timestamps["submitted"] = time.time()
        self._watch(result, future, follower)

    def _watch(self, result: Result, future: TaskFuture[Any], follower: Follower | None = None) -> None:
        with self._lock:
            self._running[result.task_id] = _Running(result, future, follower)
        if follower is not None:
            follower.start()
        future.add_done_callback(partial(self._ended, result, follower))

    def _executor(self, endpoint: str) -> Executor:
        """One connection for each endpoint."""
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot send tasks after close")
            executor = self._executors.get(endpoint)
            if executor is None:
                executor = self._executors[endpoint] = Executor(endpoint, client=self.client, options=self._options)
            return executor

    def _options_of(self, result: Result) -> Options:
        single: dict[str, Any] = {"retries": result.max_retries, "priority": result.priority, **self.methods[result.method].options}
        if result.topic in self._thresholds:
            single["threshold_bytes"] = self._thresholds[result.topic]
        key = tuple(sorted(single.items()))
        options = self._chosen.get(key)
        if options is None:
            options = self._chosen[key] = self._options.but(**single)
        return options

    def _follower(self, result: Result) -> Follower:
        stores = self.client.endpoints.find(self.methods[result.method].endpoint).stores
        if not stores:
            raise ConfigError(
                f"{result.method} yields values, and no store is shared with its endpoint", hint="give the endpoint a store that this client can reach")
        return Follower(Store.from_url(stores[0]), partial(self._yielded, result), _STREAM_TTL_S)

    # ------------------------------------------------------------ results in

    def get_result(self, topic: str = "default", timeout: float | None = None) -> Result:
        """The next result of a topic.

        Raises:
            TimeoutError: none came within ``timeout`` seconds.
            ConfigError: no such topic.
        """
        result = self.take(topic, timeout)
        if result is None:
            raise TimeoutError(f"no result in topic {topic!r} within {timeout} s")
        return result

    def take(self, topic: str = "default", timeout: float | None = None, over: Callable[[], bool] | None = None) -> Result | None:
        """As `get_result`; None instead of an error, and as soon as ``over()`` is true and nothing waits (see `wake`)."""
        result = self._inboxes.take(topic, timeout, over)
        if result is not None and not result.intermediate:
            self._count(result, -1)
        return result

    def wake(self) -> None:
        """Let those who wait for results ask again whether it is over."""
        self._inboxes.wake()

    def _ended(self, result: Result, follower: Follower | None, future: TaskFuture[Any]) -> None:
        with self._lock:
            self._running.pop(result.task_id, None)
        if future.done_info is not None:
            result.worker, result.retries = future.done_info.ran[0], max(0, future.done_info.attempt - 1)
            result.timestamps.update({_STAGE_OF[station]: when for station, when in future.timeline().items() if station in _STAGE_OF})
        deliver = partial(self._deliver, result, future)
        if follower is not None:
            follower.finish(deliver)
        else:
            deliver()

    def _deliver(self, result: Result, future: TaskFuture[Any]) -> None:
        if self._recorder is None:
            self._settle(result, future)
        else:
            try:
                self._recorder.submit(self._settle, result, future)
            except RuntimeError:
                return  # closed: the journal says that it has not ended, and the next process asks again

    def _settle(self, result: Result, future: TaskFuture[Any]) -> None:
        exception = _exception_of(future)
        result.cancelled = future.cancelled()
        if exception is not None:
            result.fail(exception)
        else:
            result.succeed(future.result())
        result.timestamps["result_received"] = time.time()
        if self._journal is not None:
            self._record(self._journal, result)
        self._inboxes.put(result)

    @staticmethod
    def _record(journal: Journal, result: Result) -> None:
        try:
            journal.ended(result)
        except Exception as exc:  # noqa: BLE001  the value is gone from its store, or the disk is full: the agent must hear of it
            result.fail(exc)

    def _yielded(self, result: Result, value: Any, when: float) -> None:
        stamps = {**result.timestamps, "result_sent": when, "result_received": time.time()}
        part = Result(
            result.task_id, result.method, result.topic, result.args, result.kwargs, result.task_info, result.priority, result.max_retries,
            success=True, intermediate=True, timestamps=stamps, value=value)
        self._inboxes.put(part)

    # ------------------------------------------------------------ steering

    @property
    def running(self) -> list[Result]:
        """Tasks that were asked for and have not ended."""
        with self._lock:
            return [entry.result for entry in self._running.values()]

    def cancel(self, stale: Callable[[Result], bool] | Iterable[str]) -> int:
        """Cancel tasks: those with these ids, or of which ``stale(result)`` is true. What waits is gone for certain, what runs is killed; each
        comes back as a result with ``cancelled`` set, so that whoever counts slots gets them back.

        Returns:
            How many were asked to end.
        """
        ids = self._ids_of(stale)
        if ids:
            self.client.cancel(ids)
        return len(ids)

    def reprioritize(self, which: Callable[[Result], bool] | Iterable[str], priority: int) -> int:
        """Give tasks that wait another priority: those with these ids, or of which ``which(result)`` is true.

        Returns:
            How many were named to the service.
        """
        ids = self._ids_of(which)
        if ids:
            self.client.reprioritize(dict.fromkeys(ids, priority))
        return len(ids)

    def _ids_of(self, which: Callable[[Result], bool] | Iterable[str]) -> list[str]:
        """Ids at the service of chosen tasks that have not ended, once the service has them all."""
        with self._lock:
            entries, executors = list(self._running.values()), list(self._executors.values())
        if callable(which):
            chosen = [entry for entry in entries if which(entry.result)]
        else:
            wanted = set(which)
            chosen = [entry for entry in entries if entry.result.task_id in wanted]
        for executor in executors:
            executor.flush()
        return [entry.future.task_id for entry in chosen if not entry.future.done()]

    @property
    def active_count(self) -> int:
        """Tasks whose last result nobody has taken yet."""
        return self._active.total()

    def active_in(self, topic: str) -> int:
        """As `active_count`, of one topic."""
        return self._active[topic]

    def wait_until_done(self, timeout: float | None = None) -> bool:
        """Wait until nobody has to wait for a result any more. Whether that came in time."""
        with self._idle:
            return self._idle.wait_for(lambda: self._active.total() == 0, timeout)

    def _count(self, result: Result, change: int) -> None:
        with self._idle:
            self._active[result.topic] += change
            self._idle.notify_all()
        if change < 0 and self._active[result.topic] == 0:
            self._inboxes.wake()

    def close(self) -> None:
        """Send no more; results that have not come are not waited for. With a journal, the campaign can be gone on with. Idempotent."""
        with self._lock:
            self._closed = True
            executors = list(self._executors.values())
        for executor in executors:
            executor.shutdown(wait=False)
        if self._recorder is not None:
            self._recorder.shutdown(wait=True)
        if self._journal is not None:
            self._journal.close()
        if self._own_client:
            self.client.close()

    def __enter__(self) -> TaskQueues:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # ------------------------------------------------------------ going on

    def _resume(self, journal: Journal) -> None:
        """Restore what ended, take up again what runs, and ask for what was written down and never reached the service."""
        past = journal.past
        unfinished: dict[str, list[Result]] = {}
        for task_id, entry in past.asked.items():
            result = journal.restored(task_id)
            if result.method not in self.methods:
                raise ConfigError(f"{journal.path} has tasks of {result.method!r}, which is no method here", hint=f"methods are {', '.join(self.methods)}")
            if task_id in past.ended:
                self.restored.append(result)
            else:
                unfinished.setdefault(entry["group"], []).append(result)
        for group, results in unfinished.items():
            self._reattach(journal, group, results)

    def _reattach(self, journal: Journal, group: str, results: list[Result]) -> None:
        known = {entry["key"]: entry["task_id"] for entry in self.client.get_task_group(group)}
        ids = {known[_key(journal, result)]: result for result in results if _key(journal, result) in known}
        executor = Executor(self.methods[results[0].method].endpoint, client=self.client, task_group_id=group, options=self._options)
        self._executors[f"group {group}"] = executor
        futures = {future.task_id: future for future in executor.reload_tasks(group, only=ids)}
        for task_id, result in ids.items():
            self._count(result, 1)
            self.reattached.append(result)
            self._watch(result, futures[task_id])
        for result in results:
            if _key(journal, result) not in known:
                self._count(result, 1)
                self.reattached.append(result)
                self._start(result)


def _key(journal: Journal, result: Result) -> str:
    return f"{journal.campaign}:{result.task_id}"


def _exception_of(future: TaskFuture[Any]) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError as exc:
        return exc
