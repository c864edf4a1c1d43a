"""Chunks: what is written is read, and what was damaged is not."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedproxy.patterns.shuffle.chunks import BrokenChunkError, decode_chunks, encode_chunk


@given(st.lists(st.binary(max_size=3000), max_size=5), st.booleans())
def test_chunks_end_to_end_come_back_in_order(datas: list[bytes], compress: bool) -> None:
    whole = b"".join(part for index, data in enumerate(datas) for part in encode_chunk(data, compress=compress, new_run=index == 1))
    found = list(decode_chunks(whole))
    assert [bytes(chunk.raw) for chunk in found] == datas
    assert [chunk.new_run for chunk in found] == [index == 1 for index in range(len(datas))]


def test_text_is_compressed_and_noise_is_not() -> None:
    text, noise = b"the same words again and again " * 5000, os.urandom(150_000)
    assert sum(map(len, encode_chunk(text, compress=True, new_run=True))) < len(text) / 10
    assert sum(map(len, encode_chunk(noise, compress=True, new_run=True))) == len(noise) + 16


@pytest.mark.parametrize("compress", [True, False])
def test_damage_anywhere_is_found(compress: bool) -> None:
    whole = b"".join(encode_chunk(b"abc" * 400, compress=compress, new_run=True))
    for cut in (1, 15, 16, len(whole) - 1):
        with pytest.raises(BrokenChunkError):
            list(decode_chunks(whole[:cut]))
    for place in range(16, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        with pytest.raises(BrokenChunkError):
            list(decode_chunks(damaged))
