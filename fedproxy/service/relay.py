"""The relay: objects on the service's disk for sites that cannot reach each other. Streamed, never whole in memory; each user's apart.

An object is uploaded in order: each request says where it begins, so that an upload that broke off goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import anyio.to_thread
from attrs import frozen

from fedproxy.config.home import PRIVATE_FILE, private_dir
from fedproxy.config.service import RelayConfig
from fedproxy.errors import ConflictError, NotFoundError, PayloadTooLargeError, ProtocolError, ServiceFullError

_NAME = re.compile(r"[0-9a-f]{32}")
_CHUNK_BYTES = 1024 * 1024
_ARRIVING = ".part"


@frozen
class Held:
    """What the relay has of one object."""

    received: int
    complete: bool


class Relay:
    """One folder for each user."""

    def __init__(self, folder: Path, config: RelayConfig, *, on: bool) -> None:
        self._folder, self._config, self.on = folder, config, on

    def _path(self, user: str, name: str) -> Path:
        if not self.on:
            raise NotFoundError("this service has no relay", hint="set relay.enabled in its config.yaml")
        if _NAME.fullmatch(name) is None:
            raise ProtocolError("the relay names objects by 32 hex digits")
        return self._folder / hashlib.sha256(user.encode()).hexdigest()[:32] / name

    def held(self, user: str, name: str) -> Held:
        """What there is of this object.

        Raises:
            NotFoundError: nothing, or it is somebody else's.
        """
        path = self._path(user, name)
        for complete, each in ((True, path), (False, path.with_suffix(_ARRIVING))):
            with suppress(OSError):
                status = each.stat()
                if status.st_mtime + self._config.ttl_s > time.time():
                    return Held(status.st_size, complete)
        raise NotFoundError("the relay has no such object")

    def used(self, user: str) -> int:
        """Bytes that this user's objects take."""
        folder = self._path(user, "0" * 32).parent
        return sum(status.st_size for status in _statuses(folder))

    async def put(self, user: str, name: str, start: int, total: int, chunks: AsyncIterator[bytes]) -> Held:
        """Append what comes at ``start``; with ``total`` bytes the object is whole. One that is whole already stays as it is.

        Raises:
            ConflictError: the relay has another number of bytes than ``start``; the message says how many.
            PayloadTooLargeError: over the user's quota.
            ServiceFullError: the disk is full.
        """
        path = self._path(user, name)
        if path.exists():
            return Held(path.stat().st_size, complete=True)
        await anyio.to_thread.run_sync(self._admit, user, path, start, total)
        part = path.with_suffix(_ARRIVING)
        received = await self._append(part, start, total, chunks)
        if received == total:
            os.replace(part, path)
        return Held(received, received == total)

    def _admit(self, user: str, path: Path, start: int, total: int) -> None:
        private_dir(path.parent)
        part = path.with_suffix(_ARRIVING)
        have = part.stat().st_size if part.exists() else 0
        if start != have:
            raise ConflictError(f"the relay has {have} bytes of it")
        if total - start < 0 or self.used(user) + total - start > self._config.quota_bytes:
            raise PayloadTooLargeError(f"{total:,} bytes are over the relay's quota of {self._config.quota_bytes:,}", hint="fetch or delete what is there")

    async def _append(self, part: Path, start: int, total: int, chunks: AsyncIterator[bytes]) -> int:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
        received = start
        try:
            async for chunk in chunks:
                if received + len(chunk) > total:
                    raise ProtocolError("more bytes than the upload said")
                await anyio.to_thread.run_sync(os.pwrite, descriptor, chunk, received)
                received += len(chunk)
        except OSError as exc:
            raise ServiceFullError(f"the relay cannot store more: {exc.strerror}", hint="try again later, or by another route") from exc
        finally:
            os.close(descriptor)
        return received

    async def read(self, user: str, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes ``start`` to ``end`` of an object that is whole."""
        descriptor = os.open(self._path(user, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while start < end:
                chunk = await anyio.to_thread.run_sync(os.pread, descriptor, min(_CHUNK_BYTES, end - start), start)
                if not chunk:
                    return
                yield chunk
                start += len(chunk)
        finally:
            os.close(descriptor)

    def delete(self, user: str, name: str) -> None:
        """Forget an object; no error where there is none."""
        path = self._path(user, name)
        for each in (path, path.with_suffix(_ARRIVING)):
            with suppress(FileNotFoundError):
                each.unlink()

    def forget_expired(self) -> None:
        """Called now and then: remove what nobody fetched in time."""
        if not self._folder.is_dir():
            return
        for folder in list(self._folder.iterdir()):
            for each in list(folder.iterdir()):
                with suppress(OSError):
                    if each.lstat().st_mtime + self._config.ttl_s < time.time():
                        each.unlink()


def _statuses(folder: Path) -> Iterator[os.stat_result]:
    if folder.is_dir():
        for each in folder.iterdir():
            with suppress(OSError):
                yield each.lstat()
