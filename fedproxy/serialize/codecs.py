"""The ways to turn objects into streams, by number in a frame and by name for users.

A third party adds one with ``register_codec``, or with an entry point of the group ``fedproxy.codecs`` that names a
``Codec``.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

from attrs import frozen

from fedproxy.errors import FrameError, SerializationError
from fedproxy.serialize.arrays import decode_array
from fedproxy.serialize.frame import Buffer
from fedproxy.serialize.pickling import PROTOCOL, pickle_object, unpickle

ENTRY_POINT_GROUP = "fedproxy.codecs"

PICKLE = 1
RAW_BYTES = 2
RAW_BYTEARRAY = 3
JSON = 4
DILL = 5
PLUGIN = 6
ARRAY = 7
_NAME_END = b"\0"


@frozen
class Codec:
    """A way to serialize some types.

    ``encode`` gives a stream and buffers that stay out of band; ``decode`` gets views of them back. ``accepts`` says
    which objects it wants before pickle is tried; without it the codec serves only where it is asked for by name.
    """

    name: str
    encode: Callable[[Any], tuple[bytes, Sequence[Buffer]]]
    decode: Callable[[memoryview, list[Any]], Any]
    accepts: Callable[[object], bool] | None = None


_plugins: dict[str, Codec] = {}
_choosers: list[Codec] = []
_LOADED_ENTRY_POINTS = False


def register_codec(codec: Codec) -> None:
    """Make ``codec`` known in this process; the receiving side needs it too. Replaces one of the same name."""
    unregister_codec(codec.name)
    _plugins[codec.name] = codec
    if codec.accepts is not None:
        _choosers.append(codec)


def unregister_codec(name: str) -> None:
    """Forget a codec; no error where there is none."""
    _plugins.pop(name, None)
    _choosers[:] = [codec for codec in _choosers if codec.name != name]


def has_choosers() -> bool:
    """Whether any registered codec wants to be asked first."""
    return bool(_choosers)


def chosen_plugin(obj: object) -> Codec | None:
    """The first registered codec that wants ``obj``."""
    for codec in _choosers:
        if codec.accepts is not None and codec.accepts(obj):
            return codec
    return None


def plugin(name: str) -> Codec:
    """The registered codec of this name.

    Raises:
        SerializationError: there is none here.
    """
    global _LOADED_ENTRY_POINTS
    if name not in _plugins and not _LOADED_ENTRY_POINTS:
        _LOADED_ENTRY_POINTS = True
        for point in entry_points(group=ENTRY_POINT_GROUP):
            register_codec(point.load())
    try:
        return _plugins[name]
    except KeyError:
        hint = "install the package that brings it"
        raise SerializationError(f"no codec named {name!r} is registered here", hint=hint) from None


def encode(obj: Any, name: str) -> tuple[int, list[Buffer], list[Any]]:
    """Codec number, stream chunks and buffers, by the codec called ``name``."""
    if name in ("pickle", "cloudpickle"):
        pickled = pickle_object(obj)
        return PICKLE, pickled.chunks, pickled.buffers
    if name == "raw":
        return _encode_raw(obj)
    if name == "json":
        return JSON, [_encode_json(obj)], []
    if name == "dill":
        return DILL, [_encode_dill(obj)], []
    return encode_plugin(plugin(name), obj)


def encode_plugin(codec: Codec, obj: Any) -> tuple[int, list[Buffer], list[Any]]:
    """``obj`` by a registered codec; its name leads the stream."""
    stream, buffers = codec.encode(obj)
    return PLUGIN, [codec.name.encode() + _NAME_END + stream], [pickle.PickleBuffer(buffer) for buffer in buffers]


def _encode_raw(obj: Any) -> tuple[int, list[Buffer], list[Any]]:
    if isinstance(obj, bytes):
        return RAW_BYTES, [obj], []
    if isinstance(obj, bytearray):
        return RAW_BYTEARRAY, [obj], []
    raise SerializationError(f"the raw codec takes bytes or bytearray, not {type(obj).__name__}")


def _encode_json(obj: Any) -> bytes:
    try:
        return json.dumps(obj, separators=(",", ":"), ensure_ascii=False).encode()
    except (TypeError, ValueError) as exc:
        raise SerializationError(f"cannot write as JSON: {exc}", hint="leave out codec='json'") from exc


def _encode_dill(obj: Any) -> bytes:
    try:
        import dill  # type: ignore[import-untyped]
    except ImportError as exc:
        raise SerializationError("the dill codec needs dill", hint="pip install dill") from exc
    try:
        return bytes(dill.dumps(obj, protocol=PROTOCOL))
    except Exception as exc:  # dill runs the object's own code
        raise SerializationError(f"dill cannot pickle {type(obj).__name__}: {exc}") from exc


def decode(codec: int, stream: memoryview, buffers: list[Any]) -> Any:
    """The object, by the codec of this number.

    Raises:
        FrameError: no codec has this number.
        SerializationError: the codec failed.
    """
    if codec == PICKLE:
        return unpickle(stream, buffers)
    if codec == ARRAY:
        return decode_array(stream, buffers)
    if codec == RAW_BYTES:
        return bytes(stream)
    if codec == RAW_BYTEARRAY:
        return bytearray(stream)
    if codec == JSON:
        return _decode_json(stream)
    if codec == DILL:
        import dill  # noqa: F401  teaches pickle dill's own names

        return unpickle(stream, buffers)
    if codec == PLUGIN:
        name, _, rest = bytes(stream).partition(_NAME_END)
        return plugin(name.decode(errors="replace")).decode(memoryview(rest), buffers)
    raise FrameError(f"the object uses codec {codec}, which this fedproxy does not know", hint="upgrade fedproxy")


def _decode_json(stream: memoryview) -> Any:
    try:
        return json.loads(bytes(stream))
    except ValueError as exc:
        raise FrameError("the object is not JSON") from exc
