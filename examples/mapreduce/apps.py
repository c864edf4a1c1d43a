"""The three jobs. Each is a few lines; what is around them is input, places and checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fedproxy.patterns import mapreduce
from fedproxy.patterns.mapreduce import Batch, Job


def words_of(batch: Batch) -> Counter[bytes]:
    """How often each word occurs; words are what white space parts."""
    return Counter(batch.data.split())


def files_of_words(batch: Batch) -> Mapping[bytes, frozenset[str]]:
    """The words of a file, each with the file's name."""
    return dict.fromkeys(set(batch.data.split()), frozenset([batch.url]))


def both(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    """The files of either."""
    return one | other


def in_order(_word: bytes, files: frozenset[str]) -> list[str]:
    """Files in the order of their names."""
    return sorted(files)


JOBS: Mapping[str, Job] = {
    "wordcount": mapreduce.counts(words_of, name="wordcount"),
    "sort": mapreduce.sorted_lines(),
    "index": mapreduce.pairs(batched=files_of_words, combiner=both, reducer=in_order, ordered=True, name="index"),
}
