"""What tasks write, bounded: the beginning and the end of each stream are kept. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from fedproxy.protocol.messages import Text

HEAD_BYTES = 32 * 1024
TAIL_BYTES = 32 * 1024


def kept(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The ranges that are kept of what stands from ``start`` to ``end``: at most a head and a tail."""
    if end - start <= HEAD_BYTES + TAIL_BYTES:
        yield start, end
    else:
        yield start, start + HEAD_BYTES
        yield end - TAIL_BYTES, end


def fresh(start: int, sent: int, end: int) -> Iterator[tuple[int, int]]:
    """Of the ranges that are kept, what is new since ``sent``: at most a head and a tail. The head comes whole before any tail."""
    head_end = min(start + HEAD_BYTES, end)
    if sent < head_end:
        yield sent, head_end
        sent = head_end
    if sent < end:
        yield max(sent, end - TAIL_BYTES), end


def extended(text: Text, at: int, data: bytes) -> Text:
    """``text`` with ``data`` at the offset ``at``. A gap before it is the middle that nobody keeps; what is there already is passed over."""
    if at < text.size:
        data, at = data[text.size - at:], text.size
    head, tail = text.head, text.tail
    if at == text.size == len(head):
        room = HEAD_BYTES - len(head)
        head += data[:room]
        tail += data[room:] if room < len(data) else b""
    else:
        tail = tail + data if at == text.size else data
    return Text(head, tail[-TAIL_BYTES:], at + len(data))


def missing(text: Text) -> int:
    """Bytes of the middle that were not kept."""
    return text.size - len(text.head) - len(text.tail)
