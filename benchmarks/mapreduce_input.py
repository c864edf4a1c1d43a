"""The text that is sorted and counted, and the digests of the right answers: made once for all systems of a run."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from xxhash import xxh3_64, xxh3_64_intdigest

from examples.mapreduce.text import generate

DIRECTORY_VARIABLE = "FEDPROXY_BENCH_MAPREDUCE"
_BLOCK = 1 << 22


def prepared(nbytes: int, app: str) -> Path:
    """A file of about ``nbytes`` of text; beside it is, with the suffix ``.sort`` or ``.wordcount``, the digest of the answer of ``app``."""
    directory = Path(os.environ[DIRECTORY_VARIABLE])
    path = directory / f"text-{nbytes}"
    with (directory / f"lock-{nbytes}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            generate(directory / f"new-{nbytes}", nbytes, seed=nbytes, files=1)
            (directory / f"new-{nbytes}" / "text-0.txt").rename(path)
            os.sync()  # or whoever comes first shares the disk with it
        answer = path.with_name(f"{path.name}.{app}")
        if not answer.exists():
            answer.write_text(_sorted(path) if app == "sort" else _counted(path))
    return path


def _sorted(path: Path) -> str:
    command = ["sort", "-S", "500M", "-T", str(path.parent), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"}) as sorting:
        assert sorting.stdout is not None
        return _digest(iter(lambda: sorting.stdout.read(_BLOCK), b""))  # type: ignore[union-attr]


def _counted(path: Path) -> str:
    words: Counter[bytes] = Counter()
    with path.open("rb") as file:
        for lines in iter(lambda: file.readlines(_BLOCK), []):
            words.update(b"".join(lines).split())
    return _count_digest([b"%b\t%d" % pair for pair in words.items()])


def _digest(blocks: Iterable[bytes]) -> str:
    state = xxh3_64()
    for block in blocks:
        state.update(block)
    return state.hexdigest()


def _count_digest(lines: Iterable[bytes]) -> str:
    """Of lines in any order."""
    return f"{sum(map(xxh3_64_intdigest, lines)) % 2**64:016x}"


def digest_of(app: str, folder: Path) -> str:
    """Of the parts in ``folder``, in the order of their names."""
    parts = sorted(folder.glob("part-*"))
    if app == "sort":
        return _digest(block for part in parts for block in _blocks(part))
    return _count_digest(line for part in parts for line in part.read_bytes().split(b"\n") if line)


def _blocks(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_BLOCK), b"")
