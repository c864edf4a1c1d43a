"""Runs a benchmark: systems in turn, repetition by repetition, and medians at the end.

Strategy: on a small shared machine the load drifts, so the systems are interleaved within each repetition; what drifts
then hits all alike and the ratios stand. ``--quick`` shares a time budget among the cases: a case that has used its
share stops after the repetition that it is in, and its rows' ``n`` says so.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from benchmarks.cases import Case, Sample, root_of
from benchmarks.catalogue import load
from benchmarks.driver import case_request
from benchmarks.memory import MB, PeakMemory, pss
from benchmarks.remote import DriverError, RemoteDriver
from benchmarks.rows import Label, Row, Skipped, rows_of

OWN = "fedproxy"
QUICK_BUDGET_S = 45.0
OPEN_TIMEOUT_S = 90.0
QUICK_OPEN_TIMEOUT_S = 30.0
CASE_TIMEOUT_S = 600.0
QUICK_CASE_TIMEOUT_S = 20.0


@frozen
class Options:
    """How to run. ``peers=None``: all that the benchmark knows."""

    quick: bool = False
    peers: frozenset[str] | None = None
    workers: int = 2
    progress: Callable[[str], None] = field(default=lambda _: None)

    def wants(self, system: str) -> bool:
        """Whether ``system`` is to be measured; fedproxy always is."""
        root = root_of(system)
        return root == OWN or self.peers is None or root in self.peers

    @property
    def case_timeout_s(self) -> float:
        """Longest single repetition."""
        return QUICK_CASE_TIMEOUT_S if self.quick else CASE_TIMEOUT_S

    @property
    def open_timeout_s(self) -> float:
        """Longest start of a system."""
        return QUICK_OPEN_TIMEOUT_S if self.quick else OPEN_TIMEOUT_S


class Run:
    """One benchmark being run."""

    def __init__(self, module: str, options: Options) -> None:
        self._module = module
        self._benchmark = load(module)
        self._options = options
        self._drivers: dict[str, RemoteDriver] = {}
        self._ready: list[str] = []
        self._dead: set[str] = set()
        self._idle_bytes: dict[str, int] = {}
        self.skipped: list[Skipped] = []
        self._until = time.monotonic() + QUICK_BUDGET_S if options.quick else float("inf")

    def __call__(self) -> Iterator[Row]:
        """Rows, case by case."""
        with (
            tempfile.TemporaryDirectory(prefix="fpbench-", ignore_cleanup_errors=True) as directory,
            self._benchmark.backends() as environment,
            self._systems(Path(directory), environment),
        ):
            cases = self._benchmark.cases(self._options.quick)
            for done, case in enumerate(cases):
                yield from self._case(case, share_of=len(cases) - done)

    @contextmanager
    def _systems(self, directory: Path, environment: Mapping[str, str]) -> Iterator[None]:
        with ExitStack() as stack:
            wanted = [system for system in self._benchmark.systems if self._options.wants(system)]
            for root in dict.fromkeys(root_of(system) for system in wanted):
                self._drivers[root] = driver = RemoteDriver(
                    self._module,
                    directory=directory / root,
                    workers=self._options.workers,
                    environment=environment,
                )
                stack.callback(self._close, root, driver)
            self._open(wanted)
            yield
            for driver in self._drivers.values():
                driver.hang_up()

    def _open(self, wanted: Sequence[str]) -> None:
        """Start all systems at once, then wait for each."""
        self._options.progress(f"{self._benchmark.name}: starting {', '.join(wanted)}")
        for system in wanted:
            self._drivers[root_of(system)].send({"do": "open", "system": system})
        for system in wanted:
            if self._reply(system, None, lambda driver: driver.receive(self._options.open_timeout_s)) is not None:
                self._ready.append(system)
        for root, driver in self._drivers.items():
            self._idle_bytes[root] = pss(driver.pids())

    def _close(self, root: str, driver: RemoteDriver) -> None:
        left = driver.close()
        if left:
            self._options.progress(f"{self._benchmark.name}: {root} left {left} processes behind, ended")

    def _case(self, case: Case, share_of: int) -> Iterator[Row]:
        deadline = time.monotonic() + max(0.0, self._until - time.monotonic()) / share_of
        systems = [system for system in self._ready if not case.systems or system in case.systems]
        samples: dict[str, list[Sample]] = {system: [] for system in systems}
        warm = evolve(case, params={**case.params, **case.warmup})
        systems = [system for system in systems if self._repetition(warm, system) is not None]
        for number in range(case.repetitions):
            if number and time.monotonic() > deadline:
                break
            systems = self._round(case, systems, samples, f"{number + 1}/{case.repetitions}", memory=False)
        for number in range(case.memory_repetitions):
            systems = self._round(case, systems, samples, f"memory {number + 1}", memory=True)
        params = {**case.params, "workers": self._options.workers, "cpus": len(os.sched_getaffinity(0))}
        for system, found in samples.items():
            yield from rows_of(Label(self._benchmark.name, case.name, system), found, self._benchmark.metrics, params)

    def _round(self, case: Case, systems: Sequence[str], samples: Mapping[str, list[Sample]], what: str, *, memory: bool) -> list[str]:
        """One repetition of every system in turn; those that still work."""
        self._options.progress(f"{self._benchmark.name}: {case.name} {what}")
        alive = []
        for system in systems:
            sample = self._repetition(case, system, memory=memory)
            if sample is not None:
                samples[system].append(sample)
                alive.append(system)
        return alive

    def _repetition(self, case: Case, system: str, *, memory: bool = False) -> Sample | None:
        request = {"do": "measure", "system": system, "case": case_request(case)}
        ask = lambda driver: driver.ask(request, self._options.case_timeout_s)  # noqa: E731
        if not memory:
            reply = self._reply(system, case, ask)
            return None if reply is None else {**reply["sample"]}
        root = root_of(system)
        with PeakMemory(self._drivers[root].pids) as peak:
            reply = self._reply(system, case, ask)
        used = peak.peak_bytes - int(case.params.get("held_bytes", 0))
        return None if reply is None else {"peak_pss": used / MB, "extra_pss": (used - self._idle_bytes[root]) / MB}

    def _reply(self, system: str, case: Case | None, ask: Callable[[RemoteDriver], dict[str, Any]]) -> dict[str, Any] | None:
        """The driver's answer, or None with the reason recorded."""
        driver = self._drivers[root_of(system)]
        if root_of(system) in self._dead:
            return None
        try:
            reply = ask(driver)
        except DriverError as exc:
            self._give_up(root_of(system))
            why: str | None = str(exc)
        else:
            why = reply.get("unsupported") or reply.get("missing") or reply.get("error")
        if why is None:
            return reply
        self.skipped.append(Skipped(self._benchmark.name, system, why, case.name if case else None))
        return None

    def _give_up(self, root: str) -> None:
        """Forget a root whose driver is dead or stuck, with all its variants."""
        self._dead.add(root)
        self._ready = [system for system in self._ready if root_of(system) != root]
        self._drivers[root].close(wait_s=1.0)
