"""What every store technology must do: bytes by key, and nothing else.

The contract is small on purpose; what only some technologies can do is a Protocol of its own, asked for with
``isinstance(connector, SupportsBatch)``. ``fedproxy.testing.connectors`` holds the suite that every connector passes.
"""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from mmap import mmap
from typing import Protocol, TypeAlias, runtime_checkable

from attrs import frozen

from fedproxy.errors import InvalidKeyError

Buffer: TypeAlias = bytes | bytearray | memoryview | mmap
"""Anything bytes-like and contiguous. ``memoryview(x).nbytes`` is its length."""

Parts: TypeAlias = Sequence[Buffer]
"""One object as buffers to be written one after the other."""

MAX_KEY_CHARS = 200
_KEY = re.compile(r"[A-Za-z0-9_=~+@:-][A-Za-z0-9_.=~+@:-]{0,199}")


@runtime_checkable
class Connector(Protocol):
    """Bytes by key in one technology. Safe to use from many threads.

    Every method may raise ``StoreUnavailableError`` (cannot be reached), ``StoreClosedError`` or ``InvalidKeyError``.
    """

    url: str
    """The whole configuration, without secrets: another process makes an equal connector from it."""

    in_memory: bool
    """The bytes stay in this machine's memory: lengths and header digests are checked on read, not whole bodies."""

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        """Write ``parts`` end to end; the object is seen whole or not at all. Replaces what ``key`` held.

        Returns:
            The key: ``key``, or a new random one of at most 22 characters.

        Raises:
            StoreFullError: no room; nothing was written and the store stays usable.
        """
        ...

    def get(self, key: str) -> Buffer | None:
        """The bytes, or None where there are none. Mapped rather than copied where the medium can."""
        ...

    def exists(self, key: str) -> bool:
        """Whether ``get`` would find it now."""
        ...

    def evict(self, key: str) -> None:
        """Forget the object; no error where there is none. Buffers that readers hold stay valid."""
        ...

    def close(self, *, clear: bool = False) -> None:
        """Let go of connections; idempotent. ``clear`` also removes the objects of this store, and nothing else."""
        ...


@runtime_checkable
class SupportsBatch(Protocol):
    """Many objects for the price of few round trips."""

    def put_batch(
        self, items: Sequence[Parts], *, keys: Sequence[str] | None = None, ttl_s: float | None = None
    ) -> list[str]:
        """``put`` for each item, in order."""
        ...

    def get_batch(self, keys: Sequence[str]) -> list[Buffer | None]:
        """``get`` for each key, in order."""
        ...

    def exists_batch(self, keys: Sequence[str]) -> list[bool]:
        """``exists`` for each key, in order."""
        ...

    def evict_batch(self, keys: Sequence[str]) -> None:
        """``evict`` for each key."""
        ...


@runtime_checkable
class SupportsPacking(Protocol):
    """Can lay many small objects side by side."""

    def put_small(self, items: Sequence[bytes], *, ttl_s: float | None = None) -> list[str]:
        """``put_batch`` for items of at most 64 KiB that are whole already."""
        ...


@frozen
class Entry:
    """One object in a listing."""

    key: str
    size_bytes: int
    expires_in_s: float | None = None


@runtime_checkable
class SupportsList(Protocol):
    """Can say what it holds."""

    def entries(self) -> Iterator[Entry]:
        """Every live object; a snapshot that may be out of date at once."""
        ...

    def gc(self) -> int:
        """Remove what expired and what dead processes left behind; how many objects or files went."""
        ...


@runtime_checkable
class SupportsTouch(Protocol):
    """Can change when an object expires."""

    def touch(self, key: str, ttl_s: float | None) -> bool:
        """Let ``key`` live ``ttl_s`` from now (None: for ever). False where it is not there."""
        ...


@runtime_checkable
class SupportsWait(Protocol):
    """Can wait for an object to appear without polling from outside."""

    def wait(self, key: str, timeout_s: float | None) -> bool:
        """Block until ``key`` exists; False when the time passed first."""
        ...


@runtime_checkable
class SupportsRange(Protocol):
    """Can read part of an object."""

    def get_range(self, key: str, start: int, length: int) -> Buffer | None:
        """Bytes ``start`` to ``start + length`` (fewer at the end), or None where there is no object."""
        ...


Span: TypeAlias = tuple[str, int, int]
"""Part of an object: key, start, length in bytes."""


@runtime_checkable
class SupportsRanges(Protocol):
    """Parts of many objects for the price of few round trips."""

    def get_ranges(self, spans: Sequence[Span]) -> list[Buffer | None]:
        """``get_range`` for each span, in order. The answers are all in memory at once: the caller bounds their size."""
        ...


@runtime_checkable
class SupportsPlacing(Protocol):
    """Lays objects in different places, by what they are."""

    def placing(self, *, type_name: str, tags: Sequence[str]) -> AbstractContextManager[None]:
        """What this thread puts within the block is of this type (``numpy.ndarray``, ``bytes``) and has these tags."""
        ...


@runtime_checkable
class SupportsReachable(Protocol):
    """Can be told from its URL alone, cheaply, whether this process could use it."""

    def reachable(self) -> bool:
        """Whether this process can use the store; never raises, answers within a second."""
        ...


def check_key(key: str) -> str:
    """``key`` itself.

    Raises:
        InvalidKeyError: empty, too long, starts with a dot, or holds anything but letters, digits and ``_.=~+@:-``.
    """
    if _KEY.fullmatch(key) is None:
        raise InvalidKeyError(
            f"not a key: {key[:40]!r}", hint="up to 200 letters, digits and _.=~+@:- that do not start with a dot"
        )
    return key


def check_keys(keys: Sequence[str]) -> Sequence[str]:
    """``keys`` themselves, if each is one.

    Raises:
        InvalidKeyError: as ``check_key``.
    """
    if not all(map(_KEY.fullmatch, keys)):
        for key in keys:
            check_key(key)
    return keys


def new_key() -> str:
    """A random key of 20 characters (120 bits)."""
    return _encode(os.urandom(15))


def new_keys(count: int) -> list[str]:
    """``count`` random keys, cheaper than one at a time."""
    text = _encode(os.urandom(15 * count))
    return [text[i : i + 20] for i in range(0, 20 * count, 20)]


def _encode(random: bytes) -> str:
    return binascii.b2a_base64(random, newline=False).translate(_URL_SAFE).decode("ascii")


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def parts_nbytes(parts: Iterable[Buffer]) -> int:
    """Length of ``parts`` end to end, in bytes."""
    total = 0
    for part in parts:
        total += len(part) if isinstance(part, bytes | bytearray) else memoryview(part).nbytes
    return total
