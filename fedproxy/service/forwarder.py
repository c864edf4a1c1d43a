"""Sends queued tasks to endpoints and takes their results.

Strategy: what goes to an endpoint is durable first (state SENT), what comes from it is pushed to the client at once and acknowledged only
after the commit. Everything here runs on the loop's thread; the socket is behind `Link`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from fedproxy.errors import ProtocolError
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import Buffer, encode, split
from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.liveness import excused, own_pause
from fedproxy.protocol.reconcile import JournalState, reconcile
from fedproxy.protocol.retry import Again, Tries, after_attempt
from fedproxy.protocol.states import TERMINAL, TaskState
from fedproxy.service.core import Core
from fedproxy.service.dependencies import Dependencies
from fedproxy.service.outgoing import by_size, catalog_message, tasks_message
from fedproxy.service.registry import Endpoint
from fedproxy.service.rows import Ending, LiveTask
from fedproxy.service.sessions import Session

log = logging.getLogger(__name__)

_MESSAGE_TASKS = 2_000
CHECK_S = 1.0


class Link(Protocol):
    """The connections to endpoints."""

    def send(self, peer: bytes, parts: Sequence[Buffer]) -> bool:
        """Hand a message to a peer's connection; False where there is none."""


class Forwarder:
    """One for the service: all endpoint sessions, all tasks in flight."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._checked = time.monotonic()
        self.sessions: dict[str, Session] = {}
        self._ending: set[TaskId] = set()
        """Results whose commit is under way: not yet to be acknowledged, not to be taken twice."""
        self._departing: dict[TaskId, bool] = {}
        """Tasks marked SENT whose commit is under way → whether they are to be cancelled right behind."""
        self._dependencies = Dependencies(core.ledger, self._release, self._end_here)
        self._cancelled: set[int] = set()
        """Places that may still stand in a queue."""
        self._restore()

    def attach(self, link: Link) -> None:
        """Give it the socket to send through."""
        self._link = link

    def _restore(self) -> None:
        for task in self._core.ledger.live(TaskState.SENT):
            self.session(task.endpoint, task.user).in_flight[task.id] = task
        for task in self._core.ledger.live(TaskState.QUEUED):
            self._core.queues.append_cold(task.endpoint, task.seq)
        for task in list(self._core.ledger.live(TaskState.WAITING)):
            self._hold(task)

    def session(self, endpoint_id: str, user: str) -> Session:
        """The endpoint's session; a disconnected one if it has none yet."""
        session = self.sessions.get(endpoint_id)
        if session is None:
            session = self.sessions[endpoint_id] = Session(endpoint_id, user, time.monotonic())
            endpoint = self._core.registry.get(endpoint_id)
            if endpoint is not None and endpoint.journal is not None:
                session.journal = JournalState(endpoint.journal, endpoint.boot or "")
        return session

    def online(self, endpoint_id: str) -> bool:
        """Whether the endpoint's agent is connected."""
        session = self.sessions.get(endpoint_id)
        return session is not None and session.online

    # ------------------------------------------------------------ towards the endpoint

    def admit(self, task: LiveTask) -> None:
        """A task that is about to be inserted: mark it SENT in the same commit if the endpoint can take it now."""
        session = self.sessions.get(task.endpoint)
        if task.needs:
            task.state = TaskState.WAITING
        elif session is not None and session.room > 0 and not self._core.queues.length(task.endpoint):
            task.state = TaskState.SENT
            session.reserved += 1
            self._departing[task.id] = False

    def unadmit(self, task: LiveTask) -> None:
        """The insert did not happen."""
        if task.state is TaskState.SENT:
            self.sessions[task.endpoint].reserved -= 1
            self._departing.pop(task.id, None)

    def inserted(self, tasks: list[LiveTask]) -> None:
        """These are durable: send those marked so, queue the others."""
        ready: dict[str, list[LiveTask]] = {}
        waiting: list[LiveTask] = []
        for task in tasks:
            if task.state is TaskState.SENT:
                ready.setdefault(task.endpoint, []).append(task)
            elif task.state is TaskState.WAITING:
                waiting.append(task)
            else:
                self._core.queues.append(task)
        for endpoint, batch in ready.items():
            self.sessions[endpoint].reserved -= len(batch)
            self._deliver(self.sessions[endpoint], batch)
        for endpoint in {task.endpoint for task in tasks if task.state is TaskState.QUEUED}:
            self.pump(endpoint)
        for task in waiting:
            self._hold(task)

    def _hold(self, task: LiveTask) -> None:
        """Keep a task until what it needs has ended; the ends that are just being written are looked at again when they are."""
        self._dependencies.watch(task)
        ending = [TaskId(i) for i in task.needs if i in self._ending]
        if ending:
            self._core.commit.then(lambda: self._look(ending))

    def _look(self, ids: Iterable[bytes]) -> None:
        for task_id in ids:
            self._dependencies.look(task_id)

    def _release(self, task: LiveTask) -> None:
        """All that the task needs is there."""
        task.payload = None
        self._requeue([task])

    def _end_here(self, task: LiveTask, state: TaskState, body: bytes) -> None:
        self.end(task, state, body, own_verdict=True)
        done_seq = self._core.done_seq
        self._core.commit.then(lambda: self._settled([task.id], done_seq))

    def pump(self, endpoint_id: str) -> None:
        """Send as much of the endpoint's queue as it takes."""
        session = self.sessions.get(endpoint_id)
        if session is None or not session.room or not self._core.queues.length(endpoint_id):
            return
        ready, on_disk = self._core.queues.take(endpoint_id, min(session.room, _MESSAGE_TASKS))
        if on_disk:
            loaded = [t for t in self._core.ledger.load(on_disk, payloads=True) if t.state is TaskState.QUEUED]
            ready = sorted([*ready, *loaded], key=lambda t: t.seq)
        if self._cancelled:
            gone = {t.seq for t in ready if t.seq in self._cancelled} | (self._cancelled & set(on_disk))
            self._cancelled -= gone
            ready = [t for t in ready if t.seq not in gone]
        if not ready:
            self.pump(endpoint_id)
            return
        session.reserved += len(ready)
        for task in ready:
            task.state = TaskState.SENT
            self._departing[task.id] = False
        self._core.commit.next.sent += ready

        def deliver() -> None:
            session.reserved -= len(ready)
            self._deliver(session, ready)
            self.pump(endpoint_id)

        self._core.commit.then(deliver)

    def _deliver(self, session: Session, tasks: list[LiveTask]) -> None:
        for batch in by_size(tasks):
            if session.peer is None or not self._send(session, tasks_message(self._core, session, batch)):
                session.drop_connection()
                self._requeue(batch)
                for task in batch:
                    self._departing.pop(task.id, None)
            else:
                self._departed(session, batch)

    def _departed(self, session: Session, tasks: list[LiveTask]) -> None:
        for task in tasks:
            task.payload = None
            session.in_flight[task.id] = task
        cancelled = tuple(task.id for task in tasks if self._departing.pop(task.id, False))
        if cancelled:
            self._send(session, [encode(m.Cancel(cancelled))])

    def _requeue(self, tasks: Iterable[LiveTask]) -> None:
        tasks = list(tasks)
        for task in tasks:
            task.state = TaskState.QUEUED
        self._core.commit.next.requeued += tasks

        def put_back() -> None:
            for task in reversed(tasks):
                self._core.queues.put_back(task)
            for endpoint in {task.endpoint for task in tasks}:
                self.pump(endpoint)

        self._core.commit.then(put_back)

    def _send(self, session: Session, parts: Sequence[Buffer]) -> bool:
        return self._link is not None and session.peer is not None and self._link.send(session.peer, parts)

    # ------------------------------------------------------------ from the endpoint

    def on_message(self, peer: bytes, endpoint_id: str, message: object, body: memoryview) -> None:
        """One message from an authenticated endpoint."""
        endpoint = self._core.registry.get(endpoint_id)
        if endpoint is None:
            return
        if isinstance(message, m.Hello):
            self._hello(peer, endpoint, message)
            return
        session = self.sessions.get(endpoint_id)
        if session is None or session.peer != peer:
            if self._link is not None:
                self._link.send(peer, [encode(m.Reset())])
            return
        session.heard = time.monotonic()
        match message:
            case m.Results():
                self._results(session, message, body)
            case m.Received():
                self._received(session, message)
            case m.Heartbeat():
                session.status = message
                session.credit = message.credit
                self._send(session, [encode(m.Heartbeat(message.sent))])
                self.pump(endpoint_id)
            case m.Need():
                self._send(session, catalog_message(self._core, session, message))
            case m.Goodbye():
                log.info("endpoint %s says goodbye: %s", endpoint.name, message.reason)
                session.drop_connection()

    def _hello(self, peer: bytes, endpoint: Endpoint, hello: m.Hello) -> None:
        session = self.session(endpoint.id, endpoint.user)
        refusal = self._refusal(session, endpoint, hello)
        if refusal is not None:
            if self._link is not None:
                self._link.send(peer, [encode(refusal)])
            return
        now = JournalState(hello.journal, hello.boot)
        holding = {TaskId(i): attempt for i, attempt in hello.holding}
        sent = {i: task.attempt for i, task in session.in_flight.items()}
        verdict = reconcile(sent, [i for i, t in session.in_flight.items() if t.acked], holding, session.journal, now)
        session.journal, session.incarnation, session.credit = now, hello.incarnation, hello.credit
        session.heard = time.monotonic()
        session.epoch = self._core.registry.opened(endpoint, hello.journal, hello.boot)
        session.drop_connection()

        def opened() -> None:
            session.peer = peer
            self._send(session, [encode(m.Welcome(session.epoch, self._core.config.heartbeat_period_s, self._core.config.heartbeat_grace))])
            forgotten = tuple((i, attempt) for i, attempt in holding.items() if i not in session.in_flight and i not in self._ending)
            if forgotten:
                self._send(session, [encode(m.ResultAcks(forgotten))])
            resend = [session.in_flight.pop(i) for i in verdict.resend if i in session.in_flight]
            self._reload_payloads(resend)
            self._deliver(session, resend)
            self._lose(session, verdict.lost, f"endpoint {endpoint.name} came back without it: it may have started before the endpoint was lost")
            self.pump(endpoint.id)
            log.info("endpoint %s is online: epoch %d, %d held, %d sent again, %d lost", endpoint.name, session.epoch,
                     len(verdict.keep), len(resend), len(verdict.lost))

        self._core.commit.then(opened)

    def _refusal(self, session: Session, endpoint: Endpoint, hello: m.Hello) -> m.Refused | None:
        if hello.endpoint != endpoint.id:
            return m.Refused("AuthenticationError", "this key belongs to another endpoint")
        if session.peer is not None and session.incarnation != hello.incarnation and self._send(session, [encode(m.Heartbeat(0.0))]):
            return m.Refused("EndpointInUseError", f"another agent is connected as endpoint {endpoint.name!r}")
        return None

    def _reload_payloads(self, tasks: list[LiveTask]) -> None:
        payloads = {t.id: t.payload for t in self._core.ledger.load([t.seq for t in tasks], payloads=True)}
        for task in tasks:
            task.payload = payloads.get(task.id, b"")

    def _received(self, session: Session, message: m.Received) -> None:
        fresh = [task.id for i in message.ids if (task := session.in_flight.get(TaskId(i))) is not None and not task.acked]
        for i in fresh:
            session.in_flight[i].acked = True
        self._core.commit.next.acked += fresh
        # No commit of its own: an acknowledgement only matters after a reboot of the endpoint's machine; it goes with the next commit.

    def _results(self, session: Session, message: m.Results, body: memoryview) -> None:
        if not all(outcome.state in TERMINAL for outcome in message.items):
            raise ProtocolError("a result whose state is no ending")
        parts = list(split(body, (o.size for o in message.items)))  # all or nothing: a message that does not add up changes nothing
        acks: list[tuple[bytes, int]] = []
        settled: list[tuple[bytes, int]] = []
        for outcome, part in zip(message.items, parts, strict=True):
            task_id = TaskId(outcome.id)
            task = session.in_flight.get(task_id)
            if task_id in self._ending:
                continue
            if task is None or task.attempt != outcome.attempt:
                self._core.stats.of(session.user).late_results += 1
                settled.append((outcome.id, outcome.attempt))
                continue
            self._conclude(session, task, outcome, bytes(part))
            acks.append((outcome.id, outcome.attempt))
        if settled:
            self._send(session, [encode(m.ResultAcks(tuple(settled)))])
        if acks:
            done_seq = self._core.done_seq
            # The client has its result by push: the next submit, or the next task in the queue, may well share this commit.
            later = self._core.commit.then if self._dependencies else self._core.commit.then_soon
            later(lambda: self._acknowledge(session, acks, done_seq))
            self.pump(session.endpoint)

    def _acknowledge(self, session: Session, attempts: list[tuple[bytes, int]], done_seq: int) -> None:
        self._settled([task_id for task_id, _ in attempts], done_seq)
        if not session.settled:
            self._loop.call_soon(self._tell_settled, session)
        session.settled += attempts
        self.pump(session.endpoint)

    def _tell_settled(self, session: Session) -> None:
        """What did not go along with tasks in this turn of the loop."""
        settled, session.settled = tuple(session.settled), []
        if settled:
            self._send(session, [encode(m.ResultAcks(settled))])

    def _settled(self, ids: Sequence[bytes], done_seq: int) -> None:
        self._ending.difference_update(TaskId(i) for i in ids)
        if self._dependencies:
            self._look(ids)
        self._core.streams.committed = max(self._core.streams.committed, done_seq)

    def _conclude(self, session: Session, task: LiveTask, outcome: m.Outcome, body: bytes, *, own_verdict: bool = False) -> None:
        """An attempt has ended: write the ending, or queue the task again."""
        del session.in_flight[task.id]
        self._ending.add(task.id)
        spec = self._core.catalog.spec(task.user, task.spec) or m.Spec(b"", task.endpoint)
        after = after_attempt(TaskState(outcome.state), outcome.started, spec, Tries(task.failures, task.losses))
        if isinstance(after, Again):
            task.failures, task.losses = after.tries.failures, after.tries.losses
            task.attempt += after.new_attempt
            task.acked = False
            self._requeue([task])
            return
        self.end(task, after, body, outcome.times, outcome.moved, own_verdict=own_verdict)

    def end(self, task: LiveTask, state: TaskState, body: bytes, times: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
            moved: tuple[int, int] = (0, 0), *, own_verdict: bool) -> None:
        """Write a task's only ending, and push it to whoever waits. The caller asks for the commit.

        What an endpoint says is pushed at once: after a crash it says so again. An ``own_verdict`` of the service would be forgotten and might
        turn out another way: it is pushed when it is durable.
        """
        core = self._core
        core.done_seq += 1
        self._ending.add(task.id)
        task.state = state
        ending = Ending(task, state, core.done_seq, time.time(), times, moved, body)
        core.commit.next.endings.append(ending)
        if own_verdict:
            core.commit.then(lambda: core.streams.push(task.user, task.group, ending.done(), body))
        else:
            core.streams.push(task.user, task.group, ending.done(), body)
        stats = core.stats.of(task.user)
        stats.tasks_finished += 1
        stats.bytes_out += len(body)

    def _lose(self, session: Session, ids: Sequence[TaskId], reason: str) -> None:
        ids = [i for i in ids if i in session.in_flight]
        for task_id in ids:
            task = session.in_flight[task_id]
            self._conclude(session, task, m.Outcome(task_id, task.attempt, int(TaskState.LOST), 0), reason.encode(), own_verdict=True)
        if ids:
            done_seq = self._core.done_seq
            self._core.commit.then(lambda: self._settled(ids, done_seq))

    # ------------------------------------------------------------ time and people

    def check(self, now: float) -> None:
        """Called every `CHECK_S`: find connections that are gone, and endpoints that have been silent too long."""
        self._excuse(now)
        if self._cancelled:  # an endpoint that never comes back would not pass over them
            self._cancelled -= self._core.queues.sweep(self._cancelled)
        self._dependencies.check(now)
        for session in self.sessions.values():
            if session.online and not self._send(session, [encode(m.Heartbeat(0.0))]):
                session.drop_connection()
        limit = self._core.config.heartbeat_period_s * self._core.config.heartbeat_grace
        for session in self.sessions.values():
            if now - session.heard > limit and (session.online or session.in_flight):
                endpoint = self._core.registry.get(session.endpoint)
                log.warning("endpoint %s is lost: silent for %.0f s", endpoint.name if endpoint else session.endpoint, now - session.heard)
                session.drop_connection()
                self._lose(session, list(session.in_flight), f"the endpoint was lost: nothing heard for {limit:.0f} s")

    def _excuse(self, now: float) -> None:
        """A service that stood still (stopped, swapped out, a suspended machine) has not listened: nobody is lost for that."""
        pause_s = own_pause(now, self._checked, CHECK_S)
        self._checked = now
        if pause_s:
            log.warning("the service itself stood still for %.0f s", pause_s)
            for session in self.sessions.values():
                session.heard = excused(session.heard, pause_s, now)

    def cancel(self, task: LiveTask) -> None:
        """Cancel a task that is not terminal: at once while it is queued; once it was sent, the endpoint is asked to stop it."""
        session = self.session(task.endpoint, task.user)
        if task.id in session.in_flight:
            self._send(session, [encode(m.Cancel((task.id,)))])
        elif task.id in self._departing:
            self._departing[task.id] = True
        elif task.state is TaskState.WAITING:
            self._dependencies.forget(task)
            self._end_here(task, TaskState.CANCELLED, b"cancelled while it waited for other tasks")
        elif task.state is TaskState.QUEUED and task.seq not in self._cancelled:
            self._cancelled.add(task.seq)
            self._end_here(task, TaskState.CANCELLED, b"cancelled before it was sent to the endpoint")

