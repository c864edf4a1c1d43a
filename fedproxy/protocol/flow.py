"""How much may be under way: decisions of flow control, as pure functions."""

from __future__ import annotations

from attrs import define, frozen

_GATHER_MOST_S, _GATHER_LEAST_S = 0.01, 0.001
_SHARE = 8
_DENSE_S = 0.0002
_WINDOW_S = 0.01


@frozen
class Ahead:
    """How far a worker may be filled ahead of what it runs.

    A task behind another one on a worker cannot move to an idle one, so only calls known to be short are sent ahead: enough to
    bridge ``cover_s``, the time in which the agent is sure to look again.
    """

    cover_s: float = 0.004
    most: int = 64

    def depth(self, run_s: float | None) -> int:
        """Tasks that a worker may hold, for calls that take ``run_s`` (None: not known yet)."""
        if run_s is None:
            return 1
        return 1 + min(self.most - 1, int(self.cover_s / max(run_s, 1e-6)))


@define
class Pace:
    """How fast tasks come to an end where many are under way, so that none is held up for nothing. Monotonic times are passed in."""

    interval_s: float | None = None
    """Smoothed time between two endings."""
    _since: float = 0.0
    _count: int = 0

    def ended(self, count: int, now: float) -> None:
        """So many have ended, and others are under way."""
        if not self._since:
            self._since = now
            return
        self._count += count
        if now - self._since >= _WINDOW_S:
            self.interval_s = smoothed(self.interval_s, (now - self._since) / self._count, 0.5)
            self._since, self._count = now, 0

    def rest(self) -> None:
        """Nothing is under way: the time until the next says nothing."""
        self._since, self._count = 0.0, 0

    def gather_s(self, waiting: int, workers: int) -> float:
        """How long what goes to these workers, or comes from them, may wait for company, while ``waiting`` tasks have no worker yet. 0: not at all.

        It is an eighth of the time for which the workers have enough to do: one message for several then costs nobody anything, and saves each hop
        most of its work. Where tasks end in quick succession they come together by themselves.
        """
        if self.interval_s is None or self.interval_s < _DENSE_S or waiting < max(workers, 1):
            return 0.0
        span_s = waiting * self.interval_s / _SHARE
        return min(span_s, _GATHER_MOST_S) if span_s >= _GATHER_LEAST_S else 0.0


def smoothed(mean: float | None, sample: float, weight: float = 0.2) -> float:
    """Exponentially weighted moving average; the first sample counts whole."""
    return sample if mean is None else mean + weight * (sample - mean)
