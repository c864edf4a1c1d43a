"""Frames that carry a signature by a key which the site shares.

``magic(4) key id(4) HMAC-SHA256(32)``, padded to 64 bytes, then the frame as it is. Everything after the envelope is
covered, and checked before anything is unpickled.
"""

from __future__ import annotations

import hashlib
import hmac

from fedproxy.errors import FrameError
from fedproxy.serialize.frame import COMPACT_HEAD, Buffer, Frame, frame_digest, is_compact

SIGNED_MAGIC = b"\xf6FPS"
ENVELOPE_BYTES = 64


def key_id(key: bytes) -> bytes:
    """Four bytes that name the key without telling it."""
    return hashlib.sha256(b"fedproxy-key-id" + key).digest()[:4]


def sign(frame: Frame, key: bytes) -> Frame:
    """``frame`` in a signed envelope. Its digest stays that of the frame inside."""
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in frame.parts:
        mac.update(part)
    envelope = (SIGNED_MAGIC + key_id(key) + mac.digest()).ljust(ENVELOPE_BYTES, b"\0")
    return Frame([envelope, *frame.parts], frame.nbytes + ENVELOPE_BYTES, frame.digest)


def unsign(view: memoryview, key: bytes | None) -> memoryview:
    """The frame inside; ``view`` itself where it is not signed and no key is asked for.

    Raises:
        FrameError: signed with another key or altered; or unsigned where a key is asked for.
    """
    if view[:4] != SIGNED_MAGIC:
        if key is not None:
            raise FrameError("the object is not signed, and this store accepts signed objects only")
        return view
    if key is None:
        return view[ENVELOPE_BYTES:]
    if view[4:8] != key_id(key):
        raise FrameError("the object is signed with another site key", hint="set FEDPROXY_SITE_KEY to the same key")
    expected = hmac.new(key, view[ENVELOPE_BYTES:], hashlib.sha256).digest()
    if not hmac.compare_digest(expected, view[8:40]):
        raise FrameError("the object's signature does not match: it was altered")
    return view[ENVELOPE_BYTES:]


def stored_digest(frame: Buffer) -> bytes | None:
    """``Frame.digest`` of the object whose bytes these are (or at least its first ones), signed or not; None where it is no frame."""
    if type(frame) is bytes and is_compact(frame):
        return frame[4:COMPACT_HEAD]
    head = memoryview(frame)[: 2 * ENVELOPE_BYTES]
    return frame_digest(head[ENVELOPE_BYTES:] if head[:4] == SIGNED_MAGIC else head)
