"""Many small values in few round trips.

Strategy: one pipeline per server, the servers in parallel, in slabs: while the replies to one are read, the server
works on the next. One server gets MGET, and without expiry MSET, which cost it half. The size of a reading slab
follows what came back, so that large values do not pile up in the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from fedproxy.store.connectors.redis_chunks import expiry
from fedproxy.store.connectors.redis_client import RedisClient, in_parallel
from fedproxy.store.connectors.redis_link import Pool
from fedproxy.store.connectors.redis_wire import Reply, ReplyError, Wire, encode

SLAB_BYTES = 256 * 1024
"""A slab is sent when it holds so many bytes."""
SLAB_COMMANDS = 2000
SET_COMMANDS = 500
FIRST_READ = 64
"""Values asked for before their size is known."""
READ_BYTES = 1024 * 1024
"""Bytes that a reading slab aims at."""


def put_many(client: RedisClient, names: Sequence[bytes], values: Sequence[bytes], ttl_ms: int | None) -> None:
    """Write small values. Raises the first refusal, when all were tried."""
    if client.config.cluster:
        run_many(client, names, _settings(names, values, ttl_ms))
    elif ttl_ms is None:
        client.run(client.masters()[0], lambda wire: _mset(client, wire, names, values))
    else:
        client.run(client.masters()[0], lambda wire: _set(client, wire, names, values, ttl_ms))


def run_many(client: RedisClient, names: Sequence[bytes], commands: Sequence[bytes]) -> list[Reply]:
    """One small command per name.

    Raises:
        StoreError: the first refusal, when all were tried.
    """
    replies: list[Reply] = [None] * len(names)

    def work_on(pool: Pool, indexes: list[int]) -> None:
        mine = [commands[index] for index in indexes]
        for index, reply in zip(indexes, client.run(pool, lambda wire: _pipelined(wire, mine)), strict=True):
            replies[index] = client.settled(commands[index], reply, pool.server)

    _on_each(client, names, work_on)
    for reply in replies:
        client.accepted(reply)
    return replies


def get_many(client: RedisClient, names: Sequence[bytes]) -> list[Reply]:
    """The values of ``names``, None where there is none."""
    values: list[Reply] = [None] * len(names)

    def work_on(pool: Pool, indexes: list[int]) -> None:
        mine = [names[index] for index in indexes]
        ask = _get_commands if client.config.cluster else _mget
        for index, value in zip(indexes, client.run(pool, lambda wire: _read_slabs(wire, mine, ask)), strict=True):
            refused = type(value) is ReplyError
            values[index] = _again(client, names[index], value, pool) if refused else value

    _on_each(client, names, work_on)
    return values


def _again(client: RedisClient, name: bytes, refusal: Reply, pool: Pool) -> Reply:
    """The value where a refusal was a redirection."""
    return client.accepted(client.settled(encode(b"GET", name), refusal, pool.server))


def _on_each(client: RedisClient, names: Sequence[bytes], work_on: Callable[[Pool, list[int]], None]) -> None:
    if not names:
        return
    if client.config.cluster:
        in_parallel([partial(work_on, *group) for group in client.by_pool(names)])
    else:
        work_on(client.masters()[0], list(range(len(names))))


def _settings(names: Sequence[bytes], values: Sequence[bytes], ttl_ms: int | None) -> list[bytes]:
    words, tail = (3, b"\r\n") if ttl_ms is None else (5, expiry(ttl_ms))
    return [
        b"*%d\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b%b" % (words, len(name), name, len(value), value, tail)
        for name, value in zip(names, values, strict=True)
    ]


def _pipelined(wire: Wire, commands: Sequence[bytes]) -> list[Reply]:
    """Replies to ``commands``; one slab is always on its way."""
    replies: list[Reply] = []
    waiting = 0
    for slab in _slabs(commands):
        wire.send(b"".join(slab))
        replies += wire.read_many(waiting)
        waiting = len(slab)
    return replies + wire.read_many(waiting)


def _set(client: RedisClient, wire: Wire, names: Sequence[bytes], values: Sequence[bytes], ttl_ms: int) -> None:
    """SETs of which nothing but success is expected. The server works on a slab while the next one is made."""
    replies: list[Reply] = []
    waiting = at = 0
    for group in [*_slabs(values, SET_COMMANDS), ()]:
        if group:
            wire.send(b"".join(_settings(names[at : at + len(group)], group, ttl_ms)))
            at += len(group)
        if not wire.read_accepted(waiting):
            replies += wire.read_many(waiting)
        waiting = len(group)
    for reply in replies:
        client.accepted(reply)


def _slabs(pieces: Sequence[bytes], most: int = SLAB_COMMANDS) -> Iterator[Sequence[bytes]]:
    start = size = 0
    for index, piece in enumerate(pieces):
        size += len(piece)
        if size >= SLAB_BYTES or index - start >= most:
            yield pieces[start : index + 1]
            start, size = index + 1, 0
    if start < len(pieces):
        yield pieces[start:]


def _mset(client: RedisClient, wire: Wire, names: Sequence[bytes], values: Sequence[bytes]) -> None:
    pairs = [
        b"$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(name), name, len(value), value)
        for name, value in zip(names, values, strict=True)
    ]
    replies: list[Reply] = []
    sent = 0
    for slab in _slabs(pairs):
        wire.send(b"*%d\r\n$4\r\nMSET\r\n%b" % (2 * len(slab) + 1, b"".join(slab)))
        sent += 1
        if sent > 1:
            replies.append(wire.read())
    replies += wire.read_many(sent - len(replies))
    for reply in replies:
        client.accepted(reply)


def _get_commands(names: Sequence[bytes]) -> bytes:
    return b"".join([b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name) for name in names])


def _mget(names: Sequence[bytes]) -> bytes:
    return encode(b"MGET", *names)


def _read_slabs(wire: Wire, names: Sequence[bytes], ask: Callable[[Sequence[bytes]], bytes]) -> list[Reply]:
    """Values in order. The next slab is asked for before the replies to the last are read."""
    values: list[Reply] = []
    asked, slab, waiting = 0, FIRST_READ, 0
    while asked < len(names) or waiting:
        group = names[asked : asked + slab]
        if group:
            wire.send(ask(group))
            asked += len(group)
        if waiting:
            came = _replies(wire, waiting, ask)
            values += came
            slab = _next_slab(slab, came)
        waiting = len(group)
    return values


def _replies(wire: Wire, count: int, ask: object) -> list[Reply]:
    if ask is not _mget:
        return wire.read_many(count)
    reply = wire.read()
    return reply if isinstance(reply, list) else [reply] * count


def _next_slab(slab: int, came: Sequence[Reply]) -> int:
    size = sum([len(value) for value in came if isinstance(value, bytearray | memoryview)])
    wanted = READ_BYTES * len(came) // max(1, size)
    return max(1, min(SLAB_COMMANDS, 2 * slab, wanted))
