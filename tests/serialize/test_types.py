from __future__ import annotations

import enum
import functools
import pickle
import subprocess
import sys
import threading
import traceback
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedproxy.errors import SerializationError, TaskFailedError
from fedproxy.serialize import (
    Codec,
    deserialize,
    deserialize_exception,
    register_codec,
    serialize,
    serialize_exception,
    unregister_codec,
)


def again(obj: Any) -> Any:
    return deserialize(bytearray(bytes(serialize(obj))))


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


ARRAYS = {
    "plain": np.arange(10_000.0).reshape(100, 100),
    "fortran": np.asfortranarray(np.arange(10_000.0).reshape(100, 100)),
    "strided": np.arange(1_000)[::3],
    "0-d": np.array(5),
    "empty": np.empty((0, 3)),
    "object": np.array([1, "two", None, [3]], dtype=object),
    "strings": np.array(["a", "bcd"]),
    "dates": np.array(["2026-01-01"], dtype="datetime64[D]"),
    "structured": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "record": np.rec.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "masked": np.ma.masked_array(np.arange(1_000), mask=np.arange(1_000) % 3 == 0, fill_value=-1),
    "masked without mask": np.ma.masked_array([1, 2, 3]),
    "matrix": np.arange(4).reshape(2, 2).view(np.matrix),
    "read-only": read_only(np.arange(1_000)),
    "big-endian": np.arange(10, dtype=">i4"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_keeps_its_exact_type(name: str) -> None:
    array = ARRAYS[name]
    found = again(array)
    assert type(found) is type(array)
    assert found.dtype == array.dtype
    assert found.dtype.type is array.dtype.type
    assert found.shape == array.shape
    assert found.flags.f_contiguous == array.flags.f_contiguous or name == "strided"
    assert found.flags.writeable == array.flags.writeable
    if isinstance(array, np.ma.MaskedArray):
        assert (np.ma.getmaskarray(found) == np.ma.getmaskarray(array)).all()
        assert (found.filled() == array.filled()).all()
        assert found.fill_value == array.fill_value
    else:
        assert found.tolist() == array.tolist()


def test_a_writable_array_is_writable_even_from_read_only_memory() -> None:
    data = bytes(serialize(np.zeros(10_000)))
    first, second = deserialize(data), deserialize(data)
    first[0] = 1
    assert second[0] == 0


def test_numpy_scalars_keep_their_type() -> None:
    for scalar in (np.float32(1.5), np.str_("x"), np.int8(3), np.datetime64("2026-01-01")):
        assert type(again(scalar)) is type(scalar)


def test_a_memmap_travels_out_of_band_as_a_memmap(tmp_path: Path) -> None:
    array = np.memmap(tmp_path / "m", np.uint8, "w+", shape=(200_000,))
    array[:] = 7
    frame = serialize(array)
    assert len(frame.parts) > 1
    found = deserialize(bytearray(bytes(frame)))
    assert type(found) is np.memmap
    assert (found == 7).all()


def test_data_frames_and_tables_come_back_equal() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(1_000), "b": ["x", "y"] * 500, "c": pandas.Categorical(["u", "v"] * 500)})
    pandas.testing.assert_frame_equal(again(frame), frame)


def test_polars_comes_back_equal() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": range(1_000), "b": ["x"] * 1_000})
    assert again(frame).equals(frame)


def test_arrow_comes_back_equal() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": list(range(10_000))})
    assert again(table).equals(table)


def test_torch_tensors_come_back_equal() -> None:
    torch = pytest.importorskip("torch")
    for tensor in (
        torch.arange(1_000.0), torch.rand(100_000), torch.rand(300, 200).T, torch.rand(50_000)[7:90:3], torch.zeros(0),
        torch.rand(10_000).to(torch.bfloat16), torch.rand(10_000, dtype=torch.complex64), torch.ones(5, requires_grad=True),
    ):
        found = again(tensor)
        assert type(found) is torch.Tensor
        assert (found.dtype, found.stride(), found.requires_grad) == (tensor.dtype, tensor.stride(), tensor.requires_grad)
        assert torch.equal(found, tensor)


def test_torch_tensors_and_modules_travel_out_of_band() -> None:
    torch = pytest.importorskip("torch")
    assert len(serialize(torch.rand(100_000)).parts) > 1
    module = torch.nn.Linear(300, 300)
    found = again(module)
    assert all(torch.equal(a, b) and type(a) is type(b) for a, b in zip(found.parameters(), module.parameters(), strict=True))
    found.weight.data[0, 0] = 5.0  # writable, and its own
    assert module.weight.data[0, 0] != 5.0


class Colour(enum.Enum):
    RED = 1


Point = namedtuple("Point", "x y")


class Holder:
    def __init__(self, value: object) -> None:
        self.value = value

    def double(self) -> object:
        return self.value * 2  # type: ignore[operator]


def test_builtin_values_and_own_classes_keep_their_identity() -> None:
    assert again(Colour.RED) is Colour.RED
    assert again(Point(1, 2)) == Point(1, 2)
    assert type(again(Holder(3))) is Holder
    assert again(Holder(3).double)() == 6
    assert again(functools.partial(max, 3))(2) == 3
    assert type(again(OrderedDict(a=1))) is OrderedDict
    assert again(lambda x: x + 1)(2) == 3
    for exact in (b"x", bytearray(b"y"), True, 1.5, 2j, "z", None, range(3), slice(1), frozenset({1})):
        assert again(exact) == exact
        assert type(again(exact)) is type(exact)


