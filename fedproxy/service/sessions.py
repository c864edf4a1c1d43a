"""What the service knows of each endpoint's connection."""

from __future__ import annotations

from attrs import define, field

from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.messages import Heartbeat
from fedproxy.protocol.reconcile import JournalState
from fedproxy.service.rows import LiveTask


@define
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
    journal: JournalState | None = None
    in_flight: dict[TaskId, LiveTask] = field(factory=dict)
    known: set[bytes] = field(factory=set)
    """Specs and functions that this connection was sent."""
    settled: list[tuple[bytes, int]] = field(factory=list)
    """Results that are durable, which the endpoint is about to be told."""
    status: Heartbeat = field(factory=lambda: Heartbeat(0.0))

    @property
    def online(self) -> bool:
        """Whether the agent is connected."""
        return self.peer is not None

    @property
    def room(self) -> int:
        """How many more tasks it takes now."""
        return max(0, self.credit - len(self.in_flight) - self.reserved) if self.online else 0

    def drop_connection(self) -> None:
        """The connection is gone; what was sent stays in flight until the agent is back or lost."""
        self.peer = None
        self.known.clear()
        self.settled.clear()  # whatever it still holds when it comes back is told again
