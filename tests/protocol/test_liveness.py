"""Silence is counted against a peer only while somebody listened."""

from __future__ import annotations

import pytest

from fedproxy.protocol.liveness import excused, own_pause


@pytest.mark.parametrize(("now", "pause_s"), [(11.0, 0.0), (11.9, 0.0), (12.5, 1.5), (100.0, 89.0)])
def test_a_pause_of_our_own_is_what_a_look_comes_too_late(now: float, pause_s: float) -> None:
    assert own_pause(now, 10.0, 1.0) == pause_s


def test_a_pause_is_no_silence_and_nobody_is_heard_in_the_future() -> None:
    assert excused(5.0, 20.0, 100.0) == 25.0
    assert excused(99.0, 20.0, 100.0) == 100.0
