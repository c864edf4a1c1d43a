"""Which place gets a task. Pure: places tell what they have, the router chooses and keeps count until they tell again.

A place is whatever runs tasks and has containers: a node's manager, or one worker process of the local engine. A *kind* is a container image
(empty: none). Source: funcX (TPDS 2022), section 6.2.

Strategy: a choice costs the same for ten places and for a hundred thousand. Places are kept by how many idle containers they have of each kind,
in buckets; counts move by one, so the best bucket is always at hand.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from attrs import define, field

P = TypeVar("P", bound=Hashable)

How = Literal["warm", "start", "evict"]
_EFFORT: Mapping[How, int] = {"warm": 0, "start": 1, "evict": 2}


class Choice(NamedTuple, Generic[P]):
    """A place, and what it is expected to do: use an idle container, start one in an empty slot, or first release one of another kind."""

    place: P
    how: How


class Router(Protocol[P]):
    """Chooses places for tasks. A choice takes one container or slot of the place, until it tells of it again."""

    def advertise(self, place: P, empty: int, warm: Mapping[str, int]) -> None:
        """All that a place has to offer now: empty slots, and idle containers by kind. Replaces what it told before."""

    def freed(self, place: P, kind: str) -> None:
        """One more container of this kind is idle there. Passed over for a place that never advertised, or that left."""

    def leave(self, place: P) -> None:
        """The place is gone. Idempotent."""

    def route(self, kind: str, *, at_most: How = "evict") -> Choice[P] | None:
        """The place for a task of this kind; None: there is none, or only by doing more than ``at_most`` there."""


class Ranking(Generic[P]):
    """Places by a whole number, the highest first; among equals one that was ranked lately: the others may be let go. Zero is not ranked.

    Buckets are lists from which a place is taken by putting the last one where it was: a dict would be searched through its deleted entries.
    """

    def __init__(self) -> None:
        self._at: dict[P, tuple[int, int]] = {}
        """Place → its number and where it is in that bucket."""
        self._buckets: list[list[P]] = [[]]

    def set(self, place: P, number: int) -> None:
        """Rank a place. O(1) amortized: the numbers of a place move by small steps."""
        before, at = self._at.get(place, (0, 0))
        if before == number:
            return
        if before:
            bucket = self._buckets[before]
            last = bucket.pop()
            if at < len(bucket):
                bucket[at] = last
                self._at[last] = before, at
        if number:
            while len(self._buckets) <= number:
                self._buckets.append([])
            self._at[place] = number, len(self._buckets[number])
            self._buckets[number].append(place)
        else:
            del self._at[place]
        while len(self._buckets) > 1 and not self._buckets[-1]:
            self._buckets.pop()

    def best(self) -> P | None:
        """A place with the highest number; None while all are at zero."""
        top = self._buckets[-1]
        return top[-1] if top else None

    def __len__(self) -> int:
        return len(self._at)


@define
class Offer:
    """What a place is believed to have."""

    empty: int = 0
    warm: dict[str, int] = field(factory=dict)
    """Idle containers by kind; zero counts may be among them."""
    idle: int = 0
    """Of all kinds."""

    def expected(self, kind: str) -> How:
        """What a task of this kind meets there."""
        return "warm" if self.warm.get(kind) else "start" if self.empty else "evict"


class WarmingAware(Generic[P]):
    """Most idle containers of the kind first; then most empty slots; then, if it may, where most idle containers of other kinds are."""

    def __init__(self) -> None:
        self._offers: dict[P, Offer] = {}
        self._warm: dict[str, Ranking[P]] = {}
        self._empty: Ranking[P] = Ranking()
        self._idle: Ranking[P] = Ranking()

    def advertise(self, place: P, empty: int, warm: Mapping[str, int]) -> None:
        """See `Router`. Costs as much as the place has kinds."""
        offer = self._offers.setdefault(place, Offer())
        for kind in [kind for kind in offer.warm if kind not in warm]:
            self._set_warm(place, offer, kind, 0)
        for kind, count in warm.items():
            self._set_warm(place, offer, kind, count)
        offer.empty = empty
        self._empty.set(place, empty)

    def freed(self, place: P, kind: str) -> None:
        """See `Router`."""
        offer = self._offers.get(place)
        if offer is not None:
            self._set_warm(place, offer, kind, offer.warm.get(kind, 0) + 1)

    def leave(self, place: P) -> None:
        """See `Router`."""
        if place in self._offers:
            self.advertise(place, 0, {})
            del self._offers[place]

    def route(self, kind: str, *, at_most: How = "evict") -> Choice[P] | None:
        """See `Router`. O(1)."""
        ranking = self._warm.get(kind)
        place = ranking.best() if ranking is not None else None
        if place is not None:
            offer = self._offers[place]
            self._set_warm(place, offer, kind, offer.warm[kind] - 1)
            return Choice(place, "warm")
        place = self._empty.best() if at_most != "warm" else None
        if place is not None:
            offer = self._offers[place]
            offer.empty -= 1
            self._empty.set(place, offer.empty)
            return Choice(place, "start")
        place = self._idle.best() if at_most == "evict" else None
        if place is None:
            return None
        offer = self._offers[place]
        victim = max(offer.warm, key=offer.warm.__getitem__)
        self._set_warm(place, offer, victim, offer.warm[victim] - 1)
        return Choice(place, "evict")

    def _set_warm(self, place: P, offer: Offer, kind: str, count: int) -> None:
        before = offer.warm.get(kind, 0)
        if before == count:
            return
        if count:
            offer.warm[kind] = count
        else:
            del offer.warm[kind]
        offer.idle += count - before
        ranking = self._warm.get(kind)
        if ranking is None:
            ranking = self._warm[kind] = Ranking()
        ranking.set(place, count)
        if not len(ranking):
            del self._warm[kind]
        self._idle.set(place, offer.idle)


class RandomRouter(Generic[P]):
    """Any place with room, whatever is warm there: what warming-aware routing is compared with. O(1)."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311 - not a secret
        self._offers: dict[P, Offer] = {}
        self._open: list[P] = []
        self._at: dict[P, int] = {}

    def advertise(self, place: P, empty: int, warm: Mapping[str, int]) -> None:
        """See `Router`."""
        self._offers[place] = Offer(empty, dict(warm), sum(warm.values()))
        self._note(place)

    def freed(self, place: P, kind: str) -> None:
        """See `Router`."""
        offer = self._offers.get(place)
        if offer is not None:
            offer.warm[kind] = offer.warm.get(kind, 0) + 1
            offer.idle += 1
            self._note(place)

    def leave(self, place: P) -> None:
        """See `Router`."""
        if self._offers.pop(place, None) is not None:
            self._note(place)

    def route(self, kind: str, *, at_most: How = "evict") -> Choice[P] | None:
        """See `Router`."""
        if not self._open:
            return None
        place = self._open[self._random.randrange(len(self._open))]
        offer = self._offers[place]
        how = offer.expected(kind)
        if _EFFORT[how] > _EFFORT[at_most]:
            return None
        if how == "start":
            offer.empty -= 1
        else:
            used = kind if how == "warm" else max(offer.warm, key=offer.warm.__getitem__)
            offer.warm[used] -= 1
            offer.idle -= 1
        self._note(place)
        return Choice(place, how)

    def _note(self, place: P) -> None:
        offer = self._offers.get(place)
        has_room = offer is not None and offer.empty + offer.idle > 0
        at = self._at.get(place)
        if has_room and at is None:
            self._at[place] = len(self._open)
            self._open.append(place)
        elif not has_room and at is not None:
            last = self._open.pop()
            if last is not place:
                self._open[at] = last
                self._at[last] = at
            del self._at[place]
