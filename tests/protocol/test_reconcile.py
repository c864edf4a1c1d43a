"""What becomes of sent tasks when an agent says what it holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.reconcile import JournalState, Verdict, reconcile

A, B = TaskId(b"a" * 16), TaskId(b"b" * 16)
SAME = JournalState("journal", "boot")


def test_what_the_agent_holds_is_kept() -> None:
    assert reconcile({A: 0, B: 1}, [], {A: 0, B: 1}, SAME, SAME) == Verdict(keep=[A, B])


def test_what_never_arrived_is_sent_again() -> None:
    assert reconcile({A: 0}, [], {}, SAME, SAME) == Verdict(resend=[A])


def test_with_another_journal_it_may_have_started() -> None:
    assert reconcile({A: 0}, [], {}, SAME, JournalState("new", "boot")) == Verdict(lost=[A])
    assert reconcile({A: 0}, [], {}, None, SAME) == Verdict(lost=[A])


def test_after_a_reboot_the_tail_of_the_journal_may_be_gone() -> None:
    assert reconcile({A: 0, B: 0}, [B], {B: 0}, SAME, JournalState("journal", "later")) == Verdict(keep=[B], lost=[A])


def test_an_older_attempt_does_not_count() -> None:
    assert reconcile({A: 2}, [], {A: 1}, SAME, SAME) == Verdict(resend=[A])


ids = st.sampled_from([TaskId(bytes([i]) * 16) for i in range(6)])


@given(st.dictionaries(ids, st.integers(0, 2)), st.sets(ids), st.dictionaries(ids, st.integers(0, 2)), st.booleans())
def test_each_task_gets_exactly_one_verdict(sent, acknowledged, holding, same) -> None:
    verdict = reconcile(sent, acknowledged, holding, SAME, SAME if same else JournalState("x", "y"))
    assert sorted(verdict.keep + verdict.resend + verdict.lost) == sorted(sent)
    assert not (set(verdict.resend) & acknowledged), "an acknowledged task was on disk: it is never sent twice"
