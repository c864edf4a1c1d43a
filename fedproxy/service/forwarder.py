"""Takes what endpoints say: that they are there, what they received, how tasks ended.

Strategy: what comes from an endpoint is pushed to the client at once and acknowledged only after the commit; what goes to it is in `outbound`, how
tasks end in `endings`. Everything here runs on the loop's thread; the socket is behind `Link`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence

from fedproxy.errors import ProtocolError, VersionMismatchError
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode, split
from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.liveness import excused, own_pause
from fedproxy.protocol.reconcile import JournalState, reconcile
from fedproxy.protocol.retry import Again, Tries, after_attempt, backoff_s
from fedproxy.protocol.states import TERMINAL, TaskState
from fedproxy.protocol.versions import mismatch_of
from fedproxy.service.contest import Verdict
from fedproxy.service.control import Control
from fedproxy.service.core import Core
from fedproxy.service.endings import Endings
from fedproxy.service.identity import ServiceIdentity
from fedproxy.service.looking import Looking
from fedproxy.service.outbound import Outbound
from fedproxy.service.outgoing import catalog_message
from fedproxy.service.registry import Endpoint
from fedproxy.service.rows import LiveTask, attempt_row
from fedproxy.service.sessions import Session, Sessions

log = logging.getLogger(__name__)

CHECK_S = 1.0


class Forwarder:
    """One for the service: all endpoint sessions, all tasks in flight."""

    def __init__(self, core: Core, identity: ServiceIdentity) -> None:
        self._core, self._identity = core, identity
        self._loop = asyncio.get_running_loop()
        self._checked = time.monotonic()
        self.sessions = Sessions(core.registry)
        self.outbound = Outbound(core, self.sessions)
        self.endings = Endings(core, self.outbound.release)
        self.control = Control(core, self.sessions, self.outbound, self.endings)
        self.looking = Looking(self.sessions.send)
        self._restore()

    def _restore(self) -> None:
        for task in self._core.ledger.live(TaskState.SENT):
            self.sessions.of(task.endpoint, task.user).sent(task)
            self.control.deadlines.watch(task, restored=True)
        now = time.time()
        for task in self._core.ledger.live(TaskState.QUEUED):
            self._restore_queued(task, now)
        for task in list(self._core.ledger.live(TaskState.WAITING)):
            self.endings.hold(task)
            self.control.deadlines.watch(task, restored=True)

    def _restore_queued(self, task: LiveTask, now: float) -> None:
        self.control.deadlines.watch(task, restored=True)
        if task.not_before > now:
            spec = self._core.catalog.spec(task.user, task.spec) or m.Spec(b"", task.endpoint)
            self.outbound.delay(task, min(task.not_before - now, spec.retry_backoff_most_s))  # a clock that was set back delays nobody for longer
        else:
            self._core.queues.append_cold(task)

    def inserted(self, tasks: list[LiveTask]) -> None:
        """These are durable: each goes its way."""
        at_once = [task for task in tasks if task.recalled is not None or self.control.deadlines.passed_at_once(task)]
        if at_once:
            self._end_at_once(at_once)
            tasks = [task for task in tasks if not task.state.terminal]
        self.outbound.inserted(tasks)
        for task in tasks:
            if task.deadline:
                self.control.deadlines.watch(task)
            if task.state is TaskState.WAITING and task.id not in self.endings.under_way:  # cancelled between its commit and now
                self.endings.hold(task)

    def _end_at_once(self, tasks: list[LiveTask]) -> None:
        """Their values are known, or their time is up. Nothing of them was queued or sent (see `Outbound.admit`)."""
        for task in tasks:
            if task.recalled is not None:
                self.endings.end_here(task, TaskState.SUCCEEDED, task.recalled)
            else:
                seconds = task.deadline - task.accepted
                self.endings.end_here(task, TaskState.EXPIRED, f"its deadline of {seconds:g} s had passed when it came".encode())

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
            self.sessions.send_to(peer, [encode(m.Reset())])
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
                self.sessions.send(session, [encode(m.Heartbeat(message.sent))])
                self.outbound.pump(endpoint_id)
            case m.Place() | m.Written():
                self.looking.heard(session, message)
            case m.Need():
                self.sessions.send(session, catalog_message(self._core, session, message))
            case m.Goodbye():
                log.info("endpoint %s says goodbye: %s", endpoint.name, message.reason)
                session.drop_connection()

    def _hello(self, peer: bytes, endpoint: Endpoint, hello: m.Hello) -> None:
        session = self.sessions.of(endpoint.id, endpoint.user)
        refusal = self._refusal(session, endpoint, hello)
        if refusal is not None:
            self.sessions.send_to(peer, [encode(refusal)])
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
            proof = self._identity.prove(endpoint.id, hello.incarnation, session.epoch)
            self.sessions.send(session, [encode(m.Welcome(session.epoch, self._core.config.heartbeat_period_s, self._core.config.heartbeat_grace, proof))])
            forgotten = tuple((i, attempt) for i, attempt in holding.items() if i not in session.in_flight and i not in self.endings.under_way)
            if forgotten:
                self.sessions.send(session, [encode(m.ResultAcks(forgotten))])
            resend = [session.back(i) for i in verdict.resend if i in session.in_flight]
            self._reload_payloads(resend)
            self.outbound.deliver(session, resend)
            self.control.deadlines.opened(session)
            self._lose(session, verdict.lost, f"endpoint {endpoint.name} came back without it: it may have started before the endpoint was lost")
            self.outbound.pump(endpoint.id)
            log.info("endpoint %s is online: epoch %d, %d held, %d sent again, %d lost", endpoint.name, session.epoch,
                     len(verdict.keep), len(resend), len(verdict.lost))

        self._core.commit.then(opened)

    def refuse(self, peer: bytes, endpoint_id: str, exc: VersionMismatchError) -> None:
        """An endpoint whose messages cannot be read is told why, once a message; all others go on."""
        endpoint = self._core.registry.get(endpoint_id)
        name = f"endpoint {endpoint.name!r}" if endpoint is not None else endpoint_id
        wrong = exc.message.replace("the peer", name).replace("this side", "the service")
        log.warning("refused: %s", wrong)
        self.sessions.send_to(peer, [encode(m.Refused("VersionMismatchError", wrong))])

    def _refusal(self, session: Session, endpoint: Endpoint, hello: m.Hello) -> m.Refused | None:
        if hello.endpoint != endpoint.id:
            return m.Refused("AuthenticationError", "this key belongs to another endpoint")
        wrong = mismatch_of(f"endpoint {endpoint.name!r}" + (f" (fedproxy {hello.release})" if hello.release else ""), hello.versions)
        if wrong is not None:
            log.warning("refused: %s", wrong)
            return m.Refused("VersionMismatchError", wrong.replace("this side", "the service"))
        if session.incarnation == hello.incarnation:
            return None
        verdict = self.sessions.claim(endpoint.id, time.monotonic())
        taken = f"another agent is connected as endpoint {endpoint.name!r}"
        if verdict is Verdict.UNSURE:
            return m.Refused("ServiceUnavailableError", f"{taken}: finding out whether it is alive")
        return m.Refused("EndpointInUseError", taken) if verdict is Verdict.IN_USE else None

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
            if task_id in self.endings.under_way:
                continue
            if task is None or task.attempt != outcome.attempt:
                self._core.stats.of(session.user).late_results += 1
                settled.append((outcome.id, outcome.attempt))
                continue
            self._conclude(session, task, outcome, bytes(part))
            acks.append((outcome.id, outcome.attempt))
        self._core.streams.flush()  # whoever waits need not wait for the rest
        if settled:
            self.sessions.send(session, [encode(m.ResultAcks(tuple(settled)))])
        if acks:
            done_seq = self._core.done_seq
            # The client has its result by push: the next submit, or the next task in the queue, may well share this commit.
            later = self._core.commit.then if self.endings.dependencies else self._core.commit.then_soon
            later(lambda: self._acknowledge(session, acks, done_seq))
            self.outbound.pump(session.endpoint)

    def _acknowledge(self, session: Session, attempts: list[tuple[bytes, int]], done_seq: int) -> None:
        self.endings.settled([task_id for task_id, _ in attempts], done_seq)
        if not session.settled:
            self._loop.call_soon(self._tell_settled, session)
        session.settled += attempts
        self.outbound.pump(session.endpoint)

    def _tell_settled(self, session: Session) -> None:
        """What did not go along with tasks in this turn of the loop."""
        settled, session.settled = tuple(session.settled), []
        if settled:
            self.sessions.send(session, [encode(m.ResultAcks(settled))])

    def _conclude(self, session: Session, task: LiveTask, outcome: m.Outcome, body: bytes, *, own_verdict: bool = False) -> None:
        """An attempt has ended: write the ending, or queue the task again."""
        session.back(task.id)
        self.endings.under_way.add(task.id)
        spec = self._core.catalog.spec(task.user, task.spec) or m.Spec(b"", task.endpoint)
        after = after_attempt(TaskState(outcome.state), outcome.started, spec, Tries(task.failures, task.losses), worth_it=outcome.again)
        written = self.looking.live.pop(task.id)
        if isinstance(after, Again) or outcome.output is not None or written is not None or outcome.reason:
            self.endings.work(own_verdict=own_verdict).attempts.append(attempt_row(task, outcome, body, time.time(), written))
        if isinstance(after, Again):
            task.failures, task.losses = after.tries.failures, after.tries.losses
            task.attempt += after.new_attempt
            task.acked = False
            self.outbound.requeue([task], backoff_s(spec, after.tries, random.random()) if after.new_attempt else 0.0)  # noqa: S311 - dice
            return
        self.endings.end(task, after, body, outcome, own_verdict=own_verdict)

    def _lose(self, session: Session, ids: Sequence[TaskId], reason: str) -> None:
        ids = [i for i in ids if i in session.in_flight]
        for task_id in ids:
            task = session.in_flight[task_id]
            self._conclude(session, task, m.Outcome(task_id, task.attempt, int(TaskState.LOST), 0), reason.encode(), own_verdict=True)
        if ids:
            done_seq = self._core.done_seq
            self._core.commit.then(lambda: self.endings.settled(ids, done_seq))

    # ------------------------------------------------------------ time

    def check(self, now: float) -> None:
        """Called every `CHECK_S`: find connections that are gone, and endpoints that have been silent too long."""
        self._excuse(now)
        self.endings.dependencies.check(now)
        self.control.deadlines.check()
        for session in self.sessions:
            if session.online and not self.sessions.send(session, [encode(m.Heartbeat(0.0))]):
                session.drop_connection()
        limit = self._core.config.heartbeat_period_s * self._core.config.heartbeat_grace
        for session in self.sessions:
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
            for session in self.sessions:
                session.heard = excused(session.heard, pause_s, now)
