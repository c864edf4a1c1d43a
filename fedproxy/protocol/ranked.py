"""A queue by priority: higher first, first in first out among equals. Pure.

Strategy: one deque for each priority that is in use, and a heap of those priorities. Putting in and taking out cost the logarithm of the number of
different priorities, however many items wait; with one priority, nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


class Ranked(Generic[T]):
    """Items in the order in which they are to be taken."""

    def __init__(self) -> None:
        self._lanes: dict[int, deque[T]] = {}
        self._order: list[int] = []
        """A heap of the negated priorities in use."""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for negated in sorted(self._order):
            yield from self._lanes[-negated]

    def items(self) -> Iterator[tuple[T, int]]:
        """Items in order, each with its priority."""
        for negated in sorted(self._order):
            for item in self._lanes[-negated]:
                yield item, -negated

    def push(self, item: T, priority: int) -> None:
        """Put an item behind those of its priority."""
        self._lane(priority).append(item)

    def push_front(self, item: T, priority: int) -> None:
        """Put an item before those of its priority."""
        self._lane(priority).appendleft(item)

    def _lane(self, priority: int) -> deque[T]:
        self._length += 1
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = deque()
            heappush(self._order, -priority)
        return lane

    def peek(self) -> T:
        """The next item, which stays.

        Raises:
            IndexError: there is none.
        """
        return self._lanes[-self._order[0]][0]

    def pop(self) -> tuple[T, int]:
        """Take the next item, with its priority.

        Raises:
            IndexError: there is none.
        """
        priority = -self._order[0]
        lane = self._lanes[priority]
        item = lane.popleft()
        self._length -= 1
        if not lane:
            del self._lanes[priority]
            heappop(self._order)
        return item, priority

    def take_out(self, wanted: Callable[[T, int], bool]) -> list[T]:
        """Remove all items of which ``wanted(item, priority)`` is true; looks at every item."""
        found: list[T] = []
        for priority, lane in list(self._lanes.items()):
            kept: deque[T] = deque()
            for item in lane:
                (found if wanted(item, priority) else kept).append(item)
            if kept:
                self._lanes[priority] = kept
            else:
                del self._lanes[priority]
        if found:
            self._order = [-priority for priority in self._lanes]
            heapify(self._order)
            self._length -= len(found)
        return found
