"""Who is lost, and who was only not listened to. Pure: monotonic times are passed in."""

from __future__ import annotations


def own_pause(now: float, last: float, every_s: float) -> float:
    """Seconds in which this process itself stood still, given that it looks every ``every_s`` and last did at ``last``.

    What peers said meanwhile was not heard, so that time is nobody's silence. Less than one period is ordinary lateness: 0.
    """
    late = now - last - every_s
    return late if late > every_s else 0.0


def excused(heard: float, pause_s: float, now: float) -> float:
    """When a peer counts as last heard, after a pause of our own."""
    return min(now, heard + pause_s)
