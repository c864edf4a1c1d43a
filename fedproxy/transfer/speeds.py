"""What was measured between sites, kept over restarts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fedproxy.config.home import write_private
from fedproxy.transfer.plan import GUESSES, Pair, Speed


class Speeds:
    """Speeds by (source, destination, route). Thread-safe."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[Pair, Speed] = {}
        if path is not None:
            with suppress(OSError, ValueError, TypeError, KeyError):
                for row in json.loads(path.read_bytes()):
                    self._known[row["source"], row["here"], row["route"]] = Speed(row["setup_s"], row["bytes_per_s"], row["samples"])

    def view(self) -> Mapping[Pair, Speed]:
        """All of them as they are now."""
        with self._lock:
            return dict(self._known)

    def learn(self, pair: Pair, *, setup_s: float, size: int, elapsed_s: float) -> None:
        """A transfer went well."""
        with self._lock:
            known = self._known.get(pair, GUESSES[pair[2]])
            self._known[pair] = known.learned(setup_s=setup_s, size=size, elapsed_s=elapsed_s)

    def failed(self, pair: Pair, problem: str) -> None:
        """A route could not be used."""
        with self._lock:
            self._known[pair] = self._known.get(pair, GUESSES[pair[2]]).failed(time.time(), problem)

    def save(self) -> None:
        """Write them down."""
        if self._path is None:
            return
        rows = [
            {"source": pair[0], "here": pair[1], "route": pair[2], "setup_s": speed.setup_s, "bytes_per_s": speed.bytes_per_s, "samples": speed.samples}
            for pair, speed in self.view().items() if speed.samples]
        with suppress(OSError):
            write_private(self._path, json.dumps(rows).encode())
