"""How much may be under way: decisions of flow control, as pure functions."""

from __future__ import annotations

from attrs import frozen


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


def smoothed(mean: float | None, sample: float, weight: float = 0.2) -> float:
    """Exponentially weighted moving average; the first sample counts whole."""
    return sample if mean is None else mean + weight * (sample - mean)
