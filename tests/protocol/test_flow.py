"""Flow control: how far a worker is filled ahead."""

from __future__ import annotations

import pytest

from fedproxy.protocol.flow import Ahead, smoothed


@pytest.mark.parametrize(("run_s", "depth"), [(None, 1), (10.0, 1), (0.005, 1), (0.001, 5), (0.0, 64)])
def test_only_calls_known_to_be_short_are_sent_ahead(run_s: float | None, depth: int) -> None:
    assert Ahead(cover_s=0.004, most=64).depth(run_s) == depth


def test_the_first_sample_counts_whole() -> None:
    assert smoothed(None, 4.0) == 4.0
    assert smoothed(4.0, 8.0, 0.25) == 5.0
