"""What is kept of a task's output: the beginning and the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fedproxy.protocol.messages import Text
from fedproxy.protocol.written import HEAD_BYTES, TAIL_BYTES, extended, fresh, kept, missing


def stream(size: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(size))


@given(st.lists(st.integers(0, 3 * HEAD_BYTES), max_size=8), st.integers(0, 1000))
def test_pieces_told_on_the_way_add_up_to_what_is_kept_at_the_end(steps: list[int], start: int) -> None:
    everything = stream(start + sum(steps))
    text, sent, end = Text(), start, start
    for step in steps:
        end += step
        for at, to in fresh(start, sent, end):
            assert to - at <= HEAD_BYTES
            text = extended(text, at - start, everything[at:to])
        sent = end
    assert text.size == end - start
    assert everything[start:].startswith(text.head)
    assert everything.endswith(text.tail)
    assert missing(text) == max(0, min(missing(text), text.size))
    if text.size <= HEAD_BYTES:
        assert text.head + text.tail == everything[start:]


def test_at_most_a_head_and_a_tail_are_kept() -> None:
    assert list(kept(5, 105)) == [(5, 105)]
    assert list(kept(0, 10 * HEAD_BYTES)) == [(0, HEAD_BYTES), (10 * HEAD_BYTES - TAIL_BYTES, 10 * HEAD_BYTES)]


def test_what_comes_twice_or_after_a_gap_is_no_error() -> None:
    text = extended(Text(), 0, b"abc")
    assert extended(text, 1, b"bcd") == Text(b"abcd", b"", 4)
    after_gap = extended(text, 10, b"xyz")
    assert (after_gap, missing(after_gap)) == (Text(b"abc", b"xyz", 13), 7)
