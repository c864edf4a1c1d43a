"""What runs inside a worker of HTEX, Dask, loky or any other executor: takes a bundle, claims it, runs it, answers task by task.

Strategy: the foreign worker's process only supervises. A small local engine with one worker process runs the tasks, so that walltimes, cancellation,
sandboxes and a death with its cause work as they do on the agent's own node, and a crash of user code costs one task and not the foreign worker.
A supervisor is kept from bundle to bundle, with its warm worker.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from attrs import evolve

from fedproxy.config.endpoint import LocalEngine as LocalConfig
from fedproxy.endpoint.catalog import AgentCatalog
from fedproxy.endpoint.engines.base import Callbacks, Job
from fedproxy.endpoint.engines.local import LocalEngine
from fedproxy.endpoint.engines.relay import Plain, RelayAddress
from fedproxy.endpoint.scratch import Scratch
from fedproxy.errors import EndpointError, ProtocolError
from fedproxy.protocol import messages as m
from fedproxy.protocol import worker_messages as w
from fedproxy.protocol.codec import decode, encode, split
from fedproxy.protocol.flow import Ahead
from fedproxy.wire.curve import KeyPair
from fedproxy.wire.zmq_channel import Channel, Peer

_AHEAD = Ahead(cover_s=0.002, most=8)
_HOLD_S = 0.25
"""A bundle that takes longer gives back what it has not begun."""
_ANSWER_S = 0.01
"""An answer waits at most so long for others of its bundle: each message costs agent and service more than a short task."""
_ORPHAN_S = 30.0
"""Without its agent for so long, a worker stops what it runs: the agent counts it as lost by then."""
_START_S = 60.0
_LOOK_S = 0.02
_CONNECT_S = 5.0
_MESSAGE_BYTES = 8 * 1024 * 1024


def run_bundle(buffer: bytes, number: int, relay: Plain) -> bytes:
    """Run a bundle and return when all that was granted of it has ended; the answers went to the agent.

    Raises:
        EndpointError: the agent cannot be reached from here, or no worker process can be started; nothing of the bundle ran.
    """
    supervisor = _borrow(RelayAddress.of(relay))
    supervisor.run(number, buffer)
    with _LOCK:
        _IDLE.append(supervisor)
    return b""


_IDLE: list[Supervisor] = []
_LOCK = threading.Lock()


def _borrow(address: RelayAddress) -> Supervisor:
    """An idle supervisor for that agent, or a new one: each thread that runs bundles has its own."""
    stale: list[Supervisor] = []
    with _LOCK:
        while _IDLE:
            found = _IDLE.pop()
            if found.address == address and found.usable:
                return found
            stale.append(found)
    for each in stale:
        each.close("its agent has been replaced")
    return Supervisor(address)


class Supervisor:
    """One place for bundles: a thread with a loop, a link to the agent, a worker process."""

    def __init__(self, address: RelayAddress) -> None:
        self.address = address
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._serve, name="fedproxy-supervisor", daemon=True)
        self._thread.start()
        self._place = self._do(_open_place(address))
        if os.environ.get("PARSL_WORKER_POOL_ID") and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._terminated)
            self._loop.call_soon_threadsafe(self._place.end_with_parent)

    def _serve(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    @property
    def usable(self) -> bool:
        """Whether it can run more."""
        return not self._place.ended

    def run(self, number: int, buffer: bytes) -> None:
        """One bundle."""
        try:
            self._do(self._place.run(number, buffer))
        except EndpointError:
            self.close("it cannot go on")
            raise

    def close(self, reason: str) -> None:
        """End the worker process and the link."""
        if self.usable:
            self._do(self._place.close(reason))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _terminated(self, _number: int, _frame: object) -> None:
        asyncio.run_coroutine_threadsafe(self._place.close("it was terminated"), self._loop).add_done_callback(lambda _: os._exit(143))


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    made: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return made


async def _open_place(address: RelayAddress) -> _Place:
    host = await asyncio.get_running_loop().run_in_executor(None, _reachable, address)
    place = _Place(address, host)
    await place.start()
    return place


def _reachable(address: RelayAddress) -> str:
    """The first of the agent's addresses that answers from here."""
    if len(address.hosts) == 1:
        return address.hosts[0]
    for host in address.hosts:
        with suppress(OSError), socket.create_connection((host, address.port), _CONNECT_S):
            return host
    raise EndpointError(
        f"{socket.gethostname()} reaches the agent on port {address.port} at none of {', '.join(address.hosts)}",
        hint="set engine.address to an address of the agent's machine that its nodes can reach")


