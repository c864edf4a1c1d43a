"""Counting words: what runs at the sites, and the plain count it is checked against."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_WORD = re.compile(r"[^\W\d_]+")


def count_words(text: str) -> Counter[str]:
    """How often each word occurs, whatever its case (the map task)."""
    return Counter(_WORD.findall(text.lower()))


def add_counts(counts: Iterable[Counter[str]]) -> Counter[str]:
    """The sum of counts (the reduce task). They may be proxies: each is fetched when its turn comes."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(dict(each))
    return total


def plain_count(texts: Iterable[str]) -> Counter[str]:
    """The same answer by one plain loop in one process."""
    total: Counter[str] = Counter()
    for text in texts:
        total.update(match.group() for match in _WORD.finditer(text.lower()))
    return total
