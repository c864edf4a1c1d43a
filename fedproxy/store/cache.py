"""Frames that were fetched lately, bounded in bytes.

Strategy: frames are kept, not objects: two users of one key never share a mutable object. Frames larger than a sixteenth
of the cache are not kept, since giving out copies of them would cost what a cache should save.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

SHARE = 16


class FrameCache:
    """Least recently used frames go first."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._frames: OrderedDict[str, memoryview] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> memoryview | None:
        """The frame, read-only."""
        with self._lock:
            frame = self._frames.get(key)
            if frame is not None:
                self._frames.move_to_end(key)
            return frame

    def offer(self, key: str, frame: memoryview) -> memoryview:
        """Keep a read-only copy of ``frame`` if it is small enough; what is to be used further."""
        if frame.nbytes > self.max_bytes // SHARE:
            return frame
        kept = frame if frame.readonly and isinstance(frame.obj, bytes) else memoryview(bytes(frame))
        with self._lock:
            self._drop(key)
            self._frames[key] = kept
            self._bytes += kept.nbytes
            while self._bytes > self.max_bytes:
                self._bytes -= self._frames.popitem(last=False)[1].nbytes
        return kept

    def discard(self, key: str) -> None:
        """Forget a frame."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._frames.clear()
            self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def __contains__(self, key: object) -> bool:
        return key in self._frames

    def _drop(self, key: str) -> None:
        old = self._frames.pop(key, None)
        if old is not None:
            self._bytes -= old.nbytes
