"""What a worker runs for a chunk of a map. Imported there, so it imports nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def call_each(function: Callable[[Any], Any], values: list[Any]) -> list[Any]:
    """The results of all values, in order."""
    return [function(value) for value in values]


def call_chunk(function: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    """The results of all calls, in order."""
    return [function(*args) for args in calls]
