"""Removing what the attempts of a job may have written. Nobody writes any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from fedproxy import Store
from fedproxy.errors import FedproxyError
from fedproxy.patterns.mapreduce.outputs import discard
from fedproxy.patterns.mapreduce.places import Place, evict_all
from fedproxy.patterns.shuffle.manifest import OBJECTS, block_key, object_key
from fedproxy.store import Ref

CLEAN_UP_S = 20.0


def block_keys(shuffle: str, attempts: Mapping[str, Mapping[int, int]], layout: str, reduces: int) -> list[str]:
    """Every key that may have been written. ``attempts``: by the letter of the stage, how many there were of each index. Pure."""
    blocks = [
        block_key(shuffle, letter, index, attempt) for letter, started in attempts.items() for index, count in started.items() for attempt in range(count)
    ]
    return [object_key(block, reducer) for block in blocks for reducer in range(reduces)] if layout == OBJECTS else blocks


def remove_blocks(places: Sequence[Place], keys: Sequence[str]) -> None:
    """Remove ``keys`` from the stores of all places: from here where they can be reached, else by a task there."""
    for place in places:
        evict_all([url for url in place.stores if url in place.shared], keys)
        elsewhere = [url for url in place.stores if url not in place.shared]
        if elsewhere and keys:
            with suppress(FedproxyError, TimeoutError):
                place.executor.submit(evict_all, elsewhere, list(keys)).result(CLEAN_UP_S)


def remove_handed(refs: Iterable[Ref]) -> None:
    """Remove what was handed out as proxies from here."""
    for ref in refs:
        with suppress(FedproxyError):
            Store.from_url(ref.store).evict(ref)


def remove_unfinished(place: Place, output: str, shuffle: str) -> None:
    """Remove what unfinished attempts left in the output folder."""
    with suppress(FedproxyError, TimeoutError):
        place.executor.submit(discard, output, shuffle).result(CLEAN_UP_S)
