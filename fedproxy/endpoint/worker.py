"""A worker process: runs one task at a time, in its main thread, and answers each before it starts the next.

That order is a promise: when a worker dies, the first task it did not answer is the only one that may have started.
The import chain stays light: this module is started in every worker of every container.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from fedproxy.endpoint.allowed import AllowList, refusal
from fedproxy.endpoint.leash import die_with_parent
from fedproxy.endpoint.output import TaskOutput
from fedproxy.endpoint.pipe import WorkerPipe
from fedproxy.endpoint.sandbox import TASK_VARIABLE, Surroundings
from fedproxy.endpoint.usage import Meter
from fedproxy.errors import PayloadTooLargeError, TaskFailedError
from fedproxy.protocol import messages as m
from fedproxy.protocol import worker_messages as w
from fedproxy.protocol.carried import carried, carry, collecting, frame_of
from fedproxy.protocol.codec import Buffer, decode, decode_spec, encode, split
from fedproxy.protocol.ids import function_hash, task_id_text
from fedproxy.protocol.resources import NOTHING
from fedproxy.protocol.retry import worth_another_run
from fedproxy.protocol.states import TaskState
from fedproxy.serialize import PLAIN, Frame, deserialize, serialize, serialize_exception

_COPIED_BYTES = 1024
"""Larger payloads get memory of their own: arrays in them are aligned and writable, and do not hold on to the pipe's buffer."""
_REASON_CHARACTERS = 300
_TASK = TASK_VARIABLE.encode()


class Worker:
    """Specs and functions that it was told, and the tasks it is told to run."""

    def __init__(self, pipe: WorkerPipe) -> None:
        self._pipe = pipe
        self._specs: dict[bytes, m.Spec] = {}
        self._bodies: dict[bytes, bytes] = {}
        self._functions: dict[bytes, Callable[..., Any]] = {}
        self._allowed = AllowList.of_environment(os.environ)
        self._surroundings = Surroundings.of_environment(os.environ)
        self._meter = Meter()
        self._name = f"{socket.gethostname()}/{os.getpid()}"
        self._output = TaskOutput()
        self._called = 0.0
        self._returned = 0.0
        self._again = True
        """Whether the exception of the task that was just run is worth another run."""
        self._refs = False
        """Whether its value leads to objects in stores; known of memoized calls only."""

    def serve(self) -> None:
        """Run tasks until the agent closes the pipe."""
        self._pipe.send([encode(w.Ready(os.getpid(), sys.version.split()[0], self._output.at))])
        for frame in self._pipe.frames():
            message, body = decode(frame)
            if isinstance(message, w.Run):
                for task, payload in zip(message.items, split(body, (t.size for t in message.items)), strict=True):
                    self._answer(task, payload)
            elif isinstance(message, m.Catalog):
                self._learn(message, body)

    def _learn(self, message: m.Catalog, body: memoryview) -> None:
        for name, encoded in message.specs.items():
            self._specs[name] = decode_spec(encoded)
        for blob, part in zip(message.functions, split(body, (b.size for b in message.functions)), strict=True):
            self._bodies[blob.hash] = bytes(part)

    def _answer(self, task: m.Task, payload: memoryview) -> None:
        started = time.time()
        self._called = self._returned = 0.0
        self._again, self._refs = True, False
        read, written = _moved()
        function = self._specs[task.spec].function
        self._meter.begin(function)
        state, parts, reason = self._run(task, payload)
        used = self._meter.end(function)
        read_now, written_now = _moved()
        outcome = m.Outcome(
            task.id, task.attempt, state, sum(map(len, parts)), (0.0, started, time.time(), 0.0), (read_now - read, written_now - written),
            again=self._again, refs=self._refs, ran=(self._name, self._called, self._returned), output=self._output.take(), reason=reason, used=used)
        self._pipe.send([encode(m.Results((outcome,))), *parts])

    def _run(self, task: m.Task, payload: memoryview) -> tuple[int, list[Buffer], str]:
        spec = self._specs[task.spec]
        try:
            if task.recall and (known := _recalled(task, payload)) is not None:
                self._refs = True
                return int(TaskState.SUCCEEDED), [known], ""
            function = self._functions.get(spec.function) or self._load(spec)
            args, kwargs = _arguments(task, memoryview(bytearray(payload)) if len(payload) > _COPIED_BYTES else bytes(payload))
            os.environb[_TASK] = os.environb[b"FEDPROXY_TASK_UUID"] = task_id_text(task.id).encode()
            self._called = time.time()
            try:
                value = function(*args, **kwargs) if spec.resources == NOTHING and not spec.user_config else _within(spec, task, function, args, kwargs)
            finally:
                self._returned = time.time()
            parts = self._result(value, spec)
            if spec.memoize:
                self._refs = _leads_to_objects(parts)
        except BaseException as exc:  # noqa: BLE001 - the boundary of a task: everything it raises is its result
            self._again = worth_another_run(exc, spec.retry_on)
            return int(TaskState.FAILED), _exception(exc), _reason(exc)
        return int(TaskState.SUCCEEDED), parts, ""

    def _load(self, spec: m.Spec) -> Callable[..., Any]:
        body = self._bodies[spec.function]
        if not self._allowed.permits(spec.function) or (self._allowed.hashes is not None and function_hash(body) != spec.function):
            raise refusal(spec.name, spec.function)
        function = self._surroundings.around(deserialize(body))
        self._functions[spec.function] = function
        return function

    def _result(self, value: object, spec: m.Spec) -> list[Buffer]:
        if type(value) in PLAIN:  # nothing in it leads to a store
            plain = serialize(value)
            if plain.nbytes <= spec.threshold_bytes:
                return plain.parts
        with collecting() as refs:
            frame = self._stored(value, serialize(value), spec)
        return carry(refs, frame.parts)

    def _stored(self, value: object, frame: Frame, spec: m.Spec) -> Frame:
        if frame.nbytes <= spec.threshold_bytes:
            return frame
        from fedproxy.endpoint.results import store_result

        stored = store_result(value, frame, spec)
        if stored is not None:
            return stored
        if frame.nbytes > spec.payload_limit_bytes:
            raise PayloadTooLargeError(
                f"{spec.name} returned {frame.nbytes:,} bytes, over the limit of {spec.payload_limit_bytes:,}, and no store is shared with the client",
                hint="give the endpoint a store that the client can reach")
        return frame


