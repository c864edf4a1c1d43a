"""One of several threads does the work, the others wait for what it gets.

Strategy: who leads holds the flight's gate, a plain lock (an Event costs more than a whole short resolution); who
follows waits to pass it. The table of work under way is locked for a dictionary access only, never while the work runs. A failure goes
to all who waited and is forgotten: the next one tries again.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any


class RecursiveFlightError(RuntimeError):
    """The work asks for its own result."""


class _Flight:
    __slots__ = ("error", "followers", "gate", "leader", "value")

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.leader = threading.get_ident()
        self.followers = 0
        self.value: Any = None
        self.error: BaseException | None = None


class SingleFlight:
    """Runs at most one call per key at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[Hashable, _Flight] = {}
        _all.add(self)

    def run(self, key: Hashable, work: Callable[[], Any]) -> tuple[Any, bool]:
        """The result of ``work``, or of the same key's work that another thread has under way.

        Returns:
            The result, and whether several threads got it.

        Raises:
            RecursiveFlightError: this very thread has that work under way.
        """
        with self._lock:
            flight = self._flights.get(key)
            mine = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight()
            else:
                flight.followers += 1
        return self._lead(key, flight, work) if mine else _follow(flight)

    def _lead(self, key: Hashable, flight: _Flight, work: Callable[[], Any]) -> tuple[Any, bool]:
        try:
            flight.value = work()
        except BaseException as exc:
            flight.error = exc
            raise
        finally:
            with self._lock:
                del self._flights[key]
            flight.gate.release()
        return flight.value, flight.followers > 0

    def forget_all(self) -> None:
        """After a fork: the threads that flew are not here."""
        self._lock = threading.Lock()
        self._flights = {}


def _follow(flight: _Flight) -> tuple[Any, bool]:
    if flight.leader == threading.get_ident():
        raise RecursiveFlightError("an object's resolution asks for the object itself")
    with flight.gate:
        pass
    if flight.error is not None:
        raise flight.error
    return flight.value, True


_all: weakref.WeakSet[SingleFlight] = weakref.WeakSet()


def _after_fork() -> None:
    for flights in list(_all):
        flights.forget_all()


os.register_at_fork(after_in_child=_after_fork)
