"""Input: real text of this machine, or as much as is wanted, generated from it."""

from __future__ import annotations

import random
import re
import sysconfig
from argparse import ArgumentTypeError
from collections.abc import Iterator
from pathlib import Path

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
_SOURCE_BYTES = 8_000_000
_LINES_AT_ONCE = 20_000


def size_bytes(text: str) -> int:
    """``300MB`` as bytes.

    Raises:
        ArgumentTypeError: that is not a size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?I?)B?", text.upper())
    if found is None:
        raise ArgumentTypeError(f"not a size: {text!r}; for example 300MB or 2GiB")
    return int(float(found[1]) * _UNITS[found[2]])


def installed_text() -> list[str]:
    """The sources of the running Python's standard library."""
    return [str(path) for path in _sources()]


def generate(folder: Path, nbytes: int, *, seed: int, files: int = 4) -> None:
    """Write ``files`` files of about ``nbytes`` in all: lines of the installed text, drawn at random."""
    lines = list(_lines())
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        left = nbytes // files
        with (folder / f"text-{number}.txt").open("wb") as file:
            while left > 0:
                block = b"".join(rng.choices(lines, k=_LINES_AT_ONCE))[:left]
                file.write(block if len(block) < left else block[:-1] + b"\n")
                left -= len(block)


def _sources() -> list[Path]:
    library = Path(sysconfig.get_paths()["stdlib"])
    return sorted(path for path in library.rglob("*.py") if not {"site-packages", "dist-packages", "test", "idlelib"} & set(path.parts))


def _lines() -> Iterator[bytes]:
    size = 0
    for path in _sources():
        data = path.read_bytes()
        size += len(data)
        if size > _SOURCE_BYTES:
            return
        yield from (line + b"\n" for line in data.split(b"\n"))
