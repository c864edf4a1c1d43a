"""Futures of tasks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeVar

from fedproxy.dispatch.explain import Explanation
from fedproxy.dispatch.turns import Turns
from fedproxy.dispatch.written import TaskLogs
from fedproxy.protocol.ids import task_id_text
from fedproxy.protocol.messages import Done
from fedproxy.protocol.states import TaskState
from fedproxy.protocol.timeline import stations
from fedproxy.store.ref import Ref

T = TypeVar("T")


class TaskFuture(Future[T]):
    """A `concurrent.futures.Future` of a task at an endpoint.

    ``result()`` gives the function's value; one that was larger than the threshold is a lazy `Proxy` of it. An exception of the function is raised
    again, with its own type. Failures of the system are `TaskError` and `ServiceError`.
    """

    def __init__(self, task_id: bytes, name: str, ask: Callable[[TaskFuture[Any], str], Any]) -> None:
        super().__init__()
        self._id = task_id
        self._ask = ask
        self._ended = threading.Lock()
        """Taken by whoever gives it its ending; several may want to: the result stream, whoever cancels or asks by id, what could not be sent."""
        self.name = name
        """The function's name."""
        self.stored: tuple[Ref, ...] = ()
        """Arguments that went through a store."""
        self.owns_result = True
        """A large result leaves its store with its last holder here. False for futures of tasks that another process submitted."""
        self.memo = b""
        """The name of the call by its content, where its value is remembered."""
        self.turns: Turns | None = None
        """Who reads for it, from when it was sent."""
        self.over: Callable[[float], None] | None = None
        """Told when it has ended, from when it was sent."""
        self.done_info: Done | None = None
        self._resolved_at = 0.0

    @property
    def task_id(self) -> str:
        """The task's id, a UUID. It is final once the submit was acknowledged."""
        return task_id_text(self._id)

    @property
    def stored_bytes(self) -> int:
        """Bytes of arguments that went through a store."""
        return sum(ref.size for ref in self.stored)

    @property
    def raw_id(self) -> bytes:
        """The id as it travels."""
        return self._id

    def status(self) -> str:
        """The task's state at the service now: QUEUED, SENT, or a terminal state. Asks the service unless it is known here."""
        if self.done_info is not None:
            return TaskState(self.done_info.state).name
        return str(self._ask(self, "status"))

    def timeline(self) -> dict[str, float]:
        """Station → time (seconds since the epoch, by the clock of the machine that passed it); see `fedproxy.protocol.timeline`."""
        if self.done_info is None:
            return dict(self._ask(self, "timeline"))
        passed = stations(self.done_info)
        if self._resolved_at:
            passed["resolved"] = self._resolved_at
        return passed

    def logs(self) -> TaskLogs:
        """What the task wrote to standard output and error so far, also that of C code and of programs that it started; see `TaskLogs`."""
        logs: TaskLogs = self._ask(self, "logs")
        return logs

    def explain(self) -> Explanation:
        """Why the task is where it is: in words (``print(future.explain())``) and as data (``.data``)."""
        found: Explanation = self._ask(self, "explain")
        return found

    @property
    def moved_bytes(self) -> tuple[int, int]:
        """Bytes that went through stores: arguments, result. Known when the task has ended."""
        return self.stored_bytes, self.done_info.moved[1] if self.done_info else 0

    @property
    def used(self) -> tuple[float, int]:
        """Processor seconds and the largest resident memory in bytes of the worker (0: too short to be measured). Known when the task has ended."""
        return self.done_info.used if self.done_info else (0.0, 0)

    def cancel(self) -> bool:
        """Cancel the task: certain while it is queued; while it runs, its worker is killed. False if it has ended already."""
        if self.done():
            return self.cancelled()
        self._ask(self, "cancel")
        return self.cancelled()

    def reprioritize(self, priority: int) -> bool:
        """Give the task another priority while it waits, at the service or at its endpoint. False if it has ended already."""
        return not self.done() and bool(self._ask(self, f"priority {priority}"))

    def result(self, timeout: float | None = None) -> T:
        """As `concurrent.futures.Future.result`."""
        return super().result(self._waited(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As `concurrent.futures.Future.exception`."""
        return super().exception(self._waited(timeout))

    def _waited(self, timeout: float | None) -> float | None:
        """Wait, reading the result stream if nobody else does; what is left to wait then."""
        if self.turns is None or self.done():
            return timeout
        self.turns.wait(self, timeout)
        return 0.0 if timeout is not None else None

    @property
    def has_callbacks(self) -> bool:
        """Whether somebody wants to be called."""
        return bool(self._done_callbacks)  # type: ignore[attr-defined]  # private, and the same in every Python since 3.2

    def _invoke_callbacks(self) -> None:
        """In the receiving thread: a thread that only waits for its own result must not run what others want to be done."""
        if self.turns is not None and self.has_callbacks and self.turns.reading():
            self.turns.defer(super()._invoke_callbacks)  # type: ignore[misc]
        else:
            super()._invoke_callbacks()  # type: ignore[misc]

    def __await__(self) -> Generator[Any, None, T]:
        """``await future`` in any asyncio loop."""
        return asyncio.wrap_future(self).__await__()

    def running(self) -> bool:
        """Whether the task was sent to its endpoint and has not ended. Asks the service."""
        return not self.done() and self.status() == "SENT"

    def arrived(self, done: Done) -> None:
        """The ending has come; the value follows."""
        self.done_info = done
        self._resolved_at = time.time()

    def is_of(self, task_id: bytes) -> None:
        """It turned out to be that of a task which was submitted before: the value belongs to whoever did that."""
        self._id = task_id
        self.owns_result = False

    def claim(self) -> bool:
        """Whether the caller is the first to end it, and is to do so."""
        return self._ended.acquire(blocking=False)

    def unclaim(self) -> None:
        """The caller was interrupted: if it has not ended, another may end it."""
        if not self.done():
            self._ended.release()

    def cancel_here(self) -> None:
        """The task is cancelled, for certain."""
        if self.claim() and super().cancel():
            self.set_running_or_notify_cancel()

    def fail(self, exc: BaseException) -> None:
        """Nothing more will be heard of the task."""
        if self.claim():
            self.set_exception(exc)
