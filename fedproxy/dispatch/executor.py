"""The executor: a `concurrent.futures.Executor` whose workers are somewhere else."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor as BaseExecutor
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from attrs import asdict, define

from fedproxy.dispatch.calls import Call, Kind, Queue
from fedproxy.dispatch.chunks import call_chunk, call_each
from fedproxy.dispatch.client import Client
from fedproxy.dispatch.connection import Connection
from fedproxy.dispatch.content import call_key
from fedproxy.dispatch.endpoints import EndpointInfo, policy_for
from fedproxy.dispatch.explain import Explanation, explanation
from fedproxy.dispatch.functions import SerializedFunction, serialize_function
from fedproxy.dispatch.future import TaskFuture
from fedproxy.dispatch.groups import note
from fedproxy.dispatch.mpi import MPIFunction
from fedproxy.dispatch.options import DEFAULT, Options
from fedproxy.dispatch.outbox import BATCH_ITEMS
from fedproxy.dispatch.payload import Packed, Policy, pack
from fedproxy.dispatch.using import Using
from fedproxy.dispatch.written import TaskLogs
from fedproxy.errors import ConfigError, ResourcesError, ServiceError, UnknownTaskError
from fedproxy.protocol.codec import encode_spec
from fedproxy.protocol.ids import new_task_id, parse_task_id, spec_hash
from fedproxy.protocol.messages import Item, Spec
from fedproxy.protocol.resources import NOTHING, Resources, shortage
from fedproxy.store.elsewhere import ANY_STORE
from fedproxy.transfer.uploads import uploads_of

T = TypeVar("T")
_CHUNKS_PER_WORKER = 4
_KINDS = 1_000
_TOGETHER = 64
"""So many chunks of a map are sent as one, before the others are looked at."""
_Prepared = tuple[Call, Sequence[Future[None]]]


@define
class _Target:
    """The endpoint that calls go to now."""

    info: EndpointInfo
    policy: Policy

    @property
    def result_stores(self) -> tuple[str, ...]:
        """Where large results go: what this client reads in place, else any store of the site, from which it fetches them."""
        return self.info.stores or ((ANY_STORE,) if self.policy.store is not None else ())


class Executor(BaseExecutor):
    """Submits calls to an endpoint; results are pushed back.

    Args:
        endpoint_id: name or id of the endpoint; may be changed between submits.
        client: which service; by default the local one or that of the environment.
        task_group_id: the group that the tasks belong to; by default a new one. `reload_tasks` gets the futures of a group back.
        label: shown with warnings.
        batch_size: most tasks in one request. Requests are made as large as what waits; a lone task is sent at once.
        options: see `Options`; single ones can be given as keywords: ``Executor(endpoint, retries_on_loss=1)``.

    Raises:
        ServiceUnavailableError: no service runs or answers.
        ConfigError: an option is unknown or has a wrong value.
    """

    def __init__(self, endpoint_id: str | None = None, *, client: Client | None = None, task_group_id: str | None = None, label: str = "",
                 batch_size: int = BATCH_ITEMS, options: Options = DEFAULT, **single: Any) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or not 0 < batch_size <= BATCH_ITEMS:
            raise ConfigError(f"batch_size is a number from 1 to {BATCH_ITEMS:,}, not {batch_size!r}")
        self.options = options.but(**single)
        self.batch_size = batch_size
        self.endpoint_id = endpoint_id
        self.label = label
        self._own_client = client is None
        self.client = client or Client()
        self._connection = self._connect(task_group_id)
        self._former: list[Connection] = []
        """Of the groups that it had before, as far as their tasks have not ended."""
        self._kinds: dict[object, Kind] = {}
        self._last: tuple[SerializedFunction, _Target, Options, bool, Kind] | None = None
        """What the last call was, and its kind."""
        self._targets: dict[tuple[str, int], _Target] = {}
        """By endpoint and threshold."""
        self._queues: dict[str, Queue] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._shut = False

    @property
    def task_group_id(self) -> str:
        """The group that this executor's tasks belong to."""
        return self._connection.group

    # ------------------------------------------------------------ submitting

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> TaskFuture[T]:
        """Run ``fn(*args, **kwargs)`` at the endpoint. Returns at once.

        Arguments above the threshold go through a store that both sides reach; the function gets the objects themselves. A future among the
        arguments (or one level down in a list, tuple or dict) stands for its value: the service holds the task until it is there.

        Raises:
            SerializationError: the function or an argument cannot be sent.
            PayloadTooLargeError: too large, and no store is shared.
            UnknownEndpointError: no such endpoint.
            EndpointOfflineError: it is offline, and ``on_offline='fail'``.
            ServiceUnavailableError: the service does not answer.
            RuntimeError: the executor was shut down.
        """
        return self.submit_call(fn, args, kwargs, self.options)

    def using(self, **options: Any) -> Using:
        """The same executor for calls with other options: ``executor.using(priority=5, deadline=60).submit(fn, x)``. It shares connection and group,
        so it may be made for every call.

        Raises:
            ConfigError: an option is unknown or has a wrong value.
        """
        return Using(self, self.options.but(**options))

    def submit_once(self, key: str, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> TaskFuture[T]:
        """As `submit`, with an idempotency key: submitting the same call under the same key again gives the same task; another call under it is a
        `ConflictError` on the future."""
        return self.submit_call(fn, args, kwargs, self.options, key)

    def submit_to_registered_function(self, function_id: str, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> TaskFuture[Any]:
        """Run a function that was registered through this client, in the container that it was registered with."""
        return self.using().submit_to_registered_function(function_id, args, kwargs)

    def submit_call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options, key: str | None = None) -> TaskFuture[Any]:
        """What every way of submitting comes to."""
        call, uploads = self._call(fn, args, kwargs, options, key)
        self._connection.send(call, uploads)
        return call.future

    def _call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options, key: str | None = None) -> _Prepared:
        created = time.time()
        function = serialize_function(fn)
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self._pid != os.getpid():
            self._after_fork()
        if isinstance(fn, MPIFunction):
            options = fn.options(options)
        target = self._target(options)
        memo = call_key(fn, args, kwargs, options.container) or b"" if options.memoizes(fn) else b""
        packed = pack(args, kwargs, target.policy)
        kind = self._kind(function, target, options, bool(memo))
        task_id = new_task_id()
        future: TaskFuture[Any] = TaskFuture(task_id, function.name, self._ask)
        if packed.refs:
            future.stored = tuple(packed.refs)
            future.add_done_callback(partial(_release, packed, target.policy))
        if packed.needs:
            # Held until this task has ended: with its future, a large result would leave its store.
            future.add_done_callback(partial(_let_go, packed))
        if memo:
            future.memo, future.owns_result = memo, False
        item = Item(
            task_id, kind.hash, packed.nbytes, created, key, tuple(needed.raw_id for needed in packed.needs),
            options.priority, None if options.deadline is None else options.deadline_s(created), memo, options.memoize != "refresh")
        return Call(item, kind, packed.parts, future), uploads_of(packed.refs)

    def flush(self) -> None:
        """Return when the service has every call that was submitted: from then on none is lost with this process."""
        self._connection.flush()

    def map(self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int | None = None) -> Iterator[T]:
        """As `concurrent.futures.Executor.map`. Items travel in chunks; without ``chunksize`` four for each worker of the endpoint."""
        return self.map_calls(fn, iterables, timeout, chunksize, self.options)

    def map_calls(self, fn: Callable[..., T], iterables: tuple[Iterable[Any], ...], timeout: float | None, chunksize: int | None,
                  options: Options) -> Iterator[T]:
        """What every way of mapping comes to. Memoized calls are remembered one by one, so they do not travel in chunks unless that is asked for."""
        alone = len(iterables) == 1
        calls = list(iterables[0] if alone else zip(*iterables, strict=False))
        run: Callable[..., list[Any]] = call_each if alone else call_chunk
        if chunksize is None and options.memoizes(fn):
            chunksize, options = 1, options.but(memoize=options.memoize or True)
        elif chunksize is None:
            chunksize = max(1, -(-len(calls) // (self._target(options).info.workers * _CHUNKS_PER_WORKER)))
        elif chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        deadline = None if timeout is None else time.monotonic() + timeout
        rest = iter(calls)
        chunks = iter(lambda: list(islice(rest, chunksize)), [])
        first = [self._call(run, (fn, chunk), {}, options) for chunk in islice(chunks, _TOGETHER)]
        if any(uploads for _, uploads in first):
            for call, uploads in first:
                self._connection.send(call, uploads)
        elif first:
            self._connection.send_all([call for call, _ in first])
        futures = [call.future for call, _ in first]
        futures += [self.submit_call(run, (fn, chunk), {}, options) for chunk in chunks]
        return _results(futures, deadline)

    def reload_tasks(self, task_group_id: str | None = None, *, only: Container[str] | None = None) -> list[TaskFuture[Any]]:
        """Futures of all tasks of a group, in order of submission, also from another process. The executor goes on with that group.
        Of a task that was submitted here and has not ended it is the same future.

        Args:
            only: ids of the tasks that are wanted.
        """
        group = task_group_id or self.task_group_id
        if group != self.task_group_id:
            self._connection.close()
            self._former = [each for each in (*self._former, self._connection) if each.pending]
            self._connection = self._connect(group)
        wanted = [parse_task_id(e["task_id"]) for e in self.client.get_task_group(group) if only is None or e["task_id"] in only]
        return self._connection.watch(wanted, self._reloaded) if wanted else []

    def _reloaded(self, task_id: bytes) -> TaskFuture[Any]:
        future: TaskFuture[Any] = TaskFuture(task_id, "", self._ask)
        future.owns_result = False
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. ``wait`` returns when all futures have ended and their callbacks have run. Idempotent."""
        self._shut = True
        if cancel_futures:
            self.flush()  # the service cannot cancel what it has not yet
            pending = [future.task_id for each in (*self._former, self._connection) for future in each.pending]
            if pending:
                self.client.cancel(pending)
        for each in (*self._former, self._connection) if wait else ():
            each.wait_idle()
        self._connection.close()
        if wait:
            self._connection.join()
            if self._own_client:
                self.client.close()

    # ------------------------------------------------------------ inside

    def _connect(self, group: str | None) -> Connection:
        connection = Connection(self.client.rest, group, self.client.endpoints.offline, self.batch_size)
        note(self.client, connection.group)
        return connection

    def _endpoint(self) -> str:
        if not self.endpoint_id:
            raise ConfigError("no endpoint to submit to", hint="pass endpoint='NAME'; see `fedproxy endpoint list`")
        return self.endpoint_id

    def _target(self, options: Options) -> _Target:
        name = self._endpoint()
        info = self.client.endpoints.find(name, on_offline=options.on_offline)
        target = self._targets.get((name, options.threshold_bytes))
        if target is None or (target.info is not info and target.info.stores != info.stores):
            target = _Target(info, policy_for(info, options.threshold_bytes, self.client.payload_limit_bytes, self.client.data))
            self._targets[name, options.threshold_bytes] = target
        return target

    def _kind(self, function: SerializedFunction, target: _Target, options: Options, memoize: bool) -> Kind:
        """The spec of such calls, made once. Mostly it is that of the last call: then nothing is hashed."""
        last = self._last
        if last is not None and last[0] is function and last[1] is target and last[2] is options and last[3] == memoize:
            return last[4]
        key = (function.hash, target.info.id, target.info.stores, options.spec_part, memoize)
        kind = self._kinds.get(key)
        if kind is None:
            _check_resources(function.name, options.resource_specification, target.info)
            spec = Spec(
                function.hash, target.info.id, function.name, options.retries, options.retries_on_loss, options.walltime_s, target.result_stores,
                options.threshold_bytes, self.client.payload_limit_bytes, options.on_offline, f"{sys.version_info.major}.{sys.version_info.minor}",
                container=options.container, retry_on=tuple(f"{each.__module__}.{each.__qualname__}" for each in options.retry_on),
                retry_backoff_s=options.retry_backoff_s, retry_backoff_most_s=options.retry_backoff_most_s, memoize=memoize,
                resources=options.resource_specification, user_config=options.user_endpoint_config)
            encoded = encode_spec(spec)
            if len(self._kinds) >= _KINDS:
                self._kinds.clear()
            kind = self._kinds[key] = Kind(spec_hash(encoded), encoded, function, self._endpoint(), target.info.id, self._queue(target.info))
        self._last = (function, target, options, memoize, kind)
        return kind

    def _queue(self, info: EndpointInfo) -> Queue:
        queue = self._queues.setdefault(info.id, Queue(info.workers))
        queue.workers = info.workers
        return queue

    @property
    def resource_specification(self) -> dict[str, Any]:
        """What is kept for each task; may be changed between submits. See `Options.resource_specification`."""
        return {name: value for name, value in asdict(self.options.resource_specification).items() if value}

    @resource_specification.setter
    def resource_specification(self, specification: Mapping[str, object] | None) -> None:
        self.options = self.options.but(resource_specification=specification)

    @property
    def user_endpoint_config(self) -> dict[str, Any]:
        """Settings of the endpoint for the calls; may be changed between submits. See `Options.user_endpoint_config`."""
        found: dict[str, Any] = json.loads(self.options.user_endpoint_config or "{}")
        return found

    @user_endpoint_config.setter
    def user_endpoint_config(self, config: Mapping[str, object] | None) -> None:
        self.options = self.options.but(user_endpoint_config=config)

    def _after_fork(self) -> None:
        """A fork has this object but not its threads: it goes on with connections and a group of its own."""
        self._pid = os.getpid()
        self.client = Client(self.client.url)
        self._connection, self._former = self._connect(None), []
        self._kinds.clear()
        self._queues.clear()
        self._last = None
        self._targets.clear()

    def _ask(self, future: TaskFuture[Any], question: str) -> Any:
        """What futures ask of the service."""
        if question == "cancel":
            return self._cancel(future)
        if question == "explain":
            return self._explain(future)
        if question.startswith("priority "):
            return self._reprioritize(future, int(question.partition(" ")[2]))
        try:
            if question == "logs":
                return self.client.get_logs(future.task_id)
            task = self.client.get_task(future.task_id)
        except UnknownTaskError:
            return {"status": "PENDING", "logs": TaskLogs("", "", 0, False, True)}.get(question, {})  # not yet acknowledged
        return task["state"] if question == "status" else task["timeline"]

    def _explain(self, future: TaskFuture[Any]) -> Explanation:
        refs = [{"store": ref.store, "key": ref.key, "bytes": ref.size} for ref in future.stored]
        try:
            found = self.client.explain(future.task_id)
        except UnknownTaskError:
            found = explanation({"task_id": future.task_id, "state": "PENDING", "function": future.name})
        return explanation({**found.data, "stored_arguments": refs, "client": sys.version.split()[0]})
    def _reprioritize(self, future: TaskFuture[Any], priority: int) -> bool:
        self._connection.flush()
        return self.client.reprioritize({future.task_id: priority})[future.task_id] in ("QUEUED", "SENT", "WAITING")

    def _cancel(self, future: TaskFuture[Any]) -> None:
        deadline = time.monotonic() + 10.0
        while not future.done():
            state = self.client.cancel([future.task_id])[future.task_id]
            if state == "CANCELLED":
                future.cancel_here()
            elif state not in ("UNKNOWN", "QUEUED", "SENT", "WAITING"):
                return
            if time.monotonic() > deadline:
                warnings.warn(f"task {future.task_id} could not be cancelled: it is {state}", stacklevel=3)
                return
            if not future.done():
                time.sleep(0.02)


def _check_resources(function: str, wanted: Resources, info: EndpointInfo) -> None:
    lacks = shortage(wanted, info.capacity) if info.capacity is not None and wanted != NOTHING else ""
    if lacks:
        raise ResourcesError(f"{function} cannot run at endpoint {info.name!r}: {lacks}", hint="ask for less, or choose another endpoint")


def _let_go(packed: Packed, _future: object) -> None:
    packed.needs.clear()


def _release(packed: Packed, policy: Policy, _future: object) -> None:
    """The task is terminal: what was put for it alone is not needed any more."""
    if policy.store is not None:
        for ref in packed.refs:
            policy.store.evict(ref)


def _results(futures: list[TaskFuture[Any]], deadline: float | None) -> Iterator[Any]:
    try:
        futures.reverse()
        while futures:
            future = futures.pop()
            yield from future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
    finally:
        for future in futures:
            with suppress(ServiceError):
                future.cancel()

