"""The bytes that moved: through the service as it counts them, through stores as the refs say."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

CLIENT = "client"
SERVICE = "service"


@frozen
class Move:
    """Bytes that went from one place to another: ``client``, ``service`` or a site."""

    source: str
    target: str
    size_bytes: int


@frozen
class Stage:
    """One row of the report."""

    title: str
    tasks: int
    seconds: float
    service_bytes: int
    store_bytes: int
    moves: tuple[Move, ...] = ()


def summed(moves: Iterable[Move]) -> list[Move]:
    """One move for each pair of places, largest first."""
    sizes: dict[tuple[str, str], int] = {}
    for move in moves:
        sizes[move.source, move.target] = sizes.get((move.source, move.target), 0) + move.size_bytes
    found = [Move(source, target, size) for (source, target), size in sizes.items() if size]
    return sorted(found, key=lambda move: -move.size_bytes)