class _Place:
    """Everything that lives on the loop."""

    def __init__(self, address: RelayAddress, host: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._scratch = Scratch("place")
        self._catalog = AgentCatalog()
        self._engine = LocalEngine(
            LocalConfig(max_workers=1), self._scratch.path, self._catalog, Callbacks(lambda _ids: None, self._on_end),
            evolve(address.containers, prefetch=()), ahead=_AHEAD)
        self._unacknowledged: dict[tuple[bytes, int], tuple[m.Outcome, bytes]] = {}
        self._fresh: list[tuple[m.Outcome, bytes]] = []
        self._claim: w.Claim | None = None
        self._granted: asyncio.Future[tuple[bytes, ...]] | None = None
        self._open: set[bytes] = set()
        self._over: asyncio.Future[None] | None = None
        self._hold: asyncio.TimerHandle | None = None
        self.ended = ""
        self._closing = False
        self._ending: asyncio.Task[None] | None = None
        self._orphan = self._loop.call_later(_ORPHAN_S, self._end, f"no contact with the agent for {_ORPHAN_S:.0f} s")
        where = f"{os.environ.get('PARSL_WORKER_BLOCK_ID', '')}/{socket.gethostname()}/{os.getpid()}/{id(self):x}"
        peer = Peer(f"tcp://{host}:{address.port}", address.server_key, KeyPair(address.public, address.secret), where.encode())
        self._channel = Channel(peer, self._on_frames, self._up, self._down, lambda: self._end("the agent does not know this worker"))

    async def start(self) -> None:
        """Start the worker process and wait until it is ready."""
        await self._engine.start()
        deadline = self._loop.time() + _START_S
        while not self._engine.load().workers:
            if self._loop.time() > deadline:
                await self.close("its worker process did not start")
                raise EndpointError(f"no worker process starts on {socket.gethostname()}: {self._last_words()}")
            await asyncio.sleep(_LOOK_S)

    def _last_words(self) -> str:
        logs = sorted(self._scratch.path.rglob("*.log"), key=lambda path: path.stat().st_mtime)
        return logs[-1].read_text(errors="replace")[-1000:] if logs else "it wrote nothing"

    async def run(self, number: int, buffer: bytes) -> None:
        """Claim, run what was granted, return when all of it has ended."""
        self._check()
        message, body = decode(buffer)
        if not isinstance(message, m.Tasks):
            raise ProtocolError(f"not a bundle: {type(message).__name__}")
        jobs = {task.id: Job(task, bytes(part), 0.0) for task, part in zip(message.items, split(body, (t.size for t in message.items)), strict=True)}
        granted = await self._ask(number, jobs)
        if granted:
            self._open = set(granted)
            self._over = self._loop.create_future()
            self._engine.submit([jobs[task_id] for task_id in granted])
            self._hold = self._loop.call_later(_HOLD_S, self._give_back)
            try:
                await self._over
            finally:
                if self._hold is not None:
                    self._hold.cancel()
        self._check()

    async def _ask(self, number: int, jobs: dict[bytes, Job]) -> tuple[bytes, ...]:
        specs, _ = self._catalog.missing({job.task.spec for job in jobs.values()})
        self._claim = w.Claim(number, tuple((i, job.task.attempt) for i, job in jobs.items()), tuple(specs))
        self._granted = self._loop.create_future()
        self._channel.send([encode(self._claim)])  # without a connection it is sent when there is one
        return await self._granted

    def _check(self) -> None:
        if self.ended:
            raise EndpointError(f"the worker on {socket.gethostname()} has ended: {self.ended}")

    # ------------------------------------------------------------ link

    def _up(self) -> None:
        self._orphan.cancel()
        self._channel.send([encode(w.Ready(os.getpid(), sys.version.split()[0]))])
        if self._claim is not None:
            self._channel.send([encode(self._claim)])
        self._send(list(self._unacknowledged.values()))

    def _down(self) -> None:
        self._orphan.cancel()
        self._orphan = self._loop.call_later(_ORPHAN_S, self._end, f"no contact with the agent for {_ORPHAN_S:.0f} s")

    def _on_frames(self, frames: list[memoryview]) -> None:
        message, body = decode(frames[0])
        if len(frames) > 1:
            body = frames[1]
        match message:
            case w.Grant():
                self._take_grant(message, body)
            case m.ResultAcks():
                for attempt in message.attempts:
                    self._unacknowledged.pop(attempt, None)
            case m.Goodbye():
                self._end(message.reason)
            case m.Cancel():
                for task_id in message.ids:
                    self._engine.cancel(task_id)

    def _take_grant(self, grant: w.Grant, body: memoryview) -> None:
        if self._claim is None or self._granted is None or grant.bundle != self._claim.bundle:
            return  # the answer to a claim that was repeated
        for name, encoded in grant.specs.items():
            self._catalog.learn_spec(name, encoded)
        for blob, part in zip(grant.functions, split(body, (b.size for b in grant.functions)), strict=True):
            self._catalog.learn_function(blob.hash, bytes(part))
        granted, self._claim, self._granted = self._granted, None, None
        granted.set_result(grant.ids)

    # ------------------------------------------------------------ answers

    def _on_end(self, outcome: m.Outcome, body: bytes) -> None:
        """Answers go together at the end of a bundle, or when the first of them has waited for long enough."""
        self._fresh.append((outcome, body))
        self._close_one(outcome.id)
        if not self._open:
            self._send_fresh()
        elif len(self._fresh) == 1:
            self._loop.call_later(_ANSWER_S, self._send_fresh)

    def _send_fresh(self) -> None:
        fresh, self._fresh = self._fresh, []
        if not fresh:
            return
        for outcome, body in fresh:
            self._unacknowledged[outcome.id, outcome.attempt] = outcome, body
        self._send(fresh)

    def _send(self, answers: list[tuple[m.Outcome, bytes]]) -> None:
        batch: list[tuple[m.Outcome, bytes]] = []
        size = 0
        for outcome, body in answers:
            batch.append((outcome, body))
            size += len(body)
            if size > _MESSAGE_BYTES:
                self._send_batch(batch)
                batch, size = [], 0
        if batch:
            self._send_batch(batch)

    def _send_batch(self, batch: list[tuple[m.Outcome, bytes]]) -> None:
        self._channel.send([encode(m.Results(tuple(outcome for outcome, _ in batch))), *(body for _, body in batch)])

    def _close_one(self, task_id: bytes) -> None:
        self._open.discard(task_id)
        if not self._open and self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _give_back(self) -> None:
        """What waits behind a task that takes its time would be held up: another worker may have it."""
        jobs = self._engine.withdraw()
        if jobs and self._channel.send([encode(w.Returned(tuple(job.task.id for job in jobs)))]):
            for job in jobs:
                self._close_one(job.task.id)
        elif jobs:
            self._engine.submit(jobs)
        if self._open:  # its worker may have begun with the long one only now, or the agent was out of reach
            self._hold = self._loop.call_later(_HOLD_S, self._give_back)

    # ------------------------------------------------------------ the end

    def end_with_parent(self) -> None:
        """End as soon as the process does that started this one: nobody would hear of it otherwise."""
        with suppress(OSError):
            self._loop.add_reader(os.pidfd_open(os.getppid()), self._end, "its manager has died")

    def _end(self, reason: str) -> None:
        self.ended = self.ended or reason
        self._ending = self._ending or self._loop.create_task(self.close(reason))

    async def close(self, reason: str) -> None:
        """Tell the agent, kill the worker process, let go of whoever waits. Idempotent."""
        self.ended = self.ended or reason
        self._orphan.cancel()
        if self._closing:
            return
        self._closing = True
        self._channel.send([encode(m.Goodbye(self.ended))])
        await self._engine.stop()
        await asyncio.sleep(_LOOK_S)  # for what is handed over to leave
        self._channel.close()
        self._scratch.remove()
        for waiting in (self._granted, self._over):
            if waiting is not None and not waiting.done():
                waiting.set_exception(EndpointError(self.ended))
        self._loop.call_later(_LOOK_S, self._loop.stop)  # whoever waited has been told by then
