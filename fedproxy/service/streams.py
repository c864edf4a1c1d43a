"""Pushing results: each waiting client has a bounded buffer; one that falls behind reads on from the ledger."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import define, field

from fedproxy.protocol import messages as m

_BUFFER_ITEMS = 20_000
_BUFFER_BYTES = 32 * 1024 * 1024


@define(eq=False)
class Subscriber:
    """One open result stream."""

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
        self.event.set()

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
        self.committed = 0
        """The last ending that is durable."""
        self.closing = False

    def push(self, user: str, group: str, done: m.Done, body: bytes) -> None:
        """Hand a result to all that wait for this user's group."""
        for subscriber in self._open.get((user, group), ()):
            subscriber.add(done, body)

    @contextmanager
    def subscribe(self, user: str, group: str) -> Iterator[Subscriber]:
        """An open stream for the time of the block."""
        subscriber = Subscriber()
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
