"""Results that wait to be taken, by topic."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from fedproxy.errors import ConfigError
from fedproxy.patterns.steering.result import Result


class Inboxes:
    """A queue for each topic, and one condition for all, so that whoever waits can also be woken for another reason."""

    def __init__(self, topics: Iterable[str]) -> None:
        self._waiting: dict[str, deque[Result]] = {topic: deque() for topic in topics}
        self._changed = threading.Condition()

    def known(self, topic: str) -> str:
        """``topic``.

        Raises:
            ConfigError: there is no such topic.
        """
        if topic not in self._waiting:
            raise ConfigError(f"no topic called {topic!r}", hint=f"TaskQueues(..., topics=[...]); there are {', '.join(self._waiting)}")
        return topic

    def put(self, result: Result) -> None:
        """Hand over a result."""
        with self._changed:
            self._waiting[result.topic].append(result)
            self._changed.notify_all()

    def take(self, topic: str, timeout: float | None, over: Callable[[], bool] | None = None) -> Result | None:
        """The next result of a topic; None when the time is up, or where there is none and ``over()``."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            waiting = self._waiting[self.known(topic)]
            while not waiting:
                rest = None if deadline is None else deadline - time.monotonic()
                if (rest is not None and rest <= 0) or (over is not None and over()):
                    return None
                self._changed.wait(rest)
            return waiting.popleft()

    def wake(self) -> None:
        """Let all who wait ask again whether it is over."""
        with self._changed:
            self._changed.notify_all()
