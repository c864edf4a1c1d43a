"""Large values in pieces of about a megabyte: how they are named, written and read.

Strategy: one value becomes many keys, spread evenly over the shards by hash tags, then one small manifest under the
object's own key, written last: a reader sees all or nothing. Pieces of a megabyte stay in the caches of both
processes; a few are kept on the way at a time, so that the server never queues a whole object. Every writing has its
own random name for its pieces: a replaced object never mixes with its successor.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from attrs import frozen

from fedproxy.errors import StoreError
from fedproxy.store.connectors.base import Buffer, Parts, parts_nbytes
from fedproxy.store.connectors.redis_client import RedisClient, Value, in_parallel, send
from fedproxy.store.connectors.redis_link import Pool
from fedproxy.store.connectors.redis_slots import spread_tags
from fedproxy.store.connectors.redis_wire import Reply, ReplyError, Wire, allocate, encode

MAGIC = b"\xfdfpchnk1"
_LAYOUT = struct.Struct(">8s6sQI")
MANIFEST_BYTES = _LAYOUT.size
ON_THE_WAY = 4
"""Chunks asked for and not yet received, per server."""
UNFINISHED_TTL_MS = 3_600_000
"""Pieces of a writer that dies before its manifest is written go after this time."""


@frozen
class Manifest:
    """What stands under the key of an object in pieces."""

    attempt: bytes
    total: int
    chunk: int

    def pack(self) -> bytes:
        """As bytes."""
        return _LAYOUT.pack(MAGIC, self.attempt, self.total, self.chunk)

    @property
    def count(self) -> int:
        """How many pieces."""
        return -(-self.total // self.chunk)

    def names(self, prefix: bytes, key: bytes) -> list[bytes]:
        """The Redis keys of the pieces, in order."""
        end = b"}" + key + b"/" + self.attempt.hex().encode() + b"/"
        tags = spread_tags(self.count, self.attempt[0])
        return [b"%b{%b%b%d" % (prefix, tag, end, index) for index, tag in enumerate(tags)]

    def span(self, index: int) -> slice:
        """Where piece ``index`` lies in the value."""
        return slice(index * self.chunk, min(self.total, (index + 1) * self.chunk))


def manifest_in(value: Reply) -> Manifest | None:
    """The manifest that ``value`` is, or None for an ordinary value."""
    if not isinstance(value, bytearray | memoryview) or len(value) != MANIFEST_BYTES:
        return None
    magic, attempt, total, chunk = _LAYOUT.unpack(value)
    return Manifest(attempt, total, chunk) if magic == MAGIC else None


def looks_like_manifest(parts: Parts) -> bool:
    """Whether an ordinary value could be taken for one: it is then written in pieces itself."""
    return b"".join(bytes(memoryview(part).cast("B")[: len(MAGIC)]) for part in parts[:8]).startswith(MAGIC)


def owner_of(name: bytes, prefix: bytes) -> tuple[bytes, bytes] | None:
    """``(key, attempt)`` of the piece called ``name``; None for the name of an object."""
    if not name.startswith(prefix + b"{"):
        return None
    key, attempt, _ = name[len(prefix) :].partition(b"}")[2].split(b"/")
    return key, bytes.fromhex(attempt.decode())


def write(client: RedisClient, key: bytes, parts: Parts, ttl_ms: int | None) -> Manifest:
    """Write all pieces of a value. On failure none are left.

    Raises:
        StoreFullError: ``maxmemory``.
        StoreUnavailableError: a server is gone.
    """
    prefix = client.config.prefix.encode()
    manifest = Manifest(os.urandom(6), parts_nbytes(parts), client.config.chunk_bytes)
    names = manifest.names(prefix, key)
    brief = UNFINISHED_TTL_MS if ttl_ms is None else min(ttl_ms, UNFINISHED_TTL_MS)
    tail = expiry(brief)
    pieces = _cut(parts, manifest)
    commands = [
        Value(b"*5\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (len(name), name, nbytes), piece, nbytes, tail)
        for name, (piece, nbytes) in zip(names, pieces, strict=True)
    ]
    groups = client.by_pool(names)
    try:
        in_parallel([partial(_write_to, client, commands, *group) for group in groups])
        if ttl_ms != brief:
            keep(client, names, ttl_ms)
    except BaseException:
        with suppress(StoreError):
            remove(client, names)
        raise
    return manifest


def expiry(ttl_ms: int) -> bytes:
    """The end of a SET of five words that makes the value expire."""
    digits = b"%d" % ttl_ms
    return b"\r\n$2\r\nPX\r\n$%d\r\n%b\r\n" % (len(digits), digits)


def _cut(parts: Parts, manifest: Manifest) -> list[tuple[list[Buffer], int]]:
    """``parts`` as pieces of the chunk size, without a copy."""
    pieces: list[tuple[list[Buffer], int]] = []
    current: list[Buffer] = []
    room = manifest.chunk
    for part in parts:
        view = memoryview(part).cast("B")
        while len(view) >= room:
            pieces.append(([*current, view[:room]], manifest.chunk))
            view, current, room = view[room:], [], manifest.chunk
        if len(view):
            current.append(view)
            room -= len(view)
    if current:
        pieces.append((current, manifest.chunk - room))
    return pieces


def _write_to(client: RedisClient, commands: Sequence[Value], pool: Pool, indexes: list[int]) -> None:
    def work(wire: Wire) -> list[Reply]:
        replies: list[Reply] = []
        for position, index in enumerate(indexes):
            send(wire, commands[index])
            if position >= 2 * ON_THE_WAY:
                replies.append(wire.read())
                if isinstance(replies[-1], ReplyError) and replies[-1].code == "OOM":
                    return [*replies, *wire.read_many(2 * ON_THE_WAY)]
        return replies + wire.read_many(len(indexes) - len(replies))

    for index, reply in zip(indexes, client.run(pool, work), strict=False):
        client.accepted(client.settled(commands[index], reply, pool.server), pool.server)


def read(client: RedisClient, key: bytes, manifest: Manifest) -> memoryview | None:
    """The value, received into place; None where a piece is gone (expired, evicted, replaced)."""
    names = manifest.names(client.config.prefix.encode(), key)
    dest = allocate(manifest.total)
    groups = client.by_pool(names)
    wanted = [(encode(b"GET", name), dest[manifest.span(index)]) for index, name in enumerate(names)]
    whole = in_parallel([partial(_read_from, client, wanted, *group) for group in groups])
    return dest if all(whole) else None


def _read_from(
    client: RedisClient, wanted: Sequence[tuple[bytes, memoryview]], pool: Pool, indexes: list[int]
) -> bool:
    commands = [wanted[index][0] for index in indexes]

    def work(wire: Wire) -> list[Reply]:
        replies: list[Reply] = []
        wire.send(b"".join(commands[:ON_THE_WAY]))
        for position, index in enumerate(indexes):
            if ahead := commands[position + ON_THE_WAY : position + ON_THE_WAY + 1]:
                wire.send(ahead[0])
            replies.append(wire.read_into(wanted[index][1]))
        return replies

    replies = client.run(pool, work)
    return all(_placed(client, pool, *wanted[index], reply) for index, reply in zip(indexes, replies, strict=True))


def _placed(client: RedisClient, pool: Pool, command: bytes, dest: memoryview, reply: Reply) -> bool:
    """Whether the piece is in ``dest``; follows a redirection."""
    if isinstance(reply, int):
        return True
    value = client.accepted(client.settled(command, reply, pool.server), pool.server)
    if not isinstance(value, bytearray | memoryview) or len(value) != len(dest):
        return False
    dest[:] = value
    return True


def read_range(client: RedisClient, key: bytes, manifest: Manifest, start: int, length: int) -> bytes | None:
    """Bytes ``start`` to ``start + length`` of a value in pieces, reading only those that are touched."""
    names = manifest.names(client.config.prefix.encode(), key)
    stop = min(manifest.total, start + length)
    parts: list[bytes] = []
    for index in range(start // manifest.chunk, -(-stop // manifest.chunk)):
        base = index * manifest.chunk
        first, last = max(0, start - base), min(manifest.chunk, stop - base) - 1
        part = client.ask(names[index], encode(b"GETRANGE", names[index], b"%d" % first, b"%d" % last))
        if not isinstance(part, bytearray | memoryview) or len(part) != last - first + 1:
            return None
        parts.append(bytes(part))
    return b"".join(parts)


def remove(client: RedisClient, names: Sequence[bytes]) -> None:
    """Forget pieces."""
    _each(client, names, [encode(b"UNLINK", name) for name in names])


def keep(client: RedisClient, names: Sequence[bytes], ttl_ms: int | None = None) -> None:
    """Let pieces live ``ttl_ms`` from now, or for ever."""
    if ttl_ms is None:
        _each(client, names, [encode(b"PERSIST", name) for name in names])
    else:
        _each(client, names, [encode(b"PEXPIRE", name, b"%d" % ttl_ms) for name in names])


def _each(client: RedisClient, names: Sequence[bytes], commands: Sequence[bytes]) -> None:
    """Small commands, one per name, as one pipeline per server."""

    def work_on(pool: Pool, indexes: list[int]) -> None:
        def work(wire: Wire) -> list[Reply]:
            wire.send(b"".join([commands[index] for index in indexes]))
            return wire.read_many(len(indexes))

        for index, reply in zip(indexes, client.run(pool, work), strict=True):
            client.accepted(client.settled(commands[index], reply, pool.server), pool.server)

    in_parallel([partial(work_on, *group) for group in client.by_pool(names)])
