"""Arrays that travel without a pickler."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedproxy.errors import FrameError
from fedproxy.serialize import deserialize, serialize
from fedproxy.serialize.arrays import decode_array, encode_array

NUMBERS = st.one_of(
    hnp.integer_dtypes(endianness="?"), hnp.unsigned_integer_dtypes(endianness="?"), hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(endianness="?"), hnp.boolean_dtypes(),
)


@given(hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)), st.booleans())
def test_an_array_of_numbers_comes_back_the_same(array: np.ndarray, fortran: bool) -> None:
    sent = np.asfortranarray(array) if fortran else array
    found = deserialize(bytearray(bytes(serialize(sent))))
    assert type(found) is np.ndarray
    assert (found.dtype, found.shape, found.strides) == (sent.dtype, sent.shape, sent.strides) or not sent.size
    assert found.tobytes() == sent.tobytes()
    assert found.flags.writeable


@pytest.mark.parametrize("shape", [(3,), (20_000,), (100, 200), (5, 4, 1_000)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_large_and_small_arrays_keep_their_order(shape: tuple[int, ...], order: str) -> None:
    array = np.array(np.arange(float(np.prod(shape))).reshape(shape), order="C" if order == "C" else "F")
    found = deserialize(bytearray(bytes(serialize(array))))
    assert np.array_equal(found, array)
    assert (found.flags.c_contiguous, found.flags.f_contiguous) == (array.flags.c_contiguous, array.flags.f_contiguous)


@pytest.mark.parametrize(
    "array",
    [np.array(["a"]), np.array([b"x"]), np.array([None]), np.zeros(3, "i4,f8"), np.zeros(2, "M8[s]"), np.arange(9)[::2], np.zeros(0)],
)
def test_what_is_no_plain_array_of_numbers_goes_by_pickle(array: np.ndarray) -> None:
    assert encode_array(array) is None
    assert np.array_equal(deserialize(bytes(serialize(array))), array)


@given(st.binary(max_size=64), st.lists(st.binary(max_size=64), max_size=1))
def test_a_damaged_description_is_a_typed_error_or_an_array(stream: bytes, buffers: list[bytes]) -> None:
    try:
        assert isinstance(decode_array(memoryview(stream), list(buffers)), np.ndarray)
    except FrameError:
        pass
