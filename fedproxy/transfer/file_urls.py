"""Files at URLs: read and written through fsspec, HTTP with ranges and PUT; never where a URL of a remote user may not lead (`guard`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from fedproxy.config.home import PRIVATE_FILE
from fedproxy.errors import FilePathError, RouteUnavailableError, SourceLostError, TransferError
from fedproxy.transfer.guard import Guard
from fedproxy.transfer.remote_file import shown
from fedproxy.transfer.routes.url import HttpSource, chunks, filesystem_for, hang_up, open_url

_HTTP = ("http", "https")
Room = Callable[[int], None]
"""Makes room for so many bytes; asked again, with 0, before each piece. Raises ``StagingFullError``, ``TransferCancelledError``."""


def fetch(url: str, target: Path, directory: bool, guard: Guard, *, stall_s: float, room: Room) -> None:
    """Bring a file or a folder.

    Raises:
        ForbiddenAddressError: the URL leads where it may not.
        FilePathError: the source names a file outside of the folder.
        TransferError: it cannot be had.
    """
    if directory:
        _fetch_folder(url, target, guard, room)
        return
    with closing(open_url(url, guard, stall_s=stall_s)) as source:
        room(source.size)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
        with open(descriptor, "wb") as file:
            for piece in chunks(source.read, source.size):
                room(0)
                file.write(piece)
        if target.stat().st_size != source.size:
            raise SourceLostError(f"{shown(url)} ended early")


def _fetch_folder(url: str, target: Path, guard: Guard, room: Room) -> None:
    if urlsplit(url).scheme in _HTTP:
        raise RouteUnavailableError("HTTP has no folders", hint="name the files, or use another protocol")
    files, path = filesystem_for(url, guard)
    try:
        _fetch_files(files, path, url, target, room)
    finally:
        hang_up(files)


def _fetch_files(files: Any, path: str, url: str, target: Path, room: Room) -> None:
    found = _told(partial(files.find, path, detail=True), url)
    if not found:
        raise SourceLostError(f"there is no folder {shown(url)}")
    room(sum(int(row.get("size") or 0) for row in found.values()))
    root = PurePosixPath(path.strip("/"))
    for name in found:
        below = PurePosixPath(name.strip("/"))
        if not below.is_relative_to(root) or ".." in below.parts:
            raise FilePathError(f"{shown(url)} names a file outside of itself: {name!r}")
        place = target / below.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _told(partial(files.get_file, name, str(place)), url)


def send(path: Path, url: str, guard: Guard, *, stall_s: float) -> None:
    """Send a file or a folder to a URL. Raises as `fetch`."""
    if urlsplit(url).scheme in _HTTP:
        _put(path, url, guard, stall_s)
        return
    files, target = filesystem_for(url, guard)
    try:
        _send_files(files, path, target, url)
    finally:
        hang_up(files)


def _send_files(files: Any, path: Path, target: str, url: str) -> None:
    places = {path: target}
    if path.is_dir():
        places = {each: f"{target.rstrip('/')}/{each.relative_to(path).as_posix()}" for each in sorted(path.rglob("*")) if each.is_file()}
    for each, place in places.items():
        _told(partial(files.makedirs, str(PurePosixPath(place).parent), exist_ok=True), url)
        _told(partial(files.put_file, str(each), place), url)


def _put(path: Path, url: str, guard: Guard, stall_s: float) -> None:
    if path.is_dir():
        raise RouteUnavailableError("HTTP has no folders", hint="use another protocol")
    split = urlsplit(url)
    with closing(HttpSource.connect(url, guard, stall_s)) as connection, path.open("rb") as file:
        try:
            headers = {"Content-Length": str(path.stat().st_size)}
            connection.request("PUT", (split.path or "/") + (f"?{split.query}" if split.query else ""), file, headers)
            status = connection.getresponse().status
        except OSError as exc:
            raise SourceLostError(f"the connection to {split.netloc} broke: {exc}") from exc
    if not 200 <= status < 300:
        raise TransferError(f"{split.netloc} answered {status} to PUT", hint="may this machine write there?")


def _told(work: Callable[[], Any], url: str) -> Any:
    try:
        return work()
    except FileNotFoundError as exc:
        raise SourceLostError(f"nothing is there: {shown(url)}") from exc
    except Exception as exc:  # fsspec's file systems raise whatever their clients raise
        raise TransferError(f"{shown(url)}: {type(exc).__name__}: {exc}") from exc
