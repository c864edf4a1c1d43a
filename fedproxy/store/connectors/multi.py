"""Several stores as one: each object goes to the first tier whose rule takes it.

``multi://NAME?1=URL&1.max_bytes=65536&2=URL&2.types=numpy.ndarray&2.tags=scratch`` (the tiers' URLs percent-encoded).

Strategy: the choice is a pure function of size, type, tags and what can be reached. A tier that is full or gone hands
the object on to the next one that takes it. The key says in which tier an object lies; a key that the caller chose is
looked for in all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from itertools import chain
from urllib.parse import parse_qsl, quote, urlsplit

from attrs import evolve, frozen

from fedproxy.errors import ConfigError, StoreError, StoreFullError, StoreUnavailableError
from fedproxy.store.connectors.base import (
    Buffer,
    Connector,
    Entry,
    Parts,
    SupportsList,
    SupportsReachable,
    SupportsTouch,
    check_key,
    parts_nbytes,
)
from fedproxy.store.connectors.registry import connector_from_url

MARK = "~"
LOOK_AGAIN_S = 30.0
"""How long a tier counts as reachable or not before it is asked again."""


@frozen
class Asked:
    """What is known of an object when its place is chosen."""

    size_bytes: int = 0
    type_name: str = ""
    tags: frozenset[str] = frozenset()


@frozen
class Rule:
    """What a tier takes. Empty ``types`` takes any; an object's tags must all be among ``tags``."""

    min_bytes: int = 0
    max_bytes: int | None = None
    types: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    def takes(self, asked: Asked) -> bool:
        """Whether an object may lie here."""
        return (
            self.min_bytes <= asked.size_bytes
            and (self.max_bytes is None or asked.size_bytes <= self.max_bytes)
            and (not self.types or asked.type_name in self.types)
            and asked.tags <= self.tags
        )


def choose(rules: Sequence[Rule], asked: Asked, reachable: Sequence[bool]) -> list[int]:
    """The tiers that may hold an object, best first: those that take it and can be reached, in the order of the URL."""
    return [index for index, rule in enumerate(rules) if reachable[index] and rule.takes(asked)]


_asked: ContextVar[Asked] = ContextVar("fedproxy_placing", default=Asked())  # noqa: B039 - frozen


@contextmanager
def placing(*, type_name: str | None = None, tags: Sequence[str] | None = None) -> Iterator[None]:
    """What is put in this block has this type name and these tags, for the rules to see."""
    before = _asked.get()
    after = evolve(
        before,
        type_name=before.type_name if type_name is None else type_name,
        tags=before.tags if tags is None else frozenset(tags),
    )
    token = _asked.set(after)
    try:
        yield
    finally:
        _asked.reset(token)


def connect(url: str) -> MultiConnector:
    """The connector for a ``multi://`` URL."""
    name, tiers = parse_url(url)
    return MultiConnector(name, [(connector_from_url(tier), rule) for tier, rule in tiers])


def parse_url(url: str) -> tuple[str, list[tuple[str, Rule]]]:
    """Name, and URL and rule of each tier.

    Raises:
        ConfigError: no tiers, or an option that is not understood.
    """
    split = urlsplit(url)
    options = dict(parse_qsl(split.query))
    numbers = sorted((name for name in options if name.isdecimal()), key=int)
    if not numbers:
        raise ConfigError("multi:// needs tiers", hint="multi://NAME?1=URL&1.max_bytes=65536&2=URL")
    for option in options:
        number, _, field = option.partition(".")
        if number not in numbers or field not in ("", "min_bytes", "max_bytes", "types", "tags"):
            raise ConfigError(f"multi:// has no option {option!r}", hint="N, N.min_bytes, N.max_bytes, N.types, N.tags")
    return split.netloc, [(options[number], _rule(options, number)) for number in numbers]


def _rule(options: dict[str, str], number: str) -> Rule:
    def names(field: str) -> frozenset[str]:
        return frozenset(filter(None, options.get(f"{number}.{field}", "").split(",")))

    try:
        most = options.get(f"{number}.max_bytes")
        least = int(options.get(f"{number}.min_bytes", "0"))
        return Rule(least, None if most is None else int(most), names("types"), names("tags"))
    except ValueError as exc:
        raise ConfigError(f"tier {number} of multi://: sizes are whole numbers of bytes") from exc


def make_url(name: str, tiers: Sequence[tuple[str, Rule]]) -> str:
    """The URL of a multi store."""
    options: list[str] = []
    for number, (url, rule) in enumerate(tiers, 1):
        options.append(f"{number}={quote(url, safe='')}")
        if rule.min_bytes:
            options.append(f"{number}.min_bytes={rule.min_bytes}")
        if rule.max_bytes is not None:
            options.append(f"{number}.max_bytes={rule.max_bytes}")
        for field, names in (("types", rule.types), ("tags", rule.tags)):
            if names:
                options.append(f"{number}.{field}={quote(','.join(sorted(names)), safe=',')}")
    return f"multi://{name}?" + "&".join(options)


