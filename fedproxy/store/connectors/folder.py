"""What connectors have in common that keep objects as files in a folder: packs of small objects, batches, ranges, waiting.

Strategy: everything goes through a descriptor of the folder, with names that were checked. What differs is how one file is laid out, written and read.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, TypeVar

from fedproxy.errors import StoreClosedError, StoreUnavailableError
from fedproxy.store.connectors import packs, waiting
from fedproxy.store.connectors.base import Buffer, Entry, Parts, Span, check_key
from fedproxy.store.connectors.kept_files import KeptFile, KeptFiles
from fedproxy.store.connectors.posix import translate

PACK = ".pack-"
TEMPORARY = ".tmp-"
"""Beginnings of names; objects have names that do not start with a dot."""
_OPEN_PACK = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC

T = TypeVar("T")


class FolderConnector(ABC):
    """One object, one file; a batch of small objects, one file."""

    url: str
    _path: Path
    _directory: int
    """A descriptor; -1: closed."""
    _kept: KeptFiles
    _pack_origin: ClassVar[int]
    """Where in its file a pack begins."""

    @abstractmethod
    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        """See ``Connector.put``."""

    @abstractmethod
    def put_small(self, items: Sequence[bytes], *, ttl_s: float | None = None) -> list[str]:
        """One file for all."""

    @abstractmethod
    def _load(self, key: str) -> Buffer | None: ...

    @abstractmethod
    def _open_file(self, key: str) -> KeptFile | None:
        """A file that parts are to be read of; None where it expired."""

    @abstractmethod
    def _lives(self, key: str) -> bool:
        """Whether there is a file of that name that has not expired."""

    @abstractmethod
    def _pack(self, base: str) -> packs.Pack | None: ...

    # -- objects

    def get(self, key: str) -> Buffer | None:
        """Map the object, or read it where it is small."""
        place = packs.place_of(check_key(key))
        if place is not None:
            pack = self._pack(place[0])
            if pack is not None:
                return pack.get(place[1])
        return self._load(key)

    def exists(self, key: str) -> bool:
        """Whether it is there and has not expired."""
        place = packs.place_of(check_key(key))
        if place is not None:
            pack = self._pack(place[0])
            if pack is not None:
                return pack.lives(place[1])
        return self._lives(key)

    def evict(self, key: str) -> None:
        """Remove its name; mappings that readers hold stay valid."""
        self.evict_batch([key])

    def wait(self, key: str, timeout_s: float | None) -> bool:
        """Sleep until somebody puts it."""
        check_key(key)
        return waiting.wait_for(self._fd(), key, lambda: self.exists(key), timeout_s)

    # -- batches

    def put_batch(
        self, items: Sequence[Parts], *, keys: Sequence[str] | None = None, ttl_s: float | None = None
    ) -> list[str]:
        """Small objects without given keys share a file; others get one each."""
        if keys is not None:
            return [self.put(parts, key=key, ttl_s=ttl_s) for parts, key in zip(items, keys, strict=True)]
        small, data = packs.split(items)
        names = [""] * len(items)
        if small:
            for name, position in zip(self.put_small(data, ttl_s=ttl_s), small, strict=True):
                names[position] = name
        return [name or self.put(parts, ttl_s=ttl_s) for name, parts in zip(names, items, strict=True)]

    def get_batch(self, keys: Sequence[str]) -> list[Buffer | None]:
        """Each pack is opened once."""
        return packs.get_batch(keys, self._pack, self._load)

    def exists_batch(self, keys: Sequence[str]) -> list[bool]:
        """``exists`` for each."""
        return [self.exists(key) for key in keys]

    def evict_batch(self, keys: Sequence[str]) -> None:
        """Remove files; of a pack, mark the objects and remove it when it holds none that live."""
        for base, (positions, indexes) in packs.by_pack(keys).items():
            if base is None or not self._evict_from_pack(base, indexes):
                for position in positions:
                    self._unlink(check_key(keys[position]))

    # -- parts

    def get_range(self, key: str, start: int, length: int) -> Buffer | None:
        """Part of an object."""
        data = self.get(key)
        return None if data is None else memoryview(data)[start : start + length]

    def get_ranges(self, spans: Sequence[Span]) -> list[Buffer | None]:
        """Parts of many objects, read and not mapped: parts are small. Files stay open for a moment (``kept_files``)."""
        parts = self._kept.parts(spans, self._open_kept)
        return [self.get_range(*span) if part is None and packs.place_of(span[0]) is not None else part for span, part in zip(spans, parts, strict=True)]

    def _open_kept(self, key: str) -> KeptFile | None:
        check_key(key)
        return self._reading(key, lambda: self._open_file(key))

    # -- the folder

    def _fd(self) -> int:
        if self._directory < 0:
            raise StoreClosedError("the store was closed", store=self.url, hint="make a new one with Store.from_url")
        return self._directory

    def _reading(self, key: str, read: Callable[[], T]) -> T | None:
        """What ``read`` gives; None where there is no such file."""
        try:
            return read()
        except FileNotFoundError:
            self._check_folder()
            return None
        except OSError as exc:
            raise translate(exc, f"cannot read in {self._path}", store=self.url, key=key) from exc

    def _check_folder(self) -> None:
        """A missing file is an answer; a missing folder is an error."""
        if not self._path.is_dir():
            raise StoreUnavailableError(f"the folder {self._path} is gone", store=self.url)

    def _pack_entries(self, base: str) -> Iterator[Entry]:
        pack = self._pack(base)
        if pack is not None:
            yield from (Entry(f"{base}.{index}", size) for index, size in pack.sizes())

    def _unlink(self, key: str) -> bool:
        """Whether it was there."""
        self._kept.forget(key)
        try:
            os.unlink(key, dir_fd=self._fd())
        except FileNotFoundError:
            self._check_folder()
            return False
        except OSError as exc:
            raise translate(exc, f"cannot remove in {self._path}", store=self.url, key=key) from exc
        return True

    def _evict_from_pack(self, base: str, indexes: Sequence[int]) -> bool:
        try:
            descriptor = os.open(PACK + base, _OPEN_PACK, dir_fd=self._fd())
        except FileNotFoundError:
            return False
        try:
            if packs.evict_indexes(descriptor, os.fstat(descriptor).st_size, indexes, self._pack_origin):
                with suppress(FileNotFoundError):  # somebody else evicted the last one too
                    os.unlink(PACK + base, dir_fd=self._fd())
        finally:
            os.close(descriptor)
        return True
