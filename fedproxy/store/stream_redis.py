"""Streams over Redis Streams: one key per topic, consumer groups by the server, push by blocking reads."""

from __future__ import annotations

from collections.abc import Sequence

from fedproxy.store.connectors.redis_client import RedisClient
from fedproxy.store.connectors.redis_config import RedisConfig
from fedproxy.store.connectors.redis_keys import as_bytes
from fedproxy.store.connectors.redis_wire import Reply, ReplyError, Wire, encode
from fedproxy.store.stream_log import START, Event, Member

FIELD = b"e"
_MARGIN_S = 2.0
"""Beyond the time that the server was asked to wait."""


class RedisLog:
    """A log in Redis, Valkey or a Redis Cluster. The prefix is the store's; nothing else is touched."""

    def __init__(self, config: RedisConfig, *, max_events: int | None = None) -> None:
        self._config = config
        self._client = RedisClient(config)
        self._prefix = config.prefix.encode()
        self._max = max_events

    def _key(self, topic: str) -> bytes:
        return self._prefix + topic.encode() + b"/stream"

    def _call(self, topic: str, *words: bytes) -> Reply:
        return self._client.ask(self._key(topic), encode(*words))

    def append(self, topic: str, events: Sequence[bytes], *, ttl_s: float | None = None) -> list[str]:
        """See ``StreamLog.append``."""
        key = self._key(topic)
        limit = (b"MAXLEN", b"~", b"%d" % self._max) if self._max else ()
        commands = [encode(b"XADD", key, *limit, b"*", FIELD, event) for event in events]
        if ttl_s is not None:
            commands.append(encode(b"PEXPIRE", key, b"%d" % max(1, int(ttl_s * 1000))))
        replies = [self._client.accepted(reply) for reply in self._client.ask_all(key, commands)]
        return [as_bytes(reply).decode() for reply in replies[: len(events)]]

    def last_id(self, topic: str) -> str:
        """See ``StreamLog.last_id``."""
        key = self._key(topic)
        found = _events(self._call(topic, b"XREVRANGE", key, b"+", b"-", b"COUNT", b"1"))
        return found[0].id if found else START

    def read(self, topic: str, after: str, *, count: int, timeout_s: float) -> list[Event]:
        """See ``StreamLog.read``."""
        words = (b"XREAD", b"COUNT", b"%d" % count, *_block(timeout_s), b"STREAMS", self._key(topic), after.encode())
        return self._blocking(topic, words, timeout_s)

    def join(self, topic: str, member: Member, *, after: str) -> None:
        """See ``StreamLog.join``."""
        key = self._key(topic)
        words = (b"XGROUP", b"CREATE", key, member.group.encode(), after.encode(), b"MKSTREAM")
        (reply,) = self._client.ask_all(key, [encode(*words)])
        if not (isinstance(reply, ReplyError) and reply.code == "BUSYGROUP"):
            self._client.accepted(reply)

    def read_shared(self, topic: str, member: Member, *, count: int, timeout_s: float) -> list[Event]:
        """See ``StreamLog.read_shared``."""
        claimed = self._claimed(topic, member, count)
        if claimed:
            return claimed
        group = (b"GROUP", member.group.encode(), member.name.encode())
        wait = _block(min(timeout_s, member.claim_after_s))
        words = (b"XREADGROUP", *group, b"COUNT", b"%d" % count, *wait, b"STREAMS", self._key(topic), b">")
        return self._blocking(topic, words, timeout_s)

    def _claimed(self, topic: str, member: Member, count: int) -> list[Event]:
        """What other members have held for too long. What was removed from the log meanwhile is passed over."""
        idle = b"%d" % int(member.claim_after_s * 1000)
        who = (member.group.encode(), member.name.encode())
        reply = self._call(topic, b"XAUTOCLAIM", self._key(topic), *who, idle, b"0-0", b"COUNT", b"%d" % count)
        return _events(reply[1]) if isinstance(reply, list) and len(reply) > 1 else []

    def ack(self, topic: str, member: Member, ids: Sequence[str]) -> None:
        """See ``StreamLog.ack``."""
        if ids:
            names = [event_id.encode() for event_id in ids]
            self._call(topic, b"XACK", self._key(topic), member.group.encode(), *names)

    def settled(self, topic: str, member: Member) -> bool:
        """See ``StreamLog.settled``."""
        held = self._call(topic, b"XPENDING", self._key(topic), member.group.encode())
        if isinstance(held, list) and isinstance(held[3], list):
            names = [as_bytes(row[0]).decode() for row in held[3] if isinstance(row, list)]
            if any(name != member.name for name in names):
                return False
        for row in _rows(self._call(topic, b"XINFO", b"GROUPS", self._key(topic))):
            if as_bytes(row.get(b"name")) == member.group.encode():
                last = as_bytes(row.get(b"last-delivered-id")).decode()
                return not self.read(topic, last, count=1, timeout_s=0.0)
        return True

    def rewind(self, topic: str, member: Member, after: str) -> None:
        """See ``StreamLog.rewind``."""
        self._call(topic, b"XGROUP", b"SETID", self._key(topic), member.group.encode(), after.encode())

    def remove(self, topic: str) -> None:
        """See ``StreamLog.remove``."""
        self._call(topic, b"UNLINK", self._key(topic))

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _blocking(self, topic: str, words: tuple[bytes, ...], timeout_s: float) -> list[Event]:
        """A read that the server may answer late."""
        key = self._key(topic)

        def work(wire: Wire) -> Reply:
            wire.set_timeout(timeout_s + _MARGIN_S)
            reply = wire.exchange(encode(*words))
            wire.set_timeout(self._config.timeout_s)
            return reply

        pool = self._client.pool_for(key)
        reply = self._client.settled(encode(*words), self._client.run(pool, work), pool.server)
        found = self._client.accepted(reply, pool.server)
        if not isinstance(found, list) or not found or not isinstance(found[0], list):
            return []
        return _events(found[0][1])


def _block(timeout_s: float) -> tuple[bytes, ...]:
    """``BLOCK``; not at all where there is no time (0 would mean for ever)."""
    return (b"BLOCK", b"%d" % max(1, int(timeout_s * 1000))) if timeout_s > 0 else ()


def _events(reply: Reply) -> list[Event]:
    """``[[id, [field, value]], ...]`` as events; entries that are gone come without fields."""
    rows = [row for row in reply if isinstance(row, list)] if isinstance(reply, list) else []
    return [Event(as_bytes(row[0]).decode(), as_bytes(row[1][1])) for row in rows if isinstance(row[1], list)]


def _rows(reply: Reply) -> list[dict[bytes, Reply]]:
    """Flat lists of names and values as dictionaries."""
    rows = [row for row in reply if isinstance(row, list)] if isinstance(reply, list) else []
    return [{as_bytes(name): value for name, value in zip(row[::2], row[1::2], strict=True)} for row in rows]
