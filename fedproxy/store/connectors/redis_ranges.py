"""Parts of many values in few round trips.

Strategy: one pipeline of GETRANGE per server. A reply as long as was asked for is the part. Only a shorter one, or one that could be a
manifest, is looked at: the object ends there, is not there, or lies in pieces, and then the pieces that the span touches are read in
one more pipeline for all spans.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from fedproxy.store.connectors import redis_chunks as chunks
from fedproxy.store.connectors.base import Buffer, Span, check_key
from fedproxy.store.connectors.redis_batch import run_many
from fedproxy.store.connectors.redis_client import RedisClient
from fedproxy.store.connectors.redis_wire import Reply, encode


@frozen
class _Piece:
    """What a span takes of one piece of a value."""

    name: bytes
    first: int
    length: int


def get_ranges(client: RedisClient, prefix: bytes, spans: Sequence[Span]) -> list[Buffer | None]:
    """The parts, in order; None where there is no object."""
    names = [prefix + check_key(key).encode() for key, _, _ in spans]
    parts = run_many(client, names, [_getrange(name, start, length) for name, (_, start, length) in zip(names, spans, strict=True)])
    found: list[Buffer | None] = [_bytes(part) if span[2] else b"" for part, span in zip(parts, spans, strict=True)]
    short = [index for index, (_, _, length) in enumerate(spans) if length <= chunks.MANIFEST_BYTES or len(found[index] or b"") < length]
    if short:
        _look_closer(client, prefix, spans, [names[index] for index in short], short, found)
    return found


def _look_closer(
    client: RedisClient, prefix: bytes, spans: Sequence[Span], names: Sequence[bytes], short: Sequence[int], found: list[Buffer | None]
) -> None:
    """Settle the spans ``short`` of which the first reply was not the whole part."""
    once = list(dict.fromkeys(names))
    heads = dict(zip(once, run_many(client, once, [_getrange(name, 0, chunks.MANIFEST_BYTES + 1) for name in once]), strict=True))
    empty = [name for name in once if not heads[name]]
    there = dict(zip(empty, run_many(client, empty, [encode(b"EXISTS", name) for name in empty]), strict=True))
    in_pieces: list[int] = []
    plans: list[list[_Piece]] = []
    for index, name in zip(short, names, strict=True):
        manifest = chunks.manifest_in(heads[name])
        if there.get(name) == 0:
            found[index] = None
        elif manifest is not None:
            in_pieces.append(index)
            plans.append(_pieces(manifest, manifest.names(prefix, name[len(prefix) :]), *spans[index][1:]))
    for index, part in zip(in_pieces, _read_pieces(client, plans), strict=True):
        found[index] = part


def _pieces(manifest: chunks.Manifest, names: Sequence[bytes], start: int, length: int) -> list[_Piece]:
    """Which parts of which pieces make up a span."""
    stop = min(manifest.total, start + length)
    found = []
    for index in range(start // manifest.chunk, -(-stop // manifest.chunk)):
        base = index * manifest.chunk
        first, last = max(0, start - base), min(manifest.chunk, stop - base)
        if first < last:
            found.append(_Piece(names[index], first, last - first))
    return found


def _read_pieces(client: RedisClient, plans: Sequence[Sequence[_Piece]]) -> list[Buffer | None]:
    """The bytes of each plan; None where a piece is gone."""
    flat = [piece for plan in plans for piece in plan]
    replies = iter(run_many(client, [piece.name for piece in flat], [_getrange(piece.name, piece.first, piece.length) for piece in flat]))
    found: list[Buffer | None] = []
    for plan in plans:
        parts = [_bytes(next(replies)) for _ in plan]
        whole = all(len(part) == piece.length for part, piece in zip(parts, plan, strict=True))
        found.append((parts[0] if len(parts) == 1 else b"".join(parts)) if whole else None)
    return found


def _getrange(name: bytes, start: int, length: int) -> bytes:
    return encode(b"GETRANGE", name, b"%d" % start, b"%d" % (start + max(length, 1) - 1))


def _bytes(reply: Reply) -> Buffer:
    return reply if isinstance(reply, bytearray | memoryview) else b""
