"""Whether to compress, decided from a sample.

Strategy: compress three small samples; the ratio they give, the codec's speed and the link's speed decide. What does
not shrink, or would travel faster than it can be compressed, is left as it is, so that compression is never a loss.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from fedproxy.serialize.frame import Buffer, Segment

SAMPLE_BYTES = 4096
MIN_BYTES = 256 * 1024
"""Smaller segments are left alone: sampling would cost more than it gains."""
_CODEC_BYTES_PER_S = 600e6
_EXPAND_BYTES_PER_S = 2.5e9
_MARGIN = 1.1


@frozen
class Link:
    """What the bytes travel over. 0 means unknown: then only the ratio decides."""

    bytes_per_s: float = 0.0


def worth_compressing(ratio: float, link: Link) -> bool:
    """Whether compressing to ``ratio`` of the size (0 to 1) gets the bytes across sooner, by a margin of 10 %."""
    if ratio > 0.8:
        return False
    if link.bytes_per_s <= 0:
        return True
    plain = 1 / link.bytes_per_s
    packed = ratio / link.bytes_per_s + 1 / _CODEC_BYTES_PER_S + 1 / _EXPAND_BYTES_PER_S
    return packed * _MARGIN < plain


def sampled_ratio(view: memoryview) -> float:
    """Compressed size over size, from the start, the middle and the end."""
    import lz4.block

    middle = (len(view) - SAMPLE_BYTES) // 2
    sample = b"".join((view[:SAMPLE_BYTES], view[middle : middle + SAMPLE_BYTES], view[-SAMPLE_BYTES:]))
    return len(lz4.block.compress(sample, store_size=False)) / len(sample)


def compress_segments(segments: Sequence[Segment], link: Link) -> list[Segment]:
    """Each segment, compressed where that is worth it."""
    return [_compress(segment, link) for segment in segments]


def _compress(segment: Segment, link: Link) -> Segment:
    if segment.raw_nbytes < MIN_BYTES or segment.raw_nbytes > 0x7E000000:
        return segment
    view = _flat(segment.parts)
    if not worth_compressing(sampled_ratio(view), link):
        return segment
    import lz4.block

    packed = lz4.block.compress(view, store_size=False)
    if len(packed) > 0.9 * segment.raw_nbytes:
        return segment
    return Segment([packed], segment.raw_nbytes, segment.read_only, lz4=True)


def _flat(parts: Sequence[Buffer]) -> memoryview:
    return memoryview(parts[0] if len(parts) == 1 else b"".join(parts)).cast("B")
