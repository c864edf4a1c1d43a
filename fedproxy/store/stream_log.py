"""What a stream needs of its medium: an append-only log per topic, with groups that share the work. And one in this
process.

A group hands each event to one of its members and keeps it until it is acknowledged; what a member that died held
goes to another after a while. A reader without a group sees everything from where it starts, and can go back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from attrs import define, field, frozen

START = "0"
"""Before the first event."""


@frozen
class Event:
    """One entry of a log. Ids grow."""

    id: str
    data: bytes


@frozen
class Member:
    """One consumer of a group."""

    group: str
    name: str
    claim_after_s: float = 30.0
    """What another member has held this long without acknowledging it may be taken over."""


class StreamLog(Protocol):
    """A log per topic. Safe to use from many threads."""

    def append(self, topic: str, events: Sequence[bytes], *, ttl_s: float | None = None) -> list[str]:
        """Add events; their ids. The topic lives ``ttl_s`` from now."""
        ...

    def last_id(self, topic: str) -> str:
        """Of the newest event; ``START`` where there is none."""
        ...

    def read(self, topic: str, after: str, *, count: int, timeout_s: float) -> list[Event]:
        """Up to ``count`` events after the id ``after``, waiting for the first at most ``timeout_s``."""
        ...

    def join(self, topic: str, member: Member, *, after: str) -> None:
        """Make the group unless it is there; a new one starts after the id ``after``."""
        ...

    def read_shared(self, topic: str, member: Member, *, count: int, timeout_s: float) -> list[Event]:
        """As ``read``, for a member: first what a dead member left, then what nobody has had."""
        ...

    def ack(self, topic: str, member: Member, ids: Sequence[str]) -> None:
        """These are done."""
        ...

    def settled(self, topic: str, member: Member) -> bool:
        """Whether everything was handed out, and nothing is held by other members."""
        ...

    def rewind(self, topic: str, member: Member, after: str) -> None:
        """Let the group begin anew after the id ``after``."""
        ...

    def remove(self, topic: str) -> None:
        """Forget the topic."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@define
class _Group:
    position: int = 0
    held: dict[int, tuple[str, float]] = field(factory=dict)
    """Event to who holds it and since when."""


@define
class _Topic:
    events: list[bytes] = field(factory=list)
    groups: dict[str, _Group] = field(factory=dict)


class LocalLog:
    """A log in the memory of this process: nothing outlives it. ``ttl_s`` has no meaning here."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._changed = threading.Condition()

    def append(self, topic: str, events: Sequence[bytes], *, ttl_s: float | None = None) -> list[str]:
        """See ``StreamLog.append``."""
        with self._changed:
            log = self._topic(topic).events
            first = len(log) + 1
            log.extend(events)
            self._changed.notify_all()
        return [str(first + offset) for offset in range(len(events))]

    def last_id(self, topic: str) -> str:
        """See ``StreamLog.last_id``."""
        with self._changed:
            return str(len(self._topic(topic).events))

    def read(self, topic: str, after: str, *, count: int, timeout_s: float) -> list[Event]:
        """See ``StreamLog.read``."""
        with self._changed:
            log = self._topic(topic).events
            self._changed.wait_for(lambda: len(log) > int(after), timeout_s)
            return [Event(str(i + 1), log[i]) for i in range(int(after), min(len(log), int(after) + count))]

    def join(self, topic: str, member: Member, *, after: str) -> None:
        """See ``StreamLog.join``."""
        with self._changed:
            self._topic(topic).groups.setdefault(member.group, _Group(int(after)))

    def read_shared(self, topic: str, member: Member, *, count: int, timeout_s: float) -> list[Event]:
        """See ``StreamLog.read_shared``."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            log, group = self._topic(topic).events, self._group(topic, member)
            while not (taken := self._take(log, group, member, count)):
                left = min(deadline, self._next_claim(group, member)) - time.monotonic()
                if deadline <= time.monotonic():
                    break
                self._changed.wait(max(0.001, left))
            return [Event(str(index + 1), log[index]) for index in taken]

    @staticmethod
    def _take(log: list[bytes], group: _Group, member: Member, count: int) -> list[int]:
        now = time.monotonic()
        old = now - member.claim_after_s
        late = [index for index, (name, since) in group.held.items() if since <= old and name != member.name]
        taken = late[:count] or list(range(group.position, min(len(log), group.position + count)))
        group.position = max([group.position, *(index + 1 for index in taken)])
        group.held.update(dict.fromkeys(taken, (member.name, now)))
        return taken

    @staticmethod
    def _next_claim(group: _Group, member: Member) -> float:
        since = [when for name, when in group.held.values() if name != member.name]
        return min(since, default=float("inf")) + member.claim_after_s

    def ack(self, topic: str, member: Member, ids: Sequence[str]) -> None:
        """See ``StreamLog.ack``."""
        with self._changed:
            held = self._group(topic, member).held
            for event_id in ids:
                held.pop(int(event_id) - 1, None)
            self._changed.notify_all()

    def settled(self, topic: str, member: Member) -> bool:
        """See ``StreamLog.settled``."""
        with self._changed:
            group = self._group(topic, member)
            busy = any(name != member.name for name, _ in group.held.values())
            return not busy and group.position >= len(self._topic(topic).events)

    def rewind(self, topic: str, member: Member, after: str) -> None:
        """See ``StreamLog.rewind``."""
        with self._changed:
            self._topic(topic).groups[member.group] = _Group(int(after))
            self._changed.notify_all()

    def remove(self, topic: str) -> None:
        """See ``StreamLog.remove``."""
        with self._changed:
            self._topics.pop(topic, None)

    def close(self) -> None:
        """Nothing to let go of."""

    def _topic(self, topic: str) -> _Topic:
        return self._topics.setdefault(topic, _Topic())

    def _group(self, topic: str, member: Member) -> _Group:
        return self._topic(topic).groups.setdefault(member.group, _Group())


_local: dict[str, LocalLog] = {}
_lock = threading.Lock()


def local_log(name: str) -> LocalLog:
    """The log called ``name`` of this process."""
    with _lock:
        return _local.setdefault(name, LocalLog())


def forget_local_logs() -> Iterator[str]:
    """Forget all logs of this process (for tests); their names."""
    with _lock:
        names = list(_local)
        _local.clear()
    return iter(names)
