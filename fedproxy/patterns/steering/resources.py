"""Who may use how many slots: pools of workers for kinds of tasks, and slots that move between them.

Strategy: one lock and one condition for all pools. A request is served whole and in its turn, so that one for many slots
is not starved by many for one. Nothing here polls: a request that is given up is woken by the flag it was given.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from fedproxy.errors import ConfigError
from fedproxy.patterns.steering.flags import Flag

_LOOK_S = 0.05
"""How often a plain `threading.Event` is looked at; a `Flag` says so itself."""


class ResourceCounter:
    """Slots by pool. The pool None holds what no kind of task was given.

    Args:
        total_slots: all there are; they begin in the pool None.
        task_types: names of the other pools.

    Raises:
        ConfigError: a negative number, or the name None.
    """

    def __init__(self, total_slots: int, task_types: Sequence[str] = ()) -> None:
        if total_slots < 0 or None in task_types:
            raise ConfigError("slots are a number that is not negative, and every pool has a name", hint="the pool None is there already")
        self._changed = threading.Condition()
        self._allocated: dict[str | None, int] = {None: total_slots, **dict.fromkeys(task_types, 0)}
        self._available = dict(self._allocated)
        self._turns: dict[str | None, deque[object]] = {pool: deque() for pool in self._allocated}

    @property
    def unallocated_slots(self) -> int:
        """Slots that belong to no kind of task."""
        return self._allocated[None]

    @property
    def task_types(self) -> list[str]:
        """The names of the pools."""
        return [pool for pool in self._allocated if pool is not None]

    def allocated_slots(self, task: str | None) -> int:
        """Slots of a pool, in use or not.

        Raises:
            KeyError: no such pool.
        """
        return self._allocated[self._known(task)]

    def available_slots(self, task: str | None) -> int:
        """Slots of a pool that nobody uses.

        Raises:
            KeyError: no such pool.
        """
        return self._available[self._known(task)]

    def release(self, task: str | None = None, n_slots: int = 1, rerequest: bool = False, timeout: float | None = None) -> bool:
        """Give slots back to their pool; with ``rerequest`` ask for as many again, after those who wait already.

        Returns:
            Whether the request, if there is one, was served.

        Raises:
            ValueError: more than the pool has are free then: something was released twice.
        """
        with self._changed:
            free = self._available[self._known(task)] + n_slots
            if free > self._allocated[task]:
                raise ValueError(f"{free} slots of {task!r} would be free, and it has {self._allocated[task]}: was one released twice?")
            self._available[task] = free
            self._changed.notify_all()
        return self.acquire(task, n_slots, timeout=timeout) if rerequest else True

    def acquire(self, task: str | None, n_slots: int = 1, timeout: float | None = None, cancel_if: threading.Event | None = None) -> bool:
        """Take slots of a pool; waits for its turn and until all of them are free.

        Args:
            timeout: seconds; None or a negative number waits for ever.
            cancel_if: gives up when this is set.

        Returns:
            Whether they were taken; if not, none was.

        Raises:
            KeyError: no such pool.
        """
        deadline = None if timeout is None or timeout < 0 else time.monotonic() + timeout
        turn = object()
        with self._woken_by(cancel_if), self._changed:
            turns = self._turns[self._known(task)]
            turns.append(turn)
            try:
                while cancel_if is None or not cancel_if.is_set():
                    if turns[0] is turn and self._available[task] >= n_slots:
                        self._available[task] -= n_slots
                        return True
                    rest = None if deadline is None else deadline - time.monotonic()
                    if rest is not None and rest <= 0:
                        return False
                    self._changed.wait(_shortest(rest, cancel_if))
                return False
            finally:
                turns.remove(turn)
                self._changed.notify_all()  # the next in turn

    def reallocate(
        self, task_from: str | None, task_to: str | None, n_slots: int | Literal["all"], block: bool = True,
        callback: Callable[[], object] | None = None, timeout: float | None = None, cancel_if: threading.Event | None = None,
    ) -> bool:
        """Move slots from one pool to another, as they become free.

        Args:
            n_slots: how many, or all that the pool has.
            block: False does it in a thread, and ``callback`` is called when it is done.

        Returns:
            Whether they were moved; always True without ``block``.

        Raises:
            ValueError: the two pools are one.
            KeyError: no such pool.
        """
        if self._known(task_from) == self._known(task_to):
            raise ValueError(f"slots cannot be moved from {task_from!r} to itself")
        if block:
            return self._move(task_from, task_to, n_slots, timeout, cancel_if)

        def move() -> None:
            self._move(task_from, task_to, n_slots, timeout, cancel_if)
            if callback is not None:
                callback()

        threading.Thread(target=move, name="fedproxy-reallocate", daemon=True).start()
        return True

    def _move(
        self, task_from: str | None, task_to: str | None, n_slots: int | Literal["all"], timeout: float | None, cancel_if: threading.Event | None
    ) -> bool:
        count = self._allocated[task_from] if n_slots == "all" else n_slots
        if not self.acquire(task_from, count, timeout, cancel_if):
            return False
        with self._changed:
            self._allocated[task_from] -= count
            self._allocated[task_to] += count
            self._available[task_to] += count
            self._changed.notify_all()
        return True

    def _known(self, task: str | None) -> str | None:
        if task not in self._allocated:
            raise KeyError(f"no pool called {task!r}; there are {self.task_types}")
        return task

    @contextmanager
    def _woken_by(self, event: threading.Event | None) -> Iterator[None]:
        if not isinstance(event, Flag):
            yield
            return
        with event.telling(self._wake):
            yield

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _shortest(rest: float | None, event: threading.Event | None) -> float | None:
    if event is None or isinstance(event, Flag):
        return rest
    return _LOOK_S if rest is None else min(rest, _LOOK_S)


class Reallocator(threading.Thread):
    """Gathers slots for as long as something goes on, and gives them away when it is over.

    Args:
        counter: whose slots.
        gather_from: the pool that gives.
        gather_to: the pool that gets.
        disperse_to: where they go afterwards: all that ``gather_to`` has then.
        max_slots: how many ``gather_to`` may come to have; None: no bound.
        slot_step: how many at a time.
    """

    def __init__(
        self, counter: ResourceCounter, *, gather_from: str | None, gather_to: str | None, disperse_to: str | None,
        max_slots: int | None = None, slot_step: int = 1,
    ) -> None:
        super().__init__(name="fedproxy-reallocator", daemon=True)
        self.over = Flag()
        self._counter = counter
        self._from, self._to, self._then = gather_from, gather_to, disperse_to
        self._max, self._step = max_slots, slot_step

    def run(self) -> None:
        """Gather, wait for the end, disperse."""
        counter = self._counter
        while not self.over.is_set() and (self._max is None or counter.allocated_slots(self._to) < self._max):
            counter.reallocate(self._from, self._to, self._step, cancel_if=self.over)
        self.over.wait()
        if self._to != self._then:
            counter.reallocate(self._to, self._then, "all")

    def finish(self) -> None:
        """It is over: returns when the slots were dispersed."""
        self.over.set()
        self.join()
