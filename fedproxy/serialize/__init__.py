"""Objects to bytes and back: frames with a header, a digest and out-of-band buffers. Exact types survive."""

from fedproxy.serialize.codecs import Codec, register_codec, unregister_codec
from fedproxy.serialize.exceptions import deserialize_exception, serialize_exception
from fedproxy.serialize.facade import PLAIN, FrameOptions, deserialize, serialize, serialize_plain
from fedproxy.serialize.frame import Buffer, Frame, frame_digest

__all__ = [
    "PLAIN",
    "Buffer",
    "Codec",
    "Frame",
    "FrameOptions",
    "deserialize",
    "deserialize_exception",
    "frame_digest",
    "register_codec",
    "serialize",
    "serialize_exception",
    "serialize_plain",
    "unregister_codec",
]
