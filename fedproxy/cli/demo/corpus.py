"""The text whose words are counted: real files, cut into pieces of about one megabyte at white space."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

from fedproxy.errors import ConfigError

TEXT_SUFFIXES = frozenset({".py", ".pyi", ".txt", ".rst", ".md"})
PIECE_CHARS = 1_000_000
LIMIT_BYTES = 40_000_000
"""Enough for a picture; all of an installation could be hundreds of megabytes."""


@frozen
class Corpus:
    """Text as it was read, file by file."""

    title: str
    texts: tuple[str, ...]
    size_bytes: int


def read_corpus(source: Path | None, *, limit_bytes: int = LIMIT_BYTES) -> Corpus:
    """The text of ``source``, or of the running Python installation up to ``limit_bytes``.

    Raises:
        ConfigError: there is no text.
    """
    if source is None:
        texts, size = _read(_installed_files(), limit_bytes)
        return Corpus("sources and documentation of the running Python", texts, size)
    files = _text_files(source) if source.is_dir() else [source]
    texts, size = _read(files, None)
    if not size:
        suffixes = ", ".join(sorted(TEXT_SUFFIXES))
        raise ConfigError(f"--input {source}: no text in it", hint=f"in a folder, these files count: {suffixes}")
    return Corpus(str(source), texts, size)


def pieces(texts: Iterable[str], *, size_chars: int = PIECE_CHARS) -> Iterator[str]:
    """Cut and join texts into pieces of about ``size_chars``, never inside a word (white space parts words)."""
    gathered: list[str] = []
    length = 0
    for text in texts:
        for part in _cut(text, size_chars):
            gathered.append(part)
            length += len(part)
            if length >= size_chars:
                yield "\n".join(gathered)
                gathered, length = [], 0
    if gathered:
        yield "\n".join(gathered)


def _cut(text: str, size_chars: int) -> Iterator[str]:
    start = 0
    while len(text) - start > size_chars:
        end = start + size_chars
        while end < len(text) and not text[end].isspace():
            end += 1
        yield text[start:end]
        start = end
    yield text[start:]


def _installed_files() -> Iterator[Path]:
    """The standard library first, then what is installed beside it."""
    paths = sysconfig.get_paths()
    yield from _text_files(Path(paths["stdlib"]), skip=("site-packages", "dist-packages"))
    yield from _text_files(Path(paths["purelib"]))


def _text_files(folder: Path, *, skip: tuple[str, ...] = ()) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in skip and not name.startswith((".", "__pycache__")))
        for name in sorted(names):
            if Path(name).suffix in TEXT_SUFFIXES:
                yield Path(here, name)


def _read(files: Iterable[Path], limit_bytes: int | None) -> tuple[tuple[str, ...], int]:
    texts: list[str] = []
    size = 0
    for path in files:
        try:
            data = path.read_bytes()
        except OSError:  # a dangling link, or not ours to read
            continue
        if limit_bytes is not None and size + len(data) > limit_bytes:
            break
        texts.append(data.decode("utf-8", errors="replace"))
        size += len(data)
    return tuple(texts), size
