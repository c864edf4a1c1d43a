"""The agent: one process that stands for an endpoint.

Strategy: one loop. A batch of tasks goes to the journal and to the engine at once; the acknowledgement follows when the journal is flushed.
Results go to the journal and to the service at once, as many as one turn of the loop brings, and are kept until the service confirms them.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from fedproxy import errors
from fedproxy.config.endpoint import EndpointConfig
from fedproxy.endpoint.allowed import AllowList, refusal
from fedproxy.endpoint.attached import Attached
from fedproxy.endpoint.catalog import AgentCatalog
from fedproxy.endpoint.data_plane import DataPlane
from fedproxy.endpoint.engines.base import Callbacks, Engine, Job, SupportsPriorities, TellsPlace
from fedproxy.endpoint.engines.build import build_engine
from fedproxy.endpoint.gathering import Gathering
from fedproxy.endpoint.holdings import Holdings, by_size
from fedproxy.endpoint.identity import Identity, announce
from fedproxy.endpoint.journal import Held, Journal
from fedproxy.endpoint.reporting import Reporter
from fedproxy.endpoint.settings import settings_refusal
from fedproxy.endpoint.staging import Staging
from fedproxy.endpoint.telling import Telling
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import Buffer, decode, encode, split
from fedproxy.protocol.ids import new_uuid
from fedproxy.protocol.states import TaskState
from fedproxy.protocol.versions import UNDERSTOOD
from fedproxy.serialize import serialize_exception
from fedproxy.wire.zmq_channel import Channel, Peer

log = logging.getLogger(__name__)

_CREDIT = 1000
_ACKNOWLEDGE_S = 0.02
_HELLO_AGAIN_S = 2.0
_GOODBYE_S = 5.0
_REASON_CHARACTERS = 300
_PROOF_HINT = "somebody may be between this machine and the service; if you changed the service: fedproxy endpoint start NAME --repin"
_REPORT_S = 5.0
"""How often the service hears how this endpoint is, at least."""


class Agent:
    """One endpoint's tasks, engine and connection."""

    def __init__(self, config: EndpointConfig, identity: Identity, directory: Path, attached: Attached, plane: DataPlane) -> None:
        self._plane = plane
        self._staging = Staging(plane, self._submit, self._fail_unstarted)
        self._config, self._identity, self._directory = config, identity, directory
        self._loop = asyncio.get_running_loop()
        self._catalog = AgentCatalog()
        self._journal = Journal(directory / "journal")
        self._holdings = Holdings(self._journal)
        self._engine: Engine = build_engine(config.engine, directory, self._catalog, Callbacks(self._holdings.hand, self._ended), config.containers)
        self._allowed = AllowList.of(config.allowed_functions)
        self._reporter = Reporter(attached, config.store_urls())
        self._telling = Telling(self._engine, self._send)
        self._incarnation = new_uuid()
        self._asking_again: asyncio.TimerHandle | None = None
        self._channel: Channel | None = None
        self._heartbeat = config.heartbeat
        self._open = False
        self._busy = time.monotonic()
        self._proved = False
        """Whether the pinned service is at the other end. The link's key does not change while this process lives, so once is enough."""
        self._heard = time.monotonic()
        self._unacknowledged: list[bytes] = []
        self._ended_now: list[tuple[m.Outcome, bytes]] = []
        self._gathering = Gathering(self._engine, self._holdings.__len__, self._send_finished)
        self._asleep: list[Held] = self._holdings.waiting()
        """Tasks that wait for a spec or a function."""
        self._expired: set[bytes] = set()
        """Tasks past their deadline that are being taken out of the engine."""
        self.stop = asyncio.Event()
        self.failure: Exception | None = None

    async def run(self) -> None:
        """Serve until `stop` is set or the service refuses this agent for good."""
        await self._engine.start()
        self._connect()
        background = [asyncio.ensure_future(each) for each in (self._beat(), self._reporter.watch_caches())]
        try:
            await self.stop.wait()
        finally:
            for each in background:
                each.cancel()
            self._telling.stop()
            self._send([encode(m.Heartbeat(time.time(), 0))])  # no credit: nothing more is sent here
            await self._engine.stop()
            await self._part()
            if self._channel is not None:
                self._channel.close()
            self._journal.close()
        if self.failure is not None:
            raise self.failure

    # ------------------------------------------------------------ connection

    def _connect(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._open = False
        self._heard = time.monotonic()
        who = self._identity
        peer = Peer(who.address, who.server_key, who.keys, f"{who.endpoint_id}/{self._incarnation}".encode())
        self._channel = Channel(peer, self._on_frames, self._hello, self._down, self._unknown_key)

    def _hello(self) -> None:
        held = self._holdings.inventory()
        self._send([encode(m.Hello(
            self._identity.endpoint_id, self._incarnation, self._identity.journal, self._identity.boot, tuple(sorted(UNDERSTOOD)), self._credit, held,
            sys.version.split()[0]))])

    def _down(self) -> None:
        if self._open:
            log.warning("the connection to the service is gone; reconnecting")
        self._open = False

    def _unknown_key(self) -> None:
        self._fail(errors.AuthenticationError(
            "the service does not know this endpoint's key", hint="the endpoint was deleted or registered again from another folder; start it again"))

    def _fail(self, failure: Exception) -> None:
        self.failure = self.failure or failure
        self.stop.set()

    def _send(self, parts: Sequence[Buffer]) -> bool:
        return self._channel is not None and self._channel.send(parts)

    async def _beat(self) -> None:
        """Heartbeats, and the watch over the service's silence."""
        last_hello = time.monotonic()
        while True:
            await asyncio.sleep(min(1.0, self._heartbeat.period_s / 3) if not self._open else min(_REPORT_S, self._heartbeat.period_s))
            now = time.monotonic()
            if self._open:
                self._report()
                self._stop_if_idle(now)
            elif now - last_hello > _HELLO_AGAIN_S:
                last_hello = now
                self._hello()
            if now - self._heard > self._heartbeat.period_s * self._heartbeat.grace:
                log.warning("the service has been silent for %.0f s: connecting anew", now - self._heard)
                self._connect()

    def _stop_if_idle(self, now: float) -> None:
        if len(self._holdings):
            self._busy = now
        elif 0 < self._config.idle_shutdown_s < now - self._busy:
            log.info("nothing to do for %.0f s (idle_shutdown_s): stopping", now - self._busy)
            self.stop.set()

    @property
    def _credit(self) -> int:
        return _CREDIT if self._journal.takes else 0

    def _report(self) -> None:
        load = self._engine.load()
        report = self._reporter.report(load, {**self._engine.details(), **self._plane.status()}, len(self._holdings))
        self._send([encode(m.Heartbeat(time.time(), self._credit, load.workers, load.idle, load.waiting, report))])

    async def _part(self) -> None:
        """Say goodbye once the service has confirmed what has ended, or after a few seconds."""
        await asyncio.sleep(0)
        deadline = time.monotonic() + _GOODBYE_S
        while self._open and self._holdings.finished() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self._send([encode(m.Goodbye("stopped"))])
        await asyncio.sleep(0.05)

    # ------------------------------------------------------------ messages

    def _read(self, frames: list[memoryview]) -> tuple[object, memoryview]:
        try:
            message, body = decode(frames[0])
        except errors.VersionMismatchError as exc:
            self._fail(errors.VersionMismatchError(exc.message.replace("the peer", "the service").replace("this side", "this endpoint")))
            return None, frames[0]
        except errors.ProtocolError as exc:
            log.warning("the service sent what is not understood: %s", exc)
            return None, frames[0]
        return message, frames[1] if len(frames) > 1 else body

    def _on_frames(self, frames: list[memoryview]) -> None:
        message, body = self._read(frames)
        if message is None:
            return
        self._heard = time.monotonic()
        if not (self._proved or isinstance(message, m.Welcome | m.Refused | m.Reset)):
            return  # nothing is taken from a service that has not proved itself; it will learn from the next hello what is not here
        match message:
            case m.Tasks():
                self._take_tasks(message, body)
                self._settle(message.settled)
            case m.ResultAcks():
                self._settle(message.attempts)
            case m.Welcome():
                self._welcome(message)
            case m.Catalog():
                self._learn(message.specs, message.functions, body)
                self._wake()
            case m.Where() | m.WrittenAck() | m.Export():
                self._look_after(message)
            case m.Cancel():
                self._cancel_all(message)
            case m.Reprioritize():
                self._reprioritize(message)
            case m.Reset():
                self._open = False
                self._hello()
            case m.Refused():
                self._refused(message)

    def _look_after(self, message: m.Where | m.WrittenAck | m.Export) -> None:
        """What is not about a task's way through this endpoint."""
        if isinstance(message, m.Where):
            self._send([encode(self._place(message.id))])
        elif isinstance(message, m.Export):
            self._plane.export(message)
        else:
            self._telling.heard()

    def _cancel_all(self, message: m.Cancel) -> None:
        for task_id in message.ids:
            self._cancel(task_id)
        for task_id in self._holdings.unhanded(message.expired):
            self._expired.add(task_id)
            self._cancel(task_id)

    def _welcome(self, message: m.Welcome) -> None:
        if not self._identity.is_proved(self._incarnation, message):
            self._fail(errors.AuthenticationError("the service did not prove that it is the one that this endpoint has pinned", hint=_PROOF_HINT))
            return
        self._proved = True
        self._plane.server.trust(self._identity.gate, self._identity.clock_ahead_s)
        if not self._open:
            log.info("online as %s, epoch %d, %d tasks held", self._identity.endpoint_id, message.epoch, len(self._holdings))
        self._open = True
        self._heartbeat = type(self._heartbeat)(message.heartbeat_period_s, message.heartbeat_grace)
        self._report()
        announce(self._directory, self._identity.endpoint_id, self._config.name)
        self._send_finished(self._holdings.finished())
        self._ask_for_missing()

    def _refused(self, message: m.Refused) -> None:
        if message.error == "ServiceUnavailableError":
            log.warning("%s", message.message)  # the next hello is answered in another way
            return
        kind = getattr(errors, message.error, errors.EndpointError)
        self._fail(kind(message.message))

    def _learn(self, specs: dict[bytes, bytes], functions: tuple[m.Blob, ...], body: memoryview) -> None:
        for name, encoded in specs.items():
            self._catalog.learn_spec(name, encoded)
        for blob, part in zip(functions, split(body, (b.size for b in functions)), strict=True):
            self._catalog.learn_function(blob.hash, bytes(part))

    def _settle(self, attempts: tuple[tuple[bytes, int], ...]) -> None:
        for unfinished in self._holdings.settle(attempts):
            self._withdraw(unfinished)

    def _take_tasks(self, message: m.Tasks, body: memoryview) -> None:
        self._learn(message.specs, message.functions, body)
        try:
            fresh, outdated = self._holdings.accept(message, body[sum(blob.size for blob in message.functions):])
        except OSError as exc:
            self._take_later(exc)
            return
        for task_id in outdated:
            self._withdraw(task_id)
        self._start(fresh)
        if not self._unacknowledged:
            self._loop.call_later(_ACKNOWLEDGE_S, self._acknowledge)
        self._unacknowledged += [task.id for task in message.items]

    def _take_later(self, exc: OSError) -> None:
        """What came was not taken: after another hello, the service sends it again."""
        if self._asking_again is None or self._asking_again.when() < self._loop.time():
            log.error("tasks are not taken, the journal cannot be written: %s", exc)
            self._asking_again = self._loop.call_later(_HELLO_AGAIN_S, self._hello)

    def _acknowledge(self) -> None:
        """Tell the service what is on disk. Short tasks are over by now and need no flush of their own: their results tell more."""
        ids, self._unacknowledged = self._holdings.unfinished(self._unacknowledged), []
        if ids:
            self._journal.flush_then(lambda: self._send([encode(m.Received(ids))]))

    def _start(self, tasks: list[Held]) -> None:
        ready = [entry for entry in tasks if self._catalog.ready(entry.task.spec)]
        if len(ready) < len(tasks):
            self._asleep += [entry for entry in tasks if not self._catalog.ready(entry.task.spec)]
            self._ask_for_missing()
        self._submit(self._staging.sift([entry for entry in ready if not self._refuses(entry)]))

    def _submit(self, ready: list[Held]) -> None:
        now = time.time()
        self._engine.submit([Job(entry.task, entry.payload or b"", now) for entry in ready])
        self._telling.running()

    def _fail_unstarted(self, entry: Held, error: errors.FedproxyError, *, again: bool = True) -> None:
        """What a task needs cannot be had, or it is not allowed: that is its end."""
        body = bytes(serialize_exception(error))
        reason = str(error)[:_REASON_CHARACTERS]
        self._ended(m.Outcome(entry.task.id, entry.task.attempt, int(TaskState.FAILED), len(body), started=False, again=again, reason=reason), body)

    def _refuses(self, entry: Held) -> bool:
        """Whether this endpoint does not run such a task: its function or its settings are not allowed. It has ended then."""
        spec = self._catalog.spec(entry.task.spec)
        error: errors.FedproxyError | None = settings_refusal(spec, self._config.user_config_keys)
        if self._allowed.hashes is not None and not self._allowed.permits(spec.function):
            error = refusal(spec.name, spec.function)
        if error is None:
            return False
        self._fail_unstarted(entry, error, again=False)
        return True

    def _wake(self) -> None:
        tasks, self._asleep = self._asleep, []
        self._start(tasks)

    def _ask_for_missing(self) -> None:
        specs, functions = self._catalog.missing({entry.task.spec for entry in self._asleep})
        if specs or functions:
            self._send([encode(m.Need(tuple(specs), tuple(functions)))])
        elif self._asleep:
            self._wake()

    def _reprioritize(self, message: m.Reprioritize) -> None:
        wanted = dict(message.items)
        self._holdings.reprioritize(wanted)
        if isinstance(self._engine, SupportsPriorities):
            self._engine.reprioritize(wanted)

    def _place(self, task_id: bytes) -> m.Place:
        if any(entry.task.id == task_id for entry in self._asleep):
            return m.Place(task_id, "asleep")
        found = self._engine.place(task_id) if isinstance(self._engine, TellsPlace) else None
        return found or m.Place(task_id, self._holdings.known(task_id))

    def _withdraw(self, task_id: bytes) -> Held | None:
        """Stop a task wherever it is. Returns it if it had not come to the engine; else the engine says how it ended."""
        entry = next((each for each in self._asleep if each.task.id == task_id), None)
        if entry is not None:
            self._asleep.remove(entry)
        else:
            entry = self._staging.cancel(task_id)
        if entry is None:
            self._engine.cancel(task_id)
        return entry

    def _cancel(self, task_id: bytes) -> None:
        entry = self._withdraw(task_id)
        if entry is None:
            return
        body = b"cancelled before it started"
        self._ended(m.Outcome(task_id, entry.task.attempt, int(TaskState.CANCELLED), len(body), started=False), body)

    # ------------------------------------------------------------ results

    def _ended(self, outcome: m.Outcome, body: bytes) -> None:
        if outcome.id in self._expired:
            outcome, body = self._expire(outcome, body)
        if not self._ended_now:
            self._loop.call_soon(self._finish)
        self._ended_now.append((outcome, body))

    def _expire(self, outcome: m.Outcome, body: bytes) -> tuple[m.Outcome, bytes]:
        """What a task became that was past its deadline: it never started, or it had its end already."""
        self._expired.discard(outcome.id)
        if outcome.started or outcome.state != TaskState.CANCELLED:
            return outcome, body
        body = b"it had not started within its deadline"
        return replace(outcome, state=int(TaskState.EXPIRED), size=len(body)), body

    def _finish(self) -> None:
        """Send first, write then: should this process die in between, the service has the result."""
        ended, self._ended_now = self._holdings.finish(self._ended_now), []
        self._gathering.add(ended)
        self._holdings.write_down(ended)
        self._reporter.count(ended)
        self._staging.ended(outcome.id for outcome, _ in ended)

    def _send_finished(self, results: list[tuple[m.Outcome, bytes]]) -> None:
        """Send what has ended; without a connection it is sent after the next welcome."""
        for batch in by_size(results) if self._open else ():
            self._send_results(batch)

    def _send_results(self, batch: list[tuple[m.Outcome, bytes]]) -> None:
        self._send([encode(m.Results(tuple(outcome for outcome, _ in batch))), *(body for _, body in batch)])
