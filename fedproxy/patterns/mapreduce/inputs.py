"""Inputs as whole lines: files anywhere fsspec reaches, cut at line ends.

Strategy: a split is a range of bytes and owns the lines that begin in it; nobody has to look for line ends beforehand. Its reader begins one
byte early, so that it sees whether a line begins at its start, and reads on behind its end until the line ends. A line that is longer than
many splits belongs to the one in which it begins; the others find no line end in their range and read no further. Compressed files cannot be
entered in the middle: each is one split, read as a stream. Nothing is decoded: lines are bytes.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from fedproxy.errors import ConfigError

Reader = Callable[[int, int], bytes]
"""Bytes from ``start`` on, at most ``length``; none at the end."""
_LOCAL = "file://"
_TAIL_BYTES = 8 * 1024
_MOST_TAIL_BYTES = 8 * 1024 * 1024


@frozen
class InputFile:
    """A file that was found."""

    url: str
    size: int
    compression: str | None = None


@frozen
class Split:
    """What one map reads. ``length`` None: all of a compressed file."""

    url: str
    start: int
    length: int | None
    compression: str | None = None


def find_inputs(urls: Sequence[str]) -> list[InputFile]:
    """The files that ``urls`` mean: files, folders (with what is below them), and patterns. Hidden files in folders are passed over.

    Raises:
        ConfigError: one of them means no file.
    """
    from fsspec.core import get_compression, url_to_fs

    found: list[InputFile] = []
    for url in urls:
        fs, path = url_to_fs(url)
        paths = _paths(fs, path)
        if not paths:
            raise ConfigError(f"no input: {url} is neither a file nor a folder or pattern with files", hint="paths are those of the endpoint's machine")
        found += [InputFile(fs.unstrip_protocol(each), int(fs.info(each)["size"]), get_compression(each, "infer")) for each in paths]
    return found


def _paths(fs: Any, path: str) -> list[str]:
    if any(mark in path for mark in "*?["):
        return sorted(each for each in fs.glob(path) if fs.isfile(each))
    if fs.isdir(path):
        return sorted(each for each in fs.find(path) if not any(part.startswith((".", "_")) for part in each[len(path) :].split("/")))
    return [path] if fs.exists(path) else []


def plan_splits(files: Sequence[InputFile], maps: int, *, most_bytes: int) -> list[Split]:
    """About ``maps`` splits of about equal size, none larger than ``most_bytes`` unless its file is compressed. Empty files have none."""
    total = sum(file.size for file in files)
    size = max(1, min(most_bytes, -(-total // max(1, maps))))
    found: list[Split] = []
    for file in files:
        if file.compression is not None:
            found += [Split(file.url, 0, None, file.compression)] if file.size else []
            continue
        parts = max(1, round(file.size / size), -(-file.size // most_bytes)) if file.size else 0
        edges = [file.size * part // parts for part in range(parts + 1)] if parts else []
        found += [Split(file.url, start, stop - start) for start, stop in itertools.pairwise(edges)]
    return found


def bundles(splits: Sequence[Split], files: Sequence[InputFile], maps: int, *, most_bytes: int) -> list[tuple[Split, ...]]:
    """What each map reads: small neighbouring splits (of many small files) together, as long as they are not more than a map's share."""
    sizes = {file.url: file.size for file in files}
    share = min(most_bytes, -(-sum(sizes.values()) // max(1, maps)))
    found: list[list[Split]] = []
    room = 0
    for split in splits:
        size = sizes[split.url] if split.length is None else split.length
        if size > room:
            found.append([])
            room = share
        found[-1].append(split)
        room -= size
    return [tuple(bundle) for bundle in found]


def read_pieces(split: Split, piece_bytes: int) -> Iterator[bytes]:
    """The split's lines, in pieces of about ``piece_bytes`` (more only where one line is longer). Every piece ends with a newline; the last line
    of a file gets one if it has none.
    """
    blocks = _stream(split, piece_bytes) if split.length is None else _range(split, piece_bytes)
    carried: list[bytes] = []
    for block in blocks:
        cut = block.rfind(b"\n") + 1
        if not cut:
            carried.append(block)
            continue
        yield b"".join((*carried, block[:cut])) if carried or cut < len(block) else block
        carried = [block[cut:]] if cut < len(block) else []
    rest = b"".join(carried)
    if rest:
        yield rest + b"\n"


def _stream(split: Split, piece_bytes: int) -> Iterator[bytes]:
    import fsspec

    with fsspec.open(split.url, "rb", compression=split.compression) as file:
        while block := file.read(piece_bytes):
            yield block


def _range(split: Split, piece_bytes: int) -> Iterator[bytes]:
    """The bytes of the lines that begin in the split: from the first line's beginning to the last line's end."""
    assert split.length is not None
    with _opened(split.url) as read:
        end = split.start + split.length
        at = max(0, split.start - 1)
        inside = split.start == 0
        ended = False
        while at < end:
            block = read(at, min(end, at + piece_bytes) - at)
            at += len(block)
            if not block:
                return
            if not inside:
                cut = block.find(b"\n") + 1
                if not cut:
                    continue
                inside, block = True, block[cut:]
                ended = at == end and not block  # the line that ended here was another split's
            if block:
                yield block
                ended = at == end and block.endswith(b"\n")
        if inside and not ended:
            yield from _tail(read, at)


def _tail(read: Reader, at: int) -> Iterator[bytes]:
    """From ``at`` to the end of the line, or of the file."""
    step = _TAIL_BYTES
    while block := read(at, step):
        cut = block.find(b"\n") + 1
        if cut:
            yield block[:cut]
            return
        yield block
        at += len(block)
        step = min(2 * step, _MOST_TAIL_BYTES)


@contextmanager
def _opened(url: str) -> Iterator[Reader]:
    """What reads parts of a file. One of this machine is read without fsspec, which takes longer to open a small file than to read it."""
    if url.startswith(_LOCAL):
        descriptor = os.open(url[len(_LOCAL) :], os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield lambda start, length: os.pread(descriptor, length, start)
        finally:
            os.close(descriptor)
        return
    from fsspec.core import url_to_fs

    fs, path = url_to_fs(url)
    yield lambda start, length: bytes(fs.cat_file(path, start=start, end=start + length))
