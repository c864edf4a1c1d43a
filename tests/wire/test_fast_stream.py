from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedproxy.wire.fast_stream import Chunks


def chunked(bodies: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(body), body) for body in bodies)


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=5), st.lists(st.integers(0, 12_000)), st.booleans())
def test_the_content_is_the_same_wherever_the_network_cuts(bodies: list[bytes], cuts: list[int], end: bool) -> None:
    data = chunked(bodies) + (b"0\r\n\r\n" if end else b"")
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    chunks, found = Chunks(), b""
    for start, stop in pairwise(edges):
        found += b"".join(map(bytes, chunks.feed(data[start:stop])))
    assert found == b"".join(bodies)
    assert chunks.ended is end


def test_extensions_of_a_chunk_are_passed_over() -> None:
    assert b"".join(map(bytes, Chunks().feed(b"3;name=value\r\nabc\r\n"))) == b"abc"


@pytest.mark.parametrize("data", [b"no number\r\nabc", b"x" * 3000])
def test_what_is_not_chunked_is_an_error(data: bytes) -> None:
    with pytest.raises(ConnectionError):
        list(Chunks().feed(data))
