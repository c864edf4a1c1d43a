"""Calls on their way to the service, and batches of them as bytes."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from fedproxy.dispatch.functions import SerializedFunction
from fedproxy.dispatch.future import TaskFuture
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import Buffer, encode
from fedproxy.protocol.flow import Pace


@define(eq=False)
class Queue:
    """What one connection has under way at one endpoint."""

    workers: int
    under_way: int = 0
    pace: Pace = field(factory=Pace)

    def over(self, now: float) -> None:
        """One has ended."""
        self.under_way -= 1
        if self.under_way > 0:
            self.pace.ended(1, now)
        else:
            self.pace.rest()

    @property
    def gather_s(self) -> float:
        """How long a call that goes behind these may wait for company."""
        return self.pace.gather_s(self.under_way - self.workers, self.workers)


@define(eq=False)
class Kind:
    """Calls of one kind: a spec and its function, sent along once."""

    hash: bytes
    encoded: bytes
    function: SerializedFunction
    endpoint_name: str
    endpoint: str
    queue: Queue = field(factory=lambda: Queue(1))
    sent: bool = False


@define(eq=False)
class Call:
    """One task on its way to the service."""

    item: m.Item
    kind: Kind
    parts: list[Buffer] = field(repr=False)
    future: TaskFuture[Any]

    @property
    def gather_s(self) -> float:
        """How long it may wait for others to go along: for a while, if its endpoint has enough to do before it comes to it."""
        return self.kind.queue.gather_s if self.item.priority <= 0 else 0.0


def encode_batch(batch: list[Call], group: str, *, everything: bool = False) -> list[Buffer]:
    """A `Submit` message and its bodies; ``everything`` sends specs and functions along that were sent before."""
    specs: dict[bytes, bytes] = {}
    functions: dict[bytes, bytes] = {}
    for call in batch:
        if everything or not call.kind.sent:
            specs[call.kind.hash] = call.kind.encoded
            functions[call.kind.function.hash] = call.kind.function.body
    blobs = tuple(m.Blob(name, len(body)) for name, body in functions.items())
    message = m.Submit(group, specs, blobs, tuple(call.item for call in batch))
    return [encode(message), *functions.values(), *(part for call in batch for part in call.parts)]