SCRIPT = """
import threading, helper
LOCK_FREE = 5
class Mine(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code
def work(x):
    return helper.triple(x) + LOCK_FREE
def fail():
    raise Mine(7, "seven")
def with_lock():
    return helper.locked()
import sys
from fedproxy.serialize import serialize
open(sys.argv[1], "wb").write(bytes(serialize({"work": work, "fail": fail, "instance": Mine(1, "one"), "helper": helper.triple})))
"""
READER = """
import sys
from fedproxy.serialize import deserialize
got = deserialize(open(sys.argv[1], "rb").read())
assert "helper" not in sys.modules
assert got["work"](2) == 11 and got["helper"](2) == 6
assert got["instance"].code == 1
try:
    got["fail"]()
except Exception as exc:
    assert type(exc) is type(got["instance"]) and exc.code == 7
print("fine")
"""


def test_code_of_a_script_and_its_own_modules_runs_where_neither_exists(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "helper.py").write_text("def triple(x):\n    return scale(x, 3)\ndef scale(x, by):\n    return x * by\n")
    (tmp_path / "home" / "script.py").write_text(SCRIPT)
    target = tmp_path / "frame"
    subprocess.run([sys.executable, tmp_path / "home" / "script.py", target], check=True, timeout=60)
    out = subprocess.run([sys.executable, "-c", READER, target], check=True, timeout=60, capture_output=True, text=True)
    assert out.stdout.strip() == "fine"


LOCKED = threading.Lock()


def uses_a_lock() -> bool:
    return LOCKED.locked()


def test_code_that_cannot_go_by_value_goes_by_name() -> None:
    assert again(uses_a_lock) is uses_a_lock


class Refuses:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        ((1, {"deep": [threading.Lock()]}), [r"\[1\]\['deep'\]\[0\]", "lock"]),
        (Holder(i for i in range(3)), [r"\.value", "generator"]),
        (Refuses(), ["Refuses", "not me"]),
    ],
    ids=["lock", "generator", "own error"],
)
def test_what_cannot_be_pickled_is_named(obj: object, words: list[str]) -> None:
    for word in words:
        with pytest.raises(SerializationError, match=word):
            serialize(obj)


class Coded(ValueError):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def fails() -> None:
    try:
        {}["missing"]
    except KeyError as exc:
        raise Coded(42, "wrong") from exc


def test_an_exception_keeps_type_fields_cause_and_remote_frames() -> None:
    try:
        fails()
    except Coded as exc:
        exc.add_note("on node 7")
        data = bytes(serialize_exception(exc))
    found = deserialize_exception(data)
    assert type(found) is Coded
    assert found.code == 42
    assert str(found) == "wrong"
    assert isinstance(found.__cause__, KeyError)
    text = "".join(traceback.format_exception(found))
    assert "in fails" in text
    assert "on node 7" in text
    with pytest.raises(Coded):
        raise found


@pytest.mark.parametrize(
    "exc",
    [
        FileNotFoundError(2, "No such file", "name"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        SystemExit(3),
        KeyboardInterrupt(),
        ExceptionGroup("several", [ValueError(1), KeyError("k")]),
        StopIteration(5),
        ImportError("no", name="module"),
        subprocess.CalledProcessError(1, ["ls"]),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_builtin_exceptions_survive(exc: BaseException) -> None:
    found = deserialize_exception(bytes(serialize_exception(exc)))
    assert type(found) is type(exc)
    assert str(found) == str(exc)
    assert vars(found) == vars(exc)


def test_an_exception_that_cannot_travel_becomes_its_text() -> None:
    exc = ValueError("holds", threading.Lock())
    found = deserialize_exception(bytes(serialize_exception(exc)))
    assert type(found) is TaskFailedError
    assert "ValueError" in str(found)


def test_codecs_are_chosen_by_name_and_added_by_others() -> None:
    assert deserialize(bytes(serialize({"a": [1]}, codec="json"))) == {"a": [1]}
    assert deserialize(bytes(serialize(b"x", codec="raw"))) == b"x"
    assert deserialize(bytes(serialize([1], codec="pickle"))) == [1]
    with pytest.raises(SerializationError, match="JSON"):
        serialize(object(), codec="json")
    with pytest.raises(SerializationError, match="no codec named"):
        serialize(1, codec="unheard-of")
    codec = Codec(
        "holder",
        encode=lambda holder: (b"head", [memoryview(pickle.dumps(holder.value))]),
        decode=lambda stream, buffers: Holder(pickle.loads(buffers[0])) if bytes(stream) == b"head" else None,
        accepts=lambda obj: type(obj) is Holder,
    )
    register_codec(codec)
    try:
        data = bytes(serialize(Holder([1, 2])))
        assert deserialize(data).value == [1, 2]
    finally:
        unregister_codec("holder")
    with pytest.raises(SerializationError, match="no codec named 'holder'"):
        deserialize(data)


def test_dill_serves_where_it_is_asked_for() -> None:
    pytest.importorskip("dill")
    assert deserialize(bytes(serialize({"a": 1}, codec="dill"))) == {"a": 1}
