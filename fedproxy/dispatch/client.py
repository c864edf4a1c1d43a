"""The client of one service, as one user."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fedproxy.config.locate import locate_service
from fedproxy.dispatch.batch import Batch
from fedproxy.dispatch.data import ClientData
from fedproxy.dispatch.endings import read_ending
from fedproxy.dispatch.endpoints import Endpoints
from fedproxy.dispatch.explain import Explanation, explanation
from fedproxy.dispatch.functions import serialize_function
from fedproxy.dispatch.options import DEFAULT
from fedproxy.dispatch.written import TaskLogs, follow, logs_of
from fedproxy.errors import ProtocolError, ServiceError, VersionMismatchError
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import decode, split
from fedproxy.protocol.ids import parse_task_id, task_id_text
from fedproxy.protocol.versions import mismatch_of
from fedproxy.serialize import deserialize
from fedproxy.wire.rest import RestClient

_POLL_S = 0.05


class TaskPendingError(ServiceError):
    """The task has not ended yet."""


class Client:
    """Functions, tasks and endpoints of one user at one service. Thread-safe.

    Args:
        url: the service; by default ``FEDPROXY_SERVICE_URL``, else the local service.
        token: who asks; by default ``FEDPROXY_TOKEN``, else the local service's own token.

    Raises:
        ServiceUnavailableError: no service is configured and none runs here.
    """

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        address = locate_service(url, token)
        self.rest = RestClient(address.url, address.token)
        self.endpoints = Endpoints(self.rest)
        self.data = ClientData(self.rest)
        self._functions: dict[str, Callable[..., Any]] = {}
        self._limit: int | None = None
        self._lock = threading.Lock()
        self._executor: Any = None

    @property
    def url(self) -> str:
        """The service's address."""
        return self.rest.url

    @property
    def payload_limit_bytes(self) -> int:
        """The largest inline argument list or result that the service takes.

        Raises:
            VersionMismatchError: it speaks a protocol that is too far from ours; the message says what to upgrade.
        """
        if self._limit is None:
            about = self.rest.json("GET", "/v1/whoami")
            wrong = mismatch_of("the service", about.get("protocol", ()))
            if wrong is not None:
                raise VersionMismatchError(wrong.replace("this side", "this client"))
            self._limit = int(about["payload_limit_bytes"])
        return self._limit

    # ------------------------------------------------------------ functions and tasks

    def register_function(self, function: Callable[..., Any], *, container: str = "") -> str:
        """Register a function with the service; returns its id, the hash of its serialized body. From then on any client of this user can run it.

        Args:
            container: image in which endpoints run it; its name is then part of the id.
        """
        made = serialize_function(function)
        self.rest.binary("POST", "/v1/functions", made.body)
        function_id = made.hash.hex() + (f"@{container}" if container else "")
        self._functions[function_id] = function
        return function_id

    @staticmethod
    def container(function_id: str) -> str:
        """The image that a function was registered with; empty: none."""
        return function_id.partition("@")[2]

    def function(self, function_id: str) -> Callable[..., Any]:
        """A function that this user registered, with this client or another.

        Raises:
            UnknownFunctionError: there is none of that id; also a KeyError.
        """
        known = self._functions.get(function_id)
        if known is None:
            body = self.rest.binary("GET", f"/v1/functions/{function_id.partition('@')[0]}")
            known = self._functions[function_id] = deserialize(body)
        return known

    def run(self, *args: Any, endpoint_id: str, function_id: str, **kwargs: Any) -> str:
        """Submit one call; returns its task id once the service has it."""
        executor = self._default_executor(endpoint_id)
        future = executor.submit_to_registered_function(function_id, args, kwargs)
        executor.flush()
        return str(future.task_id)

    @staticmethod
    def create_batch(**options: Any) -> Batch:
        """An empty batch; see `Options` for what can be said of all its calls.

        Raises:
            ConfigError: an option is unknown or has a wrong value.
        """
        DEFAULT.but(**options)
        return Batch(options=options)

    def batch_run(self, endpoint_id: str, batch: Batch) -> dict[str, list[str]]:
        """Submit all calls of a batch; returns function id → task ids, in the order in which they were added, once the service has them all."""
        executor = self._default_executor(endpoint_id)
        ids: dict[str, list[str]] = {}
        for function_id, args, kwargs, options in batch.calls:
            future = executor.using(**options).submit_to_registered_function(function_id, args, kwargs)
            ids.setdefault(function_id, []).append(str(future.task_id))
        executor.flush()
        return ids

    def get_task(self, task_id: str) -> dict[str, Any]:
        """A task's state and timeline.

        Raises:
            UnknownTaskError: there is no such task of this user.
        """
        answer: dict[str, Any] = self.rest.json("GET", f"/v1/tasks/{task_id}")
        return answer

    def get_logs(self, task_id: str) -> TaskLogs:
        """What a task wrote, live while it runs; see `TaskLogs`.

        Raises:
            UnknownTaskError: there is no such task of this user.
        """
        return logs_of(self._output(task_id))

    def follow_logs(self, task_id: str) -> Iterator[tuple[str, str]]:
        """(``stdout`` or ``stderr``, text) as the task writes, until it has ended."""
        return follow(lambda: self._output(task_id))

    def _output(self, task_id: str) -> m.TaskOutput:
        message, _ = decode(self.rest.binary("GET", f"/v1/tasks/{task_id}/logs"))
        if not isinstance(message, m.TaskOutput):
            raise ProtocolError("logs that cannot be read")
        return message

    def explain(self, task_id: str) -> Explanation:
        """Why a task is where it is, in words and as data.

        Raises:
            UnknownTaskError: there is no such task of this user.
        """
        return explanation(self.rest.json("GET", f"/v1/tasks/{task_id}/explain"))

    def get_task_accounts(self, group_id: str) -> Iterator[dict[str, Any]]:
        """The accounts of all tasks of a group, in order of submission: function, endpoint, state, timeline, worker, bytes, reason of a failure."""
        after = 0
        while page := self.rest.json("GET", f"/v1/groups/{group_id}/account?after={after}"):
            yield from page
            after = page[-1]["seq"]

    def get_result(self, task_id: str, *, timeout_s: float | None = 0.0) -> Any:
        """A task's value; raises what the task raised. Fetching deletes nothing.

        Args:
            timeout_s: how long to wait for the end; None waits for ever.

        Raises:
            TaskPendingError: it has not ended in time.
            UnknownTaskError: there is no such task of this user.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            data = self.rest.binary("GET", f"/v1/tasks/{task_id}/result")
            if data:
                return _value(data)
            if deadline is not None and time.monotonic() >= deadline:
                raise TaskPendingError(f"task {task_id} has not ended", hint="wait with timeout_s=..., or ask get_task for its state")
            time.sleep(_POLL_S)

    def get_batch_result(self, task_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """For each task: ``status``, and ``result`` or ``exception`` if it has ended."""
        found: dict[str, dict[str, Any]] = {}
        for task_id in task_ids:
            entry: dict[str, Any] = {"status": self.get_task(task_id)["state"]}
            try:
                entry["result"] = self.get_result(task_id)
            except TaskPendingError:
                pass
            except Exception as exc:  # noqa: BLE001 - whatever the task raised is the answer
                entry["exception"] = exc
            found[task_id] = entry
        return found

    def cancel(self, task_ids: Iterable[str]) -> dict[str, str]:
        """Ask for the end of tasks; returns task id → state. A running one ends a moment later."""
        answer: dict[str, str] = self.rest.json("POST", "/v1/tasks/cancel", [task_id_text(parse_task_id(t)) for t in task_ids])
        return answer

    def reprioritize(self, priorities: Mapping[str, int]) -> dict[str, str]:
        """Give tasks (by id) other priorities while they wait, at the service or at their endpoint; returns task id → state. One that runs or has
        ended stays as it is; ``UNKNOWN``: no such task of this user. Thousands in one call cost little."""
        wanted = {task_id_text(parse_task_id(task_id)): priority for task_id, priority in priorities.items()}
        answer: dict[str, str] = self.rest.json("POST", "/v1/tasks/priority", wanted)
        return answer

    def get_task_group(self, group_id: str) -> list[dict[str, Any]]:
        """``task_id``, ``state`` and idempotency ``key`` (or None) of all tasks in a group, in order of submission."""
        answer: list[dict[str, Any]] = self.rest.json("GET", f"/v1/groups/{group_id}")
        return answer

    # ------------------------------------------------------------ endpoints and the service

    def get_endpoints(self) -> list[dict[str, Any]]:
        """All endpoints of this user."""
        answer: list[dict[str, Any]] = self.rest.json("GET", "/v1/endpoints")
        return answer

    def get_endpoint_status(self, name_or_id: str) -> dict[str, Any]:
        """One endpoint: whether it is online, its workers, what waits.

        Raises:
            UnknownEndpointError: there is none of that name or id.
        """
        answer: dict[str, Any] = self.rest.json("GET", f"/v1/endpoints/{name_or_id}")
        return answer

    def delete_endpoint(self, name_or_id: str) -> None:
        """Forget an endpoint that is offline."""
        self.rest.binary("DELETE", f"/v1/endpoints/{name_or_id}")

    def service_stats(self) -> dict[str, int]:
        """Counters of this user since the service started; ``bytes_in`` and ``bytes_out`` are payload bytes that passed the service."""
        answer: dict[str, int] = self.rest.json("GET", "/v1/stats")
        return answer

    def close(self) -> None:
        """Close the connections. Idempotent."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)
        self.data.close()
        self.rest.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _default_executor(self, endpoint_id: str) -> Any:
        from fedproxy.dispatch.executor import Executor

        with self._lock:
            if self._executor is None:
                self._executor = Executor(endpoint_id, client=self)
            self._executor.endpoint_id = endpoint_id
            return self._executor


def _value(data: bytes) -> Any:
    message, body = decode(data)
    if not isinstance(message, m.Finished) or len(message.items) != 1:
        raise ProtocolError("a result that cannot be read")
    (done,) = message.items
    (part,) = split(body, (done.size,))
    value, exception = read_ending(done, part)
    if exception is not None:
        raise exception
    return value


