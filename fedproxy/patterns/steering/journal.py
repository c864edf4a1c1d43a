"""What a campaign has asked for and what came, on disk: so that it goes on where it was, whatever happened to its process.

Strategy: one file of JSON lines, appended to, and one folder of values beside it. A line says that a task will be asked
for before it is, under a key that the service knows it by; so after a crash each task is either known here and there, or
was never asked for, and none is run twice. A last line that was cut short is left out.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from attrs import define, field

from fedproxy.errors import ConfigError, FedproxyError
from fedproxy.patterns.steering.result import Result
from fedproxy.serialize import deserialize, serialize

VERSION = 1
_ASKED = ("method", "topic", "task_info", "priority", "max_retries")


@define
class Past:
    """What a journal says."""

    campaign: str = ""
    asked: dict[str, dict[str, Any]] = field(factory=dict)
    """By the task's id, in the order of asking."""
    ended: dict[str, dict[str, Any]] = field(factory=dict)
    length: int = 0
    """Bytes of whole lines."""


def read_journal(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a journal, for reports: ``asked`` and ``ended`` events with all their times. A last line cut short is left out."""
    return [event for event, _ in _lines(Path(path))]


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            end += len(line)
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line), end
            except ValueError as exc:
                raise ConfigError(f"{path}, line {number}: not a journal of a campaign", hint="name another file") from exc


def read_past(path: Path) -> Past:
    """What was asked and what ended.

    Raises:
        ConfigError: the file is something else, or of another version.
    """
    past = Past()
    for event, past.length in _lines(path):
        kind = event.get("event")
        if kind == "begun":
            if event.get("version") != VERSION:
                raise ConfigError(f"{path} has version {event.get('version')}, this fedproxy reads {VERSION}")
            past.campaign = event["campaign"]
        elif kind in ("asked", "ended"):
            getattr(past, kind)[event["id"]] = event
    if past.length and not past.campaign:
        raise ConfigError(f"{path} is not a journal of a campaign", hint="name another file")
    return past


class Journal:
    """The journal of the campaign that runs now. Thread-safe.

    Args:
        path: of the file; its values go to the folder ``PATH.values``. Both are readable by their owner alone.
        campaign: an id for a campaign that begins.

    Raises:
        ConfigError: the file is something else.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, campaign: str) -> None:
        self.path = path
        self._values = path.with_name(path.name + ".values")
        self._lock = threading.Lock()
        self.past = read_past(path) if path.exists() else Past()
        self._values.mkdir(mode=0o700, parents=True, exist_ok=True)
        for half_written in self._values.glob(".*"):
            half_written.unlink()
        self._file: IO[bytes] = open(path, "ab", opener=_private)  # noqa: SIM115  closed by close()
        self._file.truncate(self.past.length)
        if not self.past.campaign:
            self.past.campaign = campaign
            self._write({"event": "begun", "version": VERSION, "campaign": campaign})

    @property
    def campaign(self) -> str:
        """The campaign's id, also over restarts."""
        return self.past.campaign

    def asked(self, result: Result, group: str) -> None:
        """A task is about to be asked for."""
        self._save(result.task_id, "in", (result.args, result.kwargs))
        about = {name: getattr(result, name) for name in _ASKED}
        self._write({"event": "asked", "id": result.task_id, "group": group, **about, "created": result.timestamps["created"]})

    def ended(self, result: Result) -> None:
        """A task has ended; its value is saved before the line that says so."""
        self._save(result.task_id, "out", result.exception if not result.success else result.value)
        self._write({
            "event": "ended", "id": result.task_id, "method": result.method, "success": result.success, "cancelled": result.cancelled,
            "retries": result.retries, "failure": result.failure, "worker": result.worker, "timestamps": result.timestamps,
        })

    def restored(self, task_id: str) -> Result:
        """A task of the past, with its inputs; and with its outcome if it has ended."""
        entry = self.past.asked[task_id]
        args, kwargs = self._load(task_id, "in")
        result = Result(task_id, args=args, kwargs=kwargs, timestamps={"created": entry["created"]}, **{name: entry[name] for name in _ASKED})
        end = self.past.ended.get(task_id)
        if end is not None:
            result.timestamps, result.cancelled, result.retries, result.worker = end["timestamps"], end["cancelled"], end["retries"], end["worker"]
            outcome = self._load(task_id, "out")
            if end["success"]:
                result.succeed(outcome)
            else:
                result.fail(outcome)
        return result

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            self._file.close()

    def _write(self, event: dict[str, Any]) -> None:
        try:
            line = json.dumps(event).encode() + b"\n"
        except (TypeError, ValueError) as exc:
            raise ConfigError(f"task_info must be JSON: {exc}", hint="put only names, numbers, lists and dicts in task_info") from exc
        with self._lock:
            self._file.write(line)
            self._file.flush()

    def _save(self, task_id: str, kind: str, value: Any) -> None:
        path = self._values / f"{task_id}.{kind}"
        temporary = path.with_name(f".{path.name}")
        with open(temporary, "wb", opener=_private) as file:
            file.writelines(serialize(value).parts)
        temporary.replace(path)

    def _load(self, task_id: str, kind: str) -> Any:
        path = self._values / f"{task_id}.{kind}"
        try:
            return deserialize(bytearray(path.read_bytes()))
        except (OSError, FedproxyError) as exc:
            raise ConfigError(f"the campaign in {self.path} cannot go on: {path} cannot be read: {exc}", hint="begin a new one with another file") from exc


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
