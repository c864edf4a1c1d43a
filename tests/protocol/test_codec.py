"""Messages survive the wire, and nothing but typed errors comes of bytes that are not messages."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedproxy.errors import ProtocolError, VersionMismatchError
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import decode, decode_spec, encode, encode_spec, split
from fedproxy.protocol.ids import new_task_id, parse_task_id, task_id_text
from fedproxy.protocol.versions import VERSION

SAMPLES = [
    m.Submit("g", {b"h": b"s"}, (m.Blob(b"f", 3),), (m.Item(b"i" * 16, b"h", 5, 1.5, "key"),)),
    m.SubmitAck((m.Rejected(b"i", "E", "why"),), {b"a": b"b"}, ("e",), (b"u",)),
    m.Finished(7, (m.Done(b"i" * 16, 10, 4, 1, (1.0, 2.0), (3, 4)),)),
    m.Hello("e", "i", "j", "b", (1,), 10, ((b"t", 0),), "3.11"),
    m.Tasks({}, (), (m.Task(b"i", b"s", 0, 1),)),
    m.Results((m.Outcome(b"i", 0, 10, 1, (1.0, 2.0, 3.0, 4.0), (0, 0)),)),
    m.Heartbeat(1.0, 2, 3, 4, 5),
    m.Reset(),
]


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_with_its_body(message: object) -> None:
    again, body = decode(encode(message) + b"body")
    assert again == message
    assert bytes(body) == b"body"


def test_the_neighbouring_versions_are_understood_and_others_are_refused_by_name() -> None:
    data = bytearray(encode(m.Reset()))
    for neighbour in (VERSION - 1, VERSION + 1):
        data[0] = neighbour
        assert decode(data)[0] == m.Reset()
    data[0] = VERSION + 2
    with pytest.raises(VersionMismatchError, match=rf"protocol {VERSION + 2}.* upgrade this side"):
        decode(data)


def test_fields_that_a_newer_peer_adds_are_ignored() -> None:
    import msgspec

    header = msgspec.msgpack.encode({"sent": 1.0, "credit": 2, "mood": "good"})
    assert decode(struct.pack("<BBI", VERSION, 20, len(header)) + header)[0] == m.Heartbeat(1.0, 2)


@given(st.binary(max_size=200))
def test_noise_gives_typed_errors_only(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(b"\xff" + data)
    try:
        decode(data)
    except ProtocolError:
        pass


@given(st.sampled_from(SAMPLES), st.data())
def test_a_damaged_message_gives_typed_errors_only(message: object, data) -> None:
    encoded = bytearray(encode(message))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    try:
        decode(encoded[: data.draw(st.integers(0, len(encoded)))])
    except ProtocolError:
        pass


def test_bodies_are_cut_where_the_sizes_say_and_nowhere_else() -> None:
    body = memoryview(b"aabbb")
    assert [bytes(p) for p in split(body, [2, 3])] == [b"aa", b"bbb"]
    for sizes in ([6], [-1], [3, 3]):
        with pytest.raises(ProtocolError):
            list(split(body, sizes))


def test_specs_and_ids_come_back() -> None:
    spec = m.Spec(b"f", "e", "name", 1, 2, None, ("shm://x/y",))
    assert decode_spec(encode_spec(spec)) == spec
    with pytest.raises(ProtocolError):
        decode_spec(b"\xc1")
    task_id = new_task_id()
    assert parse_task_id(task_id_text(task_id)) == task_id
    assert sorted(ids := [new_task_id() for _ in range(3)])[0][:5] == ids[0][:5]
