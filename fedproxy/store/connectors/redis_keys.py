"""What a Redis store holds, and what may go: listing, collecting pieces without an owner, clearing a prefix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fedproxy.store.connectors import redis_chunks as chunks
from fedproxy.store.connectors.base import Entry
from fedproxy.store.connectors.redis_batch import run_many
from fedproxy.store.connectors.redis_client import RedisClient
from fedproxy.store.connectors.redis_link import Pool
from fedproxy.store.connectors.redis_wire import Reply, encode

SCAN_COUNT = b"1000"


def names(client: RedisClient) -> Iterator[list[bytes]]:
    """Every Redis key under the prefix, in groups; pieces too. A key may come twice."""
    pattern = client.config.prefix.encode() + b"*"
    for pool in client.masters():
        cursor = b"0"
        while True:
            cursor, found = _scan(client, pool, cursor, pattern)
            if found:
                yield found
            if cursor == b"0":
                break


def _scan(client: RedisClient, pool: Pool, cursor: bytes, pattern: bytes) -> tuple[bytes, list[bytes]]:
    command = encode(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", SCAN_COUNT, b"TYPE", b"string")
    reply = client.accepted(client.run(pool, lambda wire: wire.exchange(command)), pool.server)
    if not isinstance(reply, list) or not isinstance(reply[1], list):
        return b"0", []
    return as_bytes(reply[0]), [as_bytes(item) for item in reply[1]]


def as_bytes(reply: Reply) -> bytes:
    """A bulk string as ``bytes``; empty for anything else."""
    return bytes(reply) if isinstance(reply, bytearray | memoryview) else b""


def entries(client: RedisClient) -> Iterator[Entry]:
    """Every live object, without its pieces."""
    prefix = client.config.prefix.encode()
    seen: set[bytes] = set()
    for group in names(client):
        objects = [name for name in group if b"/" not in name and name not in seen]
        seen.update(objects)
        sizes = run_many(client, objects, [encode(b"STRLEN", name) for name in objects])
        lives = run_many(client, objects, [encode(b"PTTL", name) for name in objects])
        for name, size, life in zip(objects, sizes, lives, strict=True):
            if not isinstance(size, int) or not isinstance(life, int) or life == -2:
                continue
            total = _total(client, name) if size == chunks.MANIFEST_BYTES else size
            yield Entry(name[len(prefix) :].decode(), total, life / 1000 if life >= 0 else None)


def _total(client: RedisClient, name: bytes) -> int:
    manifest = chunks.manifest_in(client.ask(name, encode(b"GET", name)))
    return manifest.total if manifest else chunks.MANIFEST_BYTES


def orphans(client: RedisClient) -> Iterator[list[bytes]]:
    """Pieces that no manifest names and that a writer was done with: left when it was killed at just the wrong moment."""
    prefix = client.config.prefix.encode()
    for group in names(client):
        pieces = [(name, owner) for name in group if (owner := chunks.owner_of(name, prefix)) is not None]
        lives = run_many(client, [n for n, _ in pieces], [encode(b"PTTL", n) for n, _ in pieces])
        lasting = [piece for piece, life in zip(pieces, lives, strict=True) if life == -1 or _is_done(life)]
        owners = sorted({prefix + key for _, (key, _) in lasting})
        heads = run_many(client, owners, [encode(b"GETRANGE", o, b"0", b"%d" % chunks.MANIFEST_BYTES) for o in owners])
        attempts = {o: m.attempt for o, head in zip(owners, heads, strict=True) if (m := chunks.manifest_in(head))}
        yield [name for name, (key, attempt) in lasting if attempts.get(prefix + key) != attempt]


def _is_done(life_ms: Reply) -> bool:
    """Whether a piece has a longer life than one that is being written."""
    return isinstance(life_ms, int) and life_ms > chunks.UNFINISHED_TTL_MS


def remove(client: RedisClient, groups: Iterable[list[bytes]]) -> int:
    """Forget Redis keys; how many there were."""
    gone = 0
    for group in groups:
        replies = run_many(client, group, [encode(b"UNLINK", name) for name in group])
        gone += sum([reply for reply in replies if isinstance(reply, int)])
    return gone
