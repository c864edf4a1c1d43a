"""Where reducers put what they made: one file each, seen whole or not at all, or back to the caller."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Any

from fedproxy.errors import ConfigError
from fedproxy.patterns.mapreduce.plan import Plan
from fedproxy.patterns.shuffle.records import Run


class PartWriter:
    """The output of one attempt of one reducer."""

    def __init__(self, plan: Plan, index: int, attempt: int) -> None:
        self._plan = plan
        self.records = self.nbytes = 0
        self.first: Any = None
        self.last: Any = None
        self.url: str | None = None
        self.data: list[bytes] | None = None
        self._file: Any = None
        if plan.output is None:
            self.data = []
            return
        self._fs, folder = _folder(plan.output)
        self._path = f"{folder}/part-{index:05d}"
        self._temporary = f"{folder}/.{plan.shuffle}-{index:05d}-{attempt}"

    def __enter__(self) -> PartWriter:
        if self._plan.output is not None:
            self._fs.makedirs(self._path.rpartition("/")[0], exist_ok=True)
            self._file = self._fs.open(self._temporary, "wb")
        return self

    def add(self, run: Run) -> None:
        """Take a piece of the output."""
        if self.first is None:
            self.first = run.keys[0]
        self.last = run.keys[-1]
        self.records += len(run)
        data = self._plan.job.records.encode(run) if self.data is not None else self._plan.job.format(run)
        self.nbytes += len(data)
        if self.data is not None:
            self.data.append(data)
        else:
            self._file.write(data)

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is None:
            return
        try:
            self._file.close()
            if exc is None:
                self._fs.mv(self._temporary, self._path)
                self.url = self._fs.unstrip_protocol(self._path)
        finally:
            if self.url is None:
                with suppress(Exception):
                    self._fs.rm_file(self._temporary)


def prepare(output: str, *, overwrite: bool) -> str:
    """Make the folder, without parts of an earlier job in it; its full URL.

    Raises:
        ConfigError: there are such parts, and ``overwrite`` was not asked for.
    """
    fs, folder = _folder(output)
    fs.makedirs(folder, exist_ok=True)
    old = [path for path in fs.find(folder) if path.rpartition("/")[2].startswith("part-")]
    if old and not overwrite:
        raise ConfigError(f"the output folder {output} holds {len(old)} parts of another job", hint="name another folder, or say Options(overwrite=True)")
    for path in old:
        fs.rm_file(path)
    return str(fs.unstrip_protocol(folder))


def discard(output: str, shuffle: str) -> None:
    """Remove what attempts of a job left that did not come to their end."""
    fs, folder = _folder(output)
    with suppress(FileNotFoundError):
        for path in fs.find(folder):
            if path.rpartition("/")[2].startswith(f".{shuffle}-"):
                with suppress(FileNotFoundError):
                    fs.rm_file(path)


def _folder(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    fs, path = url_to_fs(url)
    return fs, str(path).rstrip("/")
