"""Objects in Redis, Valkey or a Redis Cluster.

Strategy: an ordinary value is one SET under ``prefix + key``; a large one is written in pieces (``redis_chunks``).
Lifetimes are the server's own (PX), also of what was put without one (``redis_lease``). Nothing outside the prefix is
ever touched, and no server is ever flushed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from fedproxy.errors import ConfigError, StoreClosedError, StoreError
from fedproxy.store.connectors import redis_chunks as chunks
from fedproxy.store.connectors import redis_keys
from fedproxy.store.connectors.base import Buffer, Entry, Parts, Span, check_key, check_keys, new_key, new_keys, parts_nbytes
from fedproxy.store.connectors.redis_batch import get_many, put_many, run_many
from fedproxy.store.connectors.redis_client import Command, RedisClient, Value
from fedproxy.store.connectors.redis_config import RedisConfig, parse_url
from fedproxy.store.connectors.redis_lease import Lease
from fedproxy.store.connectors.redis_ranges import get_ranges
from fedproxy.store.connectors.redis_wait import channel, wait_for
from fedproxy.store.connectors.redis_wire import CRLF, JOIN_BYTES, Reply, encode

GONE_RETRIES = 3
"""How often a value that was replaced while it was read is read again."""
BATCHED_BYTES = 256 * 1024
"""Larger values are not joined into pipelines."""
REACHABLE_S = 0.9


def connect(url: str) -> RedisConnector:
    """The connector for a Redis URL."""
    return RedisConnector(parse_url(url))


class RedisConnector:
    """Bytes by key in Redis. Safe for threads; after a fork the child dials anew."""

    in_memory = False

    def __init__(self, config: RedisConfig) -> None:
        self.config = config
        self.url = config.url
        self._prefix = config.prefix.encode()
        self._above = config.chunk_above_bytes
        self._client = RedisClient(config)
        self._lease = Lease(self._client)
        self._closed = False

    @property
    def client(self) -> RedisClient:
        """Commands to the server, for streams and tools.

        Raises:
            StoreClosedError: after ``close``.
        """
        if self._closed:
            raise StoreClosedError("this store was closed", store=self.url)
        return self._client

    # one object

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        """Write; see ``Connector.put``."""
        nbytes = parts_nbytes(parts)
        ttl_ms = self._lease.ttl_ms(ttl_s)
        named = key is not None
        key = new_key() if key is None else check_key(key)
        name = self._prefix + key.encode()
        if nbytes > self._above or (nbytes == chunks.MANIFEST_BYTES and chunks.looks_like_manifest(parts)):
            manifest = self._put_large(name, parts, ttl_ms, named=named)
        else:
            manifest = None
            setting = _setting(name, parts, nbytes, ttl_ms)
            self._replace(name, setting) if named else self.client.ask(name, setting)
        if ttl_s is None:
            self._lease.own([name], manifest)
        elif named:
            self._lease.disown([name])
        return key

    def _put_large(self, name: bytes, parts: Parts, ttl_ms: int | None, *, named: bool) -> chunks.Manifest:
        """Write the pieces, then their manifest."""
        key = name[len(self._prefix) :]
        manifest = chunks.write(self.client, key, parts, ttl_ms)
        setting = _setting(name, [manifest.pack()], chunks.MANIFEST_BYTES, ttl_ms)
        try:
            if named:
                self._replace(name, setting)
            else:
                self.client.ask(name, setting)
        except BaseException:
            with suppress(StoreError):
                chunks.remove(self.client, manifest.names(self._prefix, key))
            raise
        return manifest

    def _replace(self, name: bytes, setting: Command) -> None:
        """Write under a key that may be there already and that others may wait for."""
        news = encode(b"PUBLISH", channel(name), b"1")
        before, done, _ = self.client.ask_all(name, [_look(name), setting, news])
        self.client.accepted(done)
        self._remove_pieces(name, before)

    def get(self, key: str) -> Buffer | None:
        """Read; see ``Connector.get``."""
        name = self._prefix + check_key(key).encode()
        value = self.client.ask(name, b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name))
        if type(value) is bytearray and len(value) != chunks.MANIFEST_BYTES:
            return value
        return self._whole(name, value)

    def _whole(self, name: bytes, value: Reply) -> Buffer | None:
        """The object whose key holds ``value``."""
        for _ in range(GONE_RETRIES):
            manifest = chunks.manifest_in(value)
            if manifest is None:
                return value if isinstance(value, bytearray | memoryview) else None
            if (whole := chunks.read(self.client, name[len(self._prefix) :], manifest)) is not None:
                return whole
            value = self.client.ask(name, encode(b"GET", name))
        return None

    def get_range(self, key: str, start: int, length: int) -> Buffer | None:
        """Part of an object; see ``SupportsRange.get_range``."""
        name = self._prefix + check_key(key).encode()
        span = encode(b"GETRANGE", name, b"%d" % start, b"%d" % (start + length - 1))
        there, head, part = self.client.ask_all(name, [encode(b"EXISTS", name), _look(name), span])
        if self.client.accepted(there) != 1:
            return None
        if (manifest := chunks.manifest_in(head)) is not None:
            return chunks.read_range(self.client, name[len(self._prefix) :], manifest, start, length)
        return part if length and isinstance(part, bytearray | memoryview) else b""

    def get_ranges(self, spans: Sequence[Span]) -> list[Buffer | None]:
        """Parts of many objects, as pipelines."""
        return get_ranges(self.client, self._prefix, spans)

    def exists(self, key: str) -> bool:
        """Whether it is there."""
        name = self._prefix + check_key(key).encode()
        return self.client.ask(name, encode(b"EXISTS", name)) == 1

    def evict(self, key: str) -> None:
        """Forget it."""
        name = self._prefix + check_key(key).encode()
        before, gone = self.client.ask_all(name, [_look(name), encode(b"UNLINK", name)])
        self.client.accepted(gone)
        self._lease.disown([name])
        self._remove_pieces(name, before)

    def touch(self, key: str, ttl_s: float | None) -> bool:
        """Let it live ``ttl_s`` from now, or for ever."""
        name = self._prefix + check_key(key).encode()
        ttl_ms = None if ttl_s is None else self._lease.ttl_ms(ttl_s)
        change = encode(b"PERSIST", name) if ttl_ms is None else encode(b"PEXPIRE", name, b"%d" % ttl_ms)
        head, there = self.client.ask_all(name, [_look(name), encode(b"EXISTS", name)])
        if self.client.accepted(there) != 1:
            return False
        if (manifest := chunks.manifest_in(head)) is not None:
            chunks.keep(self.client, manifest.names(self._prefix, key.encode()), ttl_ms)
        self.client.ask(name, change)
        self._lease.disown([name])
        return True

    def wait(self, key: str, timeout_s: float | None) -> bool:
        """Block until it is there; False when the time has passed."""
        return wait_for(self.client, self._prefix + check_key(key).encode(), timeout_s)

    def _remove_pieces(self, name: bytes, before: Reply) -> None:
        if (manifest := chunks.manifest_in(before)) is not None:
            chunks.remove(self.client, manifest.names(self._prefix, name[len(self._prefix) :]))

    # many

    def put_batch(
        self, items: Sequence[Parts], *, keys: Sequence[str] | None = None, ttl_s: float | None = None
    ) -> list[str]:
        """``put`` for each, as pipelines; large ones and named ones one by one."""
        if keys is not None:
            return [self.put(parts, key=key, ttl_s=ttl_s) for parts, key in zip(items, keys, strict=True)]
        made = new_keys(len(items))
        small = [index for index, parts in enumerate(items) if parts_nbytes(parts) <= BATCHED_BYTES]
        self._put_many([made[index] for index in small], [b"".join(items[index]) for index in small], ttl_s)
        for index in sorted(set(range(len(items))).difference(small)) if len(small) < len(items) else ():
            self.put(items[index], key=made[index], ttl_s=ttl_s)
        return made

    def put_small(self, items: Sequence[bytes], *, ttl_s: float | None = None) -> list[str]:
        """``put_batch`` for small items that are whole already."""
        made = new_keys(len(items))
        self._put_many(made, items, ttl_s)
        return made

    def _put_many(self, keys: Sequence[str], values: Sequence[bytes], ttl_s: float | None) -> None:
        names = [self._prefix + key.encode() for key in keys]
        put_many(self.client, names, values, self._lease.ttl_ms(ttl_s))
        if ttl_s is None:
            self._lease.own(names)

    def get_batch(self, keys: Sequence[str]) -> list[Buffer | None]:
        """``get`` for each, as pipelines."""
        names = self._names(keys)
        values = get_many(self.client, names)
        plain = chunks.MANIFEST_BYTES
        return [
            value if type(value) is bytearray and len(value) != plain else self._whole(name, value)
            for name, value in zip(names, values, strict=True)
        ]

    def exists_batch(self, keys: Sequence[str]) -> list[bool]:
        """``exists`` for each, as pipelines."""
        names = self._names(keys)
        return [reply == 1 for reply in run_many(self.client, names, [encode(b"EXISTS", name) for name in names])]

    def evict_batch(self, keys: Sequence[str]) -> None:
        """``evict`` for each, as pipelines."""
        names = self._names(keys)
        before = run_many(self.client, names, [_look(name) for name in names])
        run_many(self.client, names, [encode(b"UNLINK", name) for name in names])
        self._lease.disown(names)
        for name, value in zip(names, before, strict=True):
            self._remove_pieces(name, value)

    def _names(self, keys: Sequence[str]) -> list[bytes]:
        prefix = self._prefix
        return [prefix + key.encode() for key in check_keys(keys)]

    # the store as a whole

    def entries(self) -> Iterator[Entry]:
        """Every live object."""
        return redis_keys.entries(self.client)

    def gc(self) -> int:
        """Remove pieces without an owner; how many. What has a lifetime the server removes itself."""
        return redis_keys.remove(self.client, redis_keys.orphans(self.client))

    def reachable(self) -> bool:
        """Whether a server answers a login within a second."""
        for server in self.config.servers:
            with suppress(StoreError, ConfigError):
                self._client.pool(server).dial(REACHABLE_S).close()
                return True
        return False

    def close(self, *, clear: bool = False) -> None:
        """Hang up; ``clear`` removes what is under the prefix."""
        if self._closed:
            return
        self._lease.stop()
        try:
            if clear:
                redis_keys.remove(self._client, redis_keys.names(self._client))
        finally:
            self._closed = True
            self._client.close()


def _look(name: bytes) -> bytes:
    """The command that shows whether ``name`` holds a manifest; one byte more, to tell a longer value."""
    return encode(b"GETRANGE", name, b"0", b"%d" % chunks.MANIFEST_BYTES)


def _setting(name: bytes, parts: Parts, nbytes: int, ttl_ms: int | None) -> Command:
    words, tail = (3, CRLF) if ttl_ms is None else (5, chunks.expiry(ttl_ms))
    head = b"*%d\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (words, len(name), name, nbytes)
    if nbytes <= JOIN_BYTES:
        return b"".join((head, *parts, tail))
    return Value(head, parts, nbytes, tail)
