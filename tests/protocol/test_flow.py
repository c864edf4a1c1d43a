"""Flow control: how far a worker is filled ahead."""

from __future__ import annotations

import pytest

from fedproxy.protocol.flow import Ahead, Pace, smoothed


@pytest.mark.parametrize(("run_s", "depth"), [(None, 1), (10.0, 1), (0.005, 1), (0.001, 5), (0.0, 64)])
def test_only_calls_known_to_be_short_are_sent_ahead(run_s: float | None, depth: int) -> None:
    assert Ahead(cover_s=0.004, most=64).depth(run_s) == depth


def test_the_first_sample_counts_whole() -> None:
    assert smoothed(None, 4.0) == 4.0
    assert smoothed(4.0, 8.0, 0.25) == 5.0


def paced(interval_s: float, endings: int = 200) -> Pace:
    pace = Pace()
    for number in range(endings):
        pace.ended(1, 1.0 + number * interval_s)
    return pace


@pytest.mark.parametrize(("interval_s", "waiting", "workers", "gather_s"), [
    (0.001, 0, 2, 0.0),
    (0.001, 1, 2, 0.0),
    (0.001, 4, 2, 0.0),
    (0.001, 40, 2, 0.005),
    (0.001, 400, 2, 0.01),
    (0.001, 40, 64, 0.0),
    (1.0, 4, 2, 0.01),
    (0.00005, 4_000, 2, 0.0),
])
def test_only_what_goes_behind_a_long_queue_waits_for_company(interval_s: float, waiting: int, workers: int, gather_s: float) -> None:
    assert paced(interval_s).gather_s(waiting, workers) == pytest.approx(gather_s, rel=0.01)


def test_nothing_waits_where_the_pace_is_not_known() -> None:
    assert Pace().gather_s(1_000, 2) == 0.0


def test_idle_times_do_not_count_as_pace() -> None:
    pace = paced(0.001)
    pace.rest()
    pace.ended(1, 500.0)
    pace.ended(1, 500.02)
    assert pace.interval_s == pytest.approx(0.0105, rel=0.01)
