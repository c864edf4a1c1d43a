"""How the Globus stand-in moves files: one thread for each task, which does wrong what it was told to."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import define, field

from fedproxy.testing import globus_replies as replies

_RETRIES = 5
_SYNC_CHECKSUM = 3
"""Files that are there with the same checksum are not sent."""


@define
class Faults:
    """What is to go wrong. Counts go down as it happens."""

    slow_s: float = 0.0
    """Each file takes so much longer."""
    corrupt: dict[str, int] = field(factory=dict)
    """File name → how often it is damaged on its way; ``*``: whatever comes next."""
    fail: tuple[str, str] | None = None
    """Tasks end with this ``fatal_error``: code and description."""
    pause: str = ""
    """Tasks become INACTIVE with this reason (``nice_status``), until it is empty again."""
    stall: bool = False
    """Tasks stay ACTIVE, and nothing moves."""


@define(eq=False)
class Task:
    """One transfer or delete task."""

    id: str
    kind: str
    document: dict[str, Any]
    status: str = "ACTIVE"
    nice_status: str = "OK"
    fatal: replies.Json | None = None
    files: int = 0
    bytes: int = 0
    faults: int = 0
    events: list[replies.Json] = field(factory=list)
    skipped: list[replies.Json] = field(factory=list)
    cancelled: threading.Event = field(factory=threading.Event)
    began: float = field(factory=time.time)
    ended: float = 0.0

    @property
    def items(self) -> list[dict[str, Any]]:
        """What was asked for."""
        return list(self.document["DATA"])

    def fields(self) -> dict[str, object]:
        """For `replies.task`."""
        return {
            "status": self.status, "nice_status": self.nice_status, "is_paused": self.status == "INACTIVE", "fatal_error": self.fatal,
            "files": len(self.items), "files_transferred": self.files, "bytes_transferred": self.bytes, "faults": self.faults,
            "subtasks_total": len(self.items), "label": self.document.get("label"), "request_time": replies.when(self.began),
            "completion_time": replies.when(self.ended) if self.ended else None, "canceled_by_admin": None, "is_ok": self.status in ("ACTIVE", "SUCCEEDED")}

    def note(self, code: str, description: str, *, is_error: bool = False) -> None:
        """One more event."""
        self.events.append(replies.event(code, description, is_error, time.time()))
        self.faults += is_error

    def fail(self, code: str, description: str) -> None:
        """End it badly."""
        self.fatal, self.nice_status, self.ended = replies.fatal(code, description), code, time.time()
        self.note(code, description, is_error=True)
        self.status = "FAILED"


def inside(root: Path, path: str) -> Path | None:
    """A collection's path as a path of this machine; None where it leads out of the collection."""
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "~", ".")]
    return None if ".." in parts else root.joinpath(*parts)


class _OverError(Exception):
    """The task has an end already."""


def run(task: Task, collections: Mapping[str, Path], faults: Faults) -> None:
    """Do a task, to its end."""
    try:
        if faults.fail is not None:
            task.fail(*faults.fail)
            return
        task.note("STARTED", "started")
        for item in task.items:
            if task.kind == "delete":
                _hold(task, faults)
                _delete(inside(collections[task.document["endpoint"]], item["path"]))
            else:
                _transfer(task, item, collections, faults)
        task.nice_status, task.ended = "OK", time.time()
        task.note("SUCCEEDED", "succeeded")
        task.status = "SUCCEEDED"
    except _OverError:
        pass
    except OSError as exc:
        task.fail("QUOTA_EXCEEDED" if exc.errno == 28 else "ENDPOINT_ERROR", str(exc))


def _hold(task: Task, faults: Faults) -> None:
    """Wait while it is paused or slow; leave where it was cancelled."""
    until = time.monotonic() + faults.slow_s
    while faults.pause or faults.stall or time.monotonic() < until:
        task.status, task.nice_status = ("INACTIVE", faults.pause) if faults.pause else ("ACTIVE", "OK")
        if task.cancelled.wait(0.01):
            break
    task.status, task.nice_status = "ACTIVE", "OK"
    if task.cancelled.is_set():
        task.fail("CANCELED", "the task was canceled by its owner")
        raise _OverError


def _delete(path: Path | None) -> None:
    if path is not None and path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path is not None:
        path.unlink(missing_ok=True)


def _transfer(task: Task, item: dict[str, Any], collections: Mapping[str, Path], faults: Faults) -> None:
    source = inside(collections[task.document["source_endpoint"]], item["source_path"])
    target = inside(collections[task.document["destination_endpoint"]], item["destination_path"])
    if source is None or target is None:
        task.fail("BAD_PATH", "a path leads out of the collection")
        raise _OverError
    for file, place in _pairs(source, target, bool(item.get("recursive"))):
        _hold(task, faults)
        if not file.is_file():
            if task.document.get("skip_source_errors"):
                task.skipped.append(replies.skipped(item["source_path"], item["destination_path"], "FILE_NOT_FOUND"))
                continue
            task.fail("FILE_NOT_FOUND", f"No such file or directory: {item['source_path']}")
            raise _OverError
        _send(task, file, place, faults)


def _pairs(source: Path, target: Path, recursive: bool) -> Iterator[tuple[Path, Path]]:
    """Files and where they go. Symbolic links are ignored in folders, as Transfer does by default."""
    if not recursive:
        yield source, target
        return
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir() and not path.is_symlink():
            place.mkdir(parents=True, exist_ok=True)
        elif not path.is_symlink():
            yield path, place


def _send(task: Task, source: Path, target: Path, faults: Faults) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if task.document.get("sync_level") == _SYNC_CHECKSUM and target.is_file() and _digest(source) == _digest(target):
        return
    for _ in range(_RETRIES):
        shutil.copyfile(source, target)
        if task.document.get("preserve_timestamp"):
            shutil.copystat(source, target)
        for name in (source.name, "*"):
            if faults.corrupt.get(name, 0) > 0:
                faults.corrupt[name] -= 1
                _damage(target)
        if not task.document.get("verify_checksum") or _digest(source) == _digest(target):
            task.files += 1
            task.bytes += target.stat().st_size
            return
        task.note("VERIFY_CHECKSUM", f"checksum verification failed: {target.name}", is_error=True)
    task.fail("VERIFY_CHECKSUM", f"checksum verification failed: {target.name}")
    raise _OverError


def _damage(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        byte = file.read(1) or b"\0"
        file.seek(size // 2)
        file.write(bytes([byte[0] ^ 0xFF]))
        os.fsync(file.fileno())


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
