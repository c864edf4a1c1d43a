"""The driver processes of one run: one per system, shared by its variants. What fails is set aside, with the reason."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Sample, root_of
from benchmarks.driver import case_request
from benchmarks.memory import MB, PeakMemory, pss
from benchmarks.options import Options
from benchmarks.remote import DriverError, NoAnswerError, RemoteDriver
from benchmarks.rows import Skipped


class Systems:
    """Systems of one benchmark that answer."""

    def __init__(self, benchmark: str, options: Options) -> None:
        self._benchmark = benchmark
        self._options = options
        self._drivers: dict[str, RemoteDriver] = {}
        self._idle_bytes: dict[str, int] = {}
        self.ready: list[str] = []
        self.skipped: list[Skipped] = []

    @contextmanager
    def opened(self, module: str, wanted: Sequence[str], directory: Path, environment: Mapping[str, str]) -> Iterator[None]:
        """Start all at once; on leaving, all of them end at once."""
        with ExitStack() as stack:
            for root in dict.fromkeys(map(root_of, wanted)):
                driver = RemoteDriver(module, directory=directory / root, workers=self._options.workers, environment=environment)
                self._drivers[root] = driver
                stack.callback(self._close, root, driver)
            self._open(wanted)
            yield
            for driver in self._drivers.values():
                driver.hang_up()

    def _open(self, wanted: Sequence[str]) -> None:
        self._options.progress(f"{self._benchmark}: starting {', '.join(wanted)}")
        deadline = time.monotonic() + self._options.limits.opening_s
        for system in wanted:
            self._drivers[root_of(system)].send({"do": "open", "system": system})
        self.ready = list(wanted)
        for system in wanted:
            if self._reply(system, deadline - time.monotonic()) is None and system in self.ready:
                self.ready.remove(system)
        for root in {root_of(system) for system in self.ready}:
            self._idle_bytes[root] = pss(self._drivers[root].pids())

    def _close(self, root: str, driver: RemoteDriver) -> None:
        left = driver.close()
        if left:
            self._options.progress(f"{self._benchmark}: {root} left {left} processes behind, ended")

    def measure(self, system: str, case: Case, timeout_s: float, *, memory: bool = False) -> Sample | None:
        """One repetition of ``case``; None when the system failed. ``memory``: watch it, and time nothing.

        What the caller itself holds (the case's param ``held_bytes``) does not count as the system's memory.
        """
        if system not in self.ready:
            return None
        root = root_of(system)
        driver, request = self._drivers[root], {"do": "measure", "system": system, "case": case_request(case)}
        if not memory:
            driver.send(request)
            reply = self._reply(system, timeout_s, case)
            return None if reply is None else {**reply["sample"]}
        with PeakMemory(driver.pids) as peak:
            driver.send(request)
            reply = self._reply(system, timeout_s, case)
        used = peak.peak_bytes - int(case.params.get("held_bytes", 0))
        return None if reply is None else {"peak_pss": used / MB, "extra_pss": (used - self._idle_bytes[root]) / MB}

    def _reply(self, system: str, timeout_s: float, case: Case | None = None) -> dict[str, Any] | None:
        """The driver's answer, or None with the reason recorded."""
        if system not in self.ready:
            return None
        try:
            reply = self._drivers[root_of(system)].receive(timeout_s)
        except DriverError as exc:
            self._set_aside(root_of(system))
            late = case is None and isinstance(exc, NoAnswerError)
            why: str | None = f"did not start within {self._options.limits.opening_s:.0f} s" if late else str(exc)
        else:
            why = reply.get("unsupported") or reply.get("missing") or reply.get("error")
        if why is None:
            return reply
        self.skip(system, why, case)
        return None

    def skip(self, system: str, why: str, case: Case | None) -> None:
        """Record that ``system`` gave no figure."""
        self.skipped.append(Skipped(self._benchmark, system, why, case.name if case else None))

    def _set_aside(self, root: str) -> None:
        """Its driver is dead or stuck: forget it with all its variants."""
        self.ready = [system for system in self.ready if root_of(system) != root]
        self._drivers[root].close(wait_s=1.0)