class MultiConnector:
    """Several connectors behind one."""

    def __init__(self, name: str, tiers: Sequence[tuple[Connector, Rule]]) -> None:
        self.tiers = [connector for connector, _ in tiers]
        self.rules = [rule for _, rule in tiers]
        self.url = make_url(name, [(connector.url, rule) for connector, rule in tiers])
        self.in_memory = all(connector.in_memory for connector in self.tiers)
        self._seen: dict[int, tuple[float, bool]] = {}

    def placing(self, *, type_name: str, tags: Sequence[str]) -> AbstractContextManager[None]:
        """What is put in this block has this type name and these tags, for the rules to see."""
        return placing(type_name=type_name, tags=tags)

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        """Write into the first tier that takes it; see ``Connector.put``.

        Raises:
            StoreError: no tier takes such an object.
        """
        asked = evolve(_asked.get(), size_bytes=parts_nbytes(parts))
        inner = None if key is None else self._split(key)[1]
        last: StoreError = StoreError("no tier takes this object", key=key, store=self.url, hint=f"its rules: {asked}")
        for index in self._wanted(key, asked):
            try:
                made = self.tiers[index].put(parts, key=inner, ttl_s=ttl_s)
            except (StoreFullError, StoreUnavailableError) as exc:
                last = exc
                continue
            if key is not None:
                self._forget_elsewhere(key, index)
            return f"{index}{MARK}{made}" if key is None else key
        raise last

    def _wanted(self, key: str | None, asked: Asked) -> list[int]:
        index = None if key is None else self._split(key)[0]
        if index is not None:
            return [index]
        return choose(self.rules, asked, [self._reachable(tier) for tier in range(len(self.tiers))])

    def _forget_elsewhere(self, key: str, kept: int) -> None:
        for index, inner in self._places(key):
            if index != kept and self._reachable(index):
                self.tiers[index].evict(inner)

    def _split(self, key: str) -> tuple[int | None, str]:
        """The tier that a key names, and the key there."""
        number, mark, inner = check_key(key).partition(MARK)
        if mark and number.isdecimal() and int(number) < len(self.tiers):
            return int(number), inner
        return None, key

    def _places(self, key: str) -> list[tuple[int, str]]:
        index, inner = self._split(key)
        return [(tier, inner) for tier in (range(len(self.tiers)) if index is None else [index])]

    def _reachable(self, index: int) -> bool:
        tier = self.tiers[index]
        if not isinstance(tier, SupportsReachable):
            return True
        when, answer = self._seen.get(index, (0.0, False))
        if not when or time.monotonic() - when > LOOK_AGAIN_S:
            answer = tier.reachable()
            self._seen[index] = (time.monotonic(), answer)
        return answer

    def get(self, key: str) -> Buffer | None:
        """Read from the tier that holds it. A tier that is gone matters only where no other has the object."""
        failure: StoreUnavailableError | None = None
        for index, inner in self._places(key):
            try:
                found = self.tiers[index].get(inner)
            except StoreUnavailableError as exc:
                failure = exc
                continue
            if found is not None:
                return found
        if failure is not None:
            raise failure
        return None

    def exists(self, key: str) -> bool:
        """Whether a tier holds it."""
        return any(self.tiers[index].exists(inner) for index, inner in self._places(key))

    def evict(self, key: str) -> None:
        """Forget it in every tier."""
        for index, inner in self._places(key):
            self.tiers[index].evict(inner)

    def touch(self, key: str, ttl_s: float | None) -> bool:
        """Change its lifetime where it lies."""
        places = [(self.tiers[index], inner) for index, inner in self._places(key)]
        return any([tier.touch(inner, ttl_s) for tier, inner in places if isinstance(tier, SupportsTouch)])  # noqa: C419

    def entries(self) -> Iterator[Entry]:
        """Every live object of the tiers that can list theirs."""
        lists = [
            (f"{index}{MARK}{entry.key}", entry)
            for index, tier in enumerate(self.tiers)
            if isinstance(tier, SupportsList)
            for entry in tier.entries()
        ]
        return chain(evolve(entry, key=key) for key, entry in lists)

    def gc(self) -> int:
        """Collect in every tier."""
        return sum(tier.gc() for tier in self.tiers if isinstance(tier, SupportsList))

    def reachable(self) -> bool:
        """Whether any tier can be reached."""
        return any(self._reachable(index) for index in range(len(self.tiers)))

    def close(self, *, clear: bool = False) -> None:
        """Close every tier."""
        for tier in self.tiers:
            tier.close(clear=clear)
