from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedproxy.errors import FedproxyError, FrameError
from fedproxy.serialize import Frame, FrameOptions, deserialize, serialize
from fedproxy.serialize.compress import Link, worth_compressing
from fedproxy.serialize.frame import ALIGNMENT

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=100_000)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5)
    | st.dictionaries(st.text(max_size=5), inner, max_size=5)
    | st.tuples(inner, inner)
    | st.builds(bytearray, st.binary(max_size=70_000)),
    max_leaves=10,
)
FRAMES = [
    bytes(serialize(obj))
    for obj in ([1, "two", {"three": 4.0}], b"raw", np.arange(3_000.0), [np.zeros(20), np.ones(50_000, np.uint8)], "x" * 50_000)
] + [bytes(serialize(np.zeros(100_000), options=FrameOptions(compress=Link())))]


@settings(max_examples=80, deadline=None)
@given(VALUES)
def test_any_value_survives_a_frame(value: object) -> None:
    frame = serialize(value)
    data = bytes(frame)
    assert len(data) == frame.nbytes == len(frame)
    found = deserialize(data)
    assert found == value
    assert type(found) is type(value)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 70_000), max_size=6), st.booleans(), st.booleans())
def test_arrays_of_any_sizes_survive(sizes: list[int], digests: bool, compress: bool) -> None:
    options = FrameOptions(body_digests=digests, compress=Link() if compress else None)
    arrays = [np.full(size, index, np.uint8) for index, size in enumerate(sizes)]
    found = deserialize(bytearray(bytes(serialize(arrays, options=options))))
    assert [array.tolist() for array in found] == [array.tolist() for array in arrays]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_give_typed_errors_only(data: bytes) -> None:
    with pytest.raises(FedproxyError):
        deserialize(data)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FRAMES), st.data())
def test_damaged_frames_give_typed_errors_only(frame: bytes, data: st.DataObject) -> None:
    damaged = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, min(len(frame), 200) - 1) | st.integers(0, len(frame) - 1))
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    try:
        found = deserialize(damaged)
    except FedproxyError:
        return
    expected = deserialize(frame)  # only padding was hit, or a bit was flipped back
    assert np.all(np.asarray(found == expected)) if not isinstance(found, list) else len(found) == len(expected)


@pytest.mark.parametrize("frame", FRAMES, ids=range(len(FRAMES)))
def test_every_truncation_is_an_error(frame: bytes) -> None:
    lengths = [*range(min(len(frame), 300)), len(frame) // 2, len(frame) - 1]
    for length in lengths:
        with pytest.raises(FrameError):
            deserialize(frame[:length])
    with pytest.raises(FrameError):
        deserialize(frame + b"\0")


def test_large_buffers_are_not_copied() -> None:
    array = np.arange(100_000.0)
    frame = serialize(array)
    assert any(np.shares_memory(np.frombuffer(part, np.uint8), array) for part in frame.parts)
    stored = bytearray(bytes(frame))
    found = deserialize(stored)
    assert np.shares_memory(found, np.frombuffer(stored, np.uint8))
    large = os.urandom(500_000)
    assert any(part is large for part in serialize(large).parts)
    assert any(part is large for part in serialize({"nested": [large]}).parts)


def test_buffers_are_aligned() -> None:
    arrays = [np.zeros(size, np.uint8) for size in (9_001, 10_077, 50_000, 100_000)]
    stored = bytearray(bytes(serialize(arrays)))
    base = np.frombuffer(stored, np.uint8).ctypes.data
    assert [(array.ctypes.data - base) % ALIGNMENT for array in deserialize(stored)] == [0] * 4


def test_a_bomb_is_refused_before_it_expands() -> None:
    frame = bytes(serialize(np.zeros(10_000_000, np.uint8), options=FrameOptions(compress=Link())))
    assert len(frame) < 100_000
    assert deserialize(frame).nbytes == 10_000_000
    with pytest.raises(FrameError, match="refusing"):
        deserialize(frame, options=FrameOptions(max_expanded_bytes=5_000_000))


def test_what_does_not_shrink_is_not_compressed() -> None:
    noise = os.urandom(1_000_000)
    assert serialize(noise, options=FrameOptions(compress=Link())).nbytes >= 1_000_000


@pytest.mark.parametrize(
    ("ratio", "bytes_per_s", "worth"),
    [(0.1, 0, True), (0.95, 0, False), (0.1, 10e9, False), (0.5, 100e6, True), (0.1, 12e6, True), (0.79, 400e6, False)],
)
def test_compression_pays_on_slow_links_only(ratio: float, bytes_per_s: float, worth: bool) -> None:
    assert worth_compressing(ratio, Link(bytes_per_s)) is worth


def test_a_frame_of_a_later_version_says_what_to_upgrade() -> None:
    frame = bytearray(bytes(serialize(np.zeros(10_000))))
    frame[4] = 9
    with pytest.raises(FrameError, match="upgrade fedproxy"):
        deserialize(frame)


def test_the_digest_tells_two_objects_apart() -> None:
    assert isinstance(serialize([1]), Frame)
    digests = {serialize(obj).digest for obj in ([1], [2], np.zeros(50_000), np.ones(50_000), np.zeros(50_001))}
    assert len(digests) == 5
    assert all(len(digest) == 8 for digest in digests)


def test_importing_the_data_plane_stays_light() -> None:
    code = (
        "import sys, fedproxy.store.store, fedproxy.store.proxies, fedproxy.serialize;"
        "heavy = {'numpy','requests','fsspec','zmq','cloudpickle','tblib','lz4','asyncio','redis','dill','starlette'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert out.strip() == "[]"