def _within(spec: m.Spec, task: m.Task, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    from fedproxy.endpoint.surroundings import surroundings

    with surroundings(spec, task):
        return function(*args, **kwargs)


def _moved() -> tuple[int, int]:
    """Bytes read from and written to stores by this process. Where no task has used a store, its module is not even loaded."""
    traffic = sys.modules.get("fedproxy.store.traffic")
    return (0, 0) if traffic is None else traffic.totals()


def _reason(exc: BaseException) -> str:
    """An exception in one line, for whoever cannot unpickle it."""
    try:
        text = f"{type(exc).__name__}: {exc}"
    except Exception:  # noqa: BLE001 - the user's own __str__ may do anything
        text = type(exc).__name__
    return " ".join(text.split())[:_REASON_CHARACTERS]


def _arguments(task: m.Task, payload: Buffer) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The task's own arguments; results of other tasks are in their places."""
    if not task.upstream:
        args, kwargs = deserialize(frame_of(payload))
        return args, kwargs
    from fedproxy.store.upstream import results_at_hand

    payload = memoryview(payload)
    own = len(payload) - sum(size for _, size in task.upstream)
    frames = dict(zip((i for i, _ in task.upstream), split(payload[own:], (size for _, size in task.upstream)), strict=True))
    with results_at_hand(frames):
        args, kwargs = deserialize(frame_of(payload[:own]))
    return args, kwargs


def _recalled(task: m.Task, payload: memoryview) -> bytes | None:
    """The value of an earlier call of the same, if all that it leads to is still there."""
    from fedproxy.store.reach import all_there

    at = len(payload)
    for task_id, size in reversed(task.upstream):
        if task_id == task.recall:
            frame = bytes(payload[at - size:at])
            return frame if all_there(frame) else None
        at -= size
    return None


def _leads_to_objects(parts: list[Buffer]) -> bool:
    """Whether refs travel in front of the value."""
    return bool(carried(parts[0])[0])


def _exception(exc: BaseException) -> list[Buffer]:
    if not isinstance(exc, Exception):
        # SystemExit and KeyboardInterrupt belong to this process, not to the client's.
        exc = TaskFailedError(f"the function raised {type(exc).__name__}: {exc}").with_traceback(exc.__traceback__)
    if exc.__traceback__ is not None:
        exc = exc.with_traceback(exc.__traceback__.tb_next)  # without the worker's own frame
    return list(serialize_exception(exc).parts)


def end_with(channel: socket.socket) -> None:
    """End this process when the agent closes the connection: in a container no parent's death is told. For a thread."""
    poll = select.poll()
    poll.register(channel, select.POLLRDHUP)
    while not poll.poll():
        pass
    os._exit(1)


def connect(path: str) -> socket.socket:
    """The connection to the agent from inside a container, which ends this process with it."""
    end = socket.socket(socket.AF_UNIX)
    end.connect(path)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))  # the first process of a container ignores it otherwise
    threading.Thread(target=end_with, args=(end,), name="fedproxy-end-with-agent", daemon=True).start()
    return end


def inherited(descriptor: int, parent: int) -> socket.socket:
    """The connection to the agent that started this process, which dies with it."""
    die_with_parent(parent)
    end = socket.socket(fileno=descriptor)
    end.set_inheritable(False)
    return end


def main() -> None:
    """``python -m fedproxy.endpoint.worker DESCRIPTOR PARENT_PID``, or in a container ``--connect PATH``."""
    end = connect(sys.argv[2]) if sys.argv[1] == "--connect" else inherited(int(sys.argv[1]), int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the agent's to handle
    sys.argv = ["fedproxy-worker"]
    gc.freeze()
    Worker(WorkerPipe(end)).serve()


if __name__ == "__main__":
    main()
