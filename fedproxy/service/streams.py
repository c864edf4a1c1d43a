"""Pushing results: each waiting client has a bounded buffer; one that falls behind reads on from the ledger.

Strategy: a stream that has sent all it had waits for more. To such a one results are written at once, where its connection takes them; to wake it up for
them would cost a lone task a twentieth of its time.
"""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define, field

from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode

_LENGTH = struct.Struct("<I")
_BUFFER_ITEMS = 20_000
_BUFFER_BYTES = 32 * 1024 * 1024

Write = Callable[[bytes], bool]
"""Sends a piece of a stream; False: not now, and nothing was sent."""


def framed(cursor: int, items: list[tuple[m.Done, bytes]]) -> bytes:
    """Endings as a piece of a stream."""
    head = encode(m.Finished(cursor, tuple(done for done, _ in items)))
    bodies = [body for _, body in items]
    return b"".join((_LENGTH.pack(len(head) + sum(map(len, bodies))), head, *bodies))


@define(eq=False)
class Subscriber:
    """One open result stream."""

    write: Write | None = None
    """The short way to its connection, where there is one."""
    waiting: bool = False
    """It has sent all that it had."""
    cursor: int = 0
    """How far the client has the endings."""

    event: asyncio.Event = field(factory=asyncio.Event)
    items: list[tuple[m.Done, bytes]] = field(factory=list)
    size: int = 0
    ended: bool = False
    """The client asked for the end of the stream."""
    behind: bool = False
    """The buffer overflowed: what follows the cursor must be read from the ledger."""

    def add(self, done: m.Done, body: bytes) -> None:
        """Take one result, unless the stream has fallen behind."""
        if not self.behind:
            self.items.append((done, body))
            self.size += len(body)
            if len(self.items) > _BUFFER_ITEMS or self.size > max(_BUFFER_BYTES, len(body)):
                self.behind = True
                self.items.clear()
                self.size = 0

    def tell(self, cursor: int) -> None:
        """Send what it was given, if it waits for that; else it will come to it."""
        if self.write is None or self.behind or not self.waiting:
            self.event.set()
        elif self.items:
            if self.write(framed(cursor, self.items)):
                self.cursor = cursor
                self.take()
            else:
                self.event.set()

    async def wait(self) -> None:
        """Until there is something that only the stream itself can do."""
        self.waiting = True
        try:
            await self.event.wait()
        finally:
            self.waiting = False

    def take(self) -> list[tuple[m.Done, bytes]]:
        """All that waits."""
        items, self.items = self.items, []
        self.size = 0
        self.event.clear()
        return items


class Streams:
    """The open result streams of each task group."""

    def __init__(self) -> None:
        self._open: defaultdict[tuple[str, str], list[Subscriber]] = defaultdict(list)
        self._given: list[Subscriber] = []
        """Those that were given something and not told yet."""
        self.committed = 0
        """The last ending that is durable."""
        self.closing = False

    def push(self, user: str, group: str, done: m.Done, body: bytes) -> None:
        """Hand a result to all that wait for this user's group. They send it when this turn of the loop is over, or at `flush`."""
        for subscriber in self._open.get((user, group), ()):
            subscriber.add(done, body)
            if not self._given:
                asyncio.get_running_loop().call_soon(self.flush)
            self._given.append(subscriber)

    def flush(self) -> None:
        """Send what was pushed."""
        given, self._given = self._given, []
        for subscriber in dict.fromkeys(given):
            subscriber.tell(self.committed)

    @contextmanager
    def subscribe(self, user: str, group: str, after: int = 0, write: Write | None = None) -> Iterator[Subscriber]:
        """An open stream for the time of the block, of what ends after the cursor ``after``."""
        subscriber = Subscriber(write, cursor=after)
        self._open[user, group].append(subscriber)
        try:
            yield subscriber
        finally:
            self._open[user, group].remove(subscriber)
            if not self._open[user, group]:
                del self._open[user, group]

    def end(self, user: str, group: str) -> None:
        """End the streams of this user's group."""
        for subscriber in self._open.get((user, group), ()):
            subscriber.ended = True
            subscriber.event.set()

    def wake(self) -> None:
        """Let every stream send, if only an empty message: a client tells silence from a dead connection."""
        for subscribers in self._open.values():
            for subscriber in subscribers:
                subscriber.event.set()

    def close(self) -> None:
        """End every stream."""
        self.closing = True
        self.wake()
