"""Two agents under one id: the living one stays, the silent one gives way."""

from __future__ import annotations

from fedproxy.service.contest import FORGOTTEN_S, SILENT_S, Contest, Verdict


def test_an_agent_that_goes_on_talking_keeps_its_endpoint() -> None:
    contest = Contest()
    assert contest.judge(heard=9.0, now=10.0) is Verdict.UNSURE
    assert contest.judge(heard=9.0, now=11.0) is Verdict.UNSURE
    assert contest.judge(heard=11.5, now=12.0) is Verdict.IN_USE


def test_an_agent_that_is_silent_gives_way() -> None:
    contest = Contest()
    assert contest.judge(heard=9.0, now=10.0) is Verdict.UNSURE
    assert contest.judge(heard=9.0, now=10.0 + SILENT_S / 2) is Verdict.UNSURE
    assert contest.judge(heard=9.0, now=10.5 + SILENT_S) is Verdict.FREE


def test_what_was_asked_long_ago_does_not_count() -> None:
    contest = Contest()
    contest.judge(heard=9.0, now=10.0)
    later = 11.0 + FORGOTTEN_S
    assert contest.judge(heard=9.0, now=later) is Verdict.UNSURE
    assert contest.judge(heard=9.0, now=later + 1) is Verdict.UNSURE
