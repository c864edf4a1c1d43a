"""What the service knows of each endpoint's connection."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from attrs import define, field

from fedproxy.protocol.codec import Buffer, encode
from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.messages import Heartbeat
from fedproxy.protocol.reconcile import JournalState
from fedproxy.service.contest import Contest, Verdict
from fedproxy.service.registry import Registry
from fedproxy.service.rows import LiveTask

_AGENT_BYTES = 256 * 1024 * 1024
"""Of arguments that one agent is sent ahead: it holds them in memory."""


class Link(Protocol):
    """The connections to endpoints."""

    def send(self, peer: bytes, parts: Sequence[Buffer]) -> bool:
        """Hand a message to a peer's connection; False where there is none."""


@define(eq=False)
class Session:
    """One endpoint: its connection, if it has one, and the tasks that it was sent. Times are monotonic seconds."""

    endpoint: str
    user: str
    heard: float
    peer: bytes | None = None
    """Routing id; None while there is no connection."""
    incarnation: str = ""
    epoch: int = 0
    credit: int = 0
    reserved: int = 0
    """Tasks on their way through a commit to this endpoint."""
    bytes_there: int = 0
    """Arguments of the tasks that are reserved or in flight."""
    journal: JournalState | None = None
    in_flight: dict[TaskId, LiveTask] = field(factory=dict)
    known: set[bytes] = field(factory=set)
    """Specs and functions that this connection was sent."""
    settled: list[tuple[bytes, int]] = field(factory=list)
    """Results that are durable, which the endpoint is about to be told."""
    status: Heartbeat = field(factory=lambda: Heartbeat(0.0))
    contest: Contest = field(factory=Contest)

    @property
    def online(self) -> bool:
        """Whether the agent is connected."""
        return self.peer is not None

    @property
    def room(self) -> int:
        """How many more tasks it takes now."""
        if self.peer is None or self.bytes_there >= _AGENT_BYTES:
            return 0
        return max(0, self.credit - len(self.in_flight) - self.reserved)

    def reserve(self, tasks: Sequence[LiveTask]) -> None:
        """These are about to be sent."""
        self.reserved += len(tasks)
        self.bytes_there += sum(task.size for task in tasks)

    def unreserve(self, tasks: Sequence[LiveTask]) -> None:
        """These were sent, or are not sent after all."""
        self.reserved -= len(tasks)
        self.bytes_there -= sum(task.size for task in tasks)

    def sent(self, task: LiveTask) -> None:
        """The endpoint has a task, or may have it."""
        self.in_flight[task.id] = task
        self.bytes_there += task.size

    def back(self, task_id: TaskId) -> LiveTask:
        """The endpoint has that task no more."""
        task = self.in_flight.pop(task_id)
        self.bytes_there -= task.size
        return task

    def drop_connection(self) -> None:
        """The connection is gone; what was sent stays in flight until the agent is back or lost."""
        self.peer = None
        self.known.clear()
        self.settled.clear()  # whatever it still holds when it comes back is told again


class Sessions:
    """One session for each endpoint that has ever connected or been sent a task, and the socket to all of them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._link: Link | None = None
        self._sessions: dict[str, Session] = {}

    def attach(self, link: Link) -> None:
        """Give it the socket to send through."""
        self._link = link

    def get(self, endpoint_id: str) -> Session | None:
        """The endpoint's session, if it has one."""
        return self._sessions.get(endpoint_id)

    def of(self, endpoint_id: str, user: str) -> Session:
        """The endpoint's session; a disconnected one if it has none yet."""
        session = self._sessions.get(endpoint_id)
        if session is None:
            session = self._sessions[endpoint_id] = Session(endpoint_id, user, time.monotonic())
            endpoint = self._registry.get(endpoint_id)
            if endpoint is not None and endpoint.journal is not None:
                session.journal = JournalState(endpoint.journal, endpoint.boot or "")
        return session

    def online(self, endpoint_id: str) -> bool:
        """Whether the endpoint's agent is connected."""
        session = self._sessions.get(endpoint_id)
        return session is not None and session.online

    def claim(self, endpoint_id: str, now: float) -> Verdict:
        """Another agent wants to be this endpoint. Where the connected one turns out to be silent, its connection is given up."""
        session = self._sessions.get(endpoint_id)
        if session is None or not self.send(session, [encode(Heartbeat(0.0))]):
            return Verdict.FREE
        verdict = session.contest.judge(session.heard, now)
        if verdict is Verdict.FREE:
            session.drop_connection()
        return verdict

    def send(self, session: Session, parts: Sequence[Buffer]) -> bool:
        """Hand a message to the endpoint's connection; False where there is none."""
        return session.peer is not None and self.send_to(session.peer, parts)

    def send_to(self, peer: bytes, parts: Sequence[Buffer]) -> bool:
        """Hand a message to a connection that may have no session."""
        return self._link is not None and self._link.send(peer, parts)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())
