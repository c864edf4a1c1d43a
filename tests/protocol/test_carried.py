"""Refs in front of frames."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedproxy.errors import ProtocolError
from fedproxy.protocol.carried import MAGIC, carried, carry, collecting, frame_of
from fedproxy.serialize import deserialize, serialize
from fedproxy.store import Ref, proxy_from_ref


@given(st.lists(st.binary(max_size=300), max_size=20), st.binary(min_size=4, max_size=500).filter(lambda data: data[:4] != MAGIC))
def test_what_goes_in_comes_out(refs: list[bytes], frame: bytes) -> None:
    found, rest = carried(b"".join(carry(refs, [frame])))
    assert found == list(dict.fromkeys(refs))
    assert bytes(rest) == frame


def test_the_frame_stays_aligned() -> None:
    parts = carry([b"ref"], [b"frame"])
    assert len(parts[0]) % 64 == 0


def test_a_frame_without_refs_is_as_it_was() -> None:
    frame = bytes(serialize(7))
    assert carry([], [frame]) == [frame]
    assert frame_of(frame) is frame


@pytest.mark.parametrize("data", [MAGIC, MAGIC + b"\xff\xff\xff\xff", MAGIC + b"\4\0\0\0abcd", MAGIC + b"\1\0\0\0\xc1"])
def test_what_is_cut_short_or_garbled_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="cannot be read"):
        carried(data)


def test_refs_of_proxies_are_found_however_deep_they_are() -> None:
    refs = [Ref("file:///x", str(number), number) for number in range(3)]
    deep = {"a": [proxy_from_ref(refs[0]), {"b": (proxy_from_ref(refs[1]),)}], "c": pickle.dumps}
    with collecting() as found:
        frame = serialize([deep, np.ones(10), proxy_from_ref(refs[2], evict=True)])
    assert [Ref.from_bytes(each) for each in found] == refs
    assert len(deserialize(bytes(frame))) == 3


def test_nothing_is_collected_outside_of_the_block() -> None:
    with collecting() as found:
        pass
    serialize(proxy_from_ref(Ref("file:///x", "k", 1)))
    assert found == []
