"""Runs a benchmark: systems in turn, repetition by repetition, and medians at the end.

Strategy: on a small shared machine the load drifts, so the systems are interleaved within each repetition; what drifts
then hits all alike and the ratios stand. A quick run shares a time budget among the cases: a case that has used its
share stops after the round that it is in, and its rows' ``n`` says so.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import evolve

from benchmarks.cases import Case, Sample
from benchmarks.catalogue import load
from benchmarks.options import Options
from benchmarks.rows import Label, Row, Skipped, rows_of
from benchmarks.systems import Systems


class Run:
    """One benchmark, once."""

    def __init__(self, module: str, options: Options) -> None:
        self._module = module
        self._benchmark = load(module)
        self._options = options
        self._systems = Systems(self._benchmark.name, options)
        self._started = time.monotonic()
        self._took: dict[str, float] = {}
        """Seconds of the last repetition of each system in this case."""

    @property
    def skipped(self) -> list[Skipped]:
        """What gave no figures, and why."""
        return self._systems.skipped

    def __call__(self) -> Iterator[Row]:
        """Rows, case by case."""
        wanted = [system for system in self._benchmark.systems if self._options.wants(system)]
        with (
            tempfile.TemporaryDirectory(prefix="fpbench-", ignore_cleanup_errors=True) as directory,
            self._benchmark.backends() as environment,
            self._systems.opened(self._module, wanted, Path(directory), environment),
        ):
            cases = self._benchmark.chosen(quick=self._options.quick, minutes=self._options.minutes)
            for done, case in enumerate(cases):
                yield from self._case(case, share_of=len(cases) - done)

    def _left_s(self, limit_s: float) -> float:
        """How much of a limit since the start is left."""
        return self._started + limit_s - time.monotonic()

    def _case(self, case: Case, share_of: int) -> Iterator[Row]:
        limits = self._options.limits
        stop_when_left_s = self._left_s(limits.spread_s) * (1.0 - 1.0 / share_of) if self._options.quick else 0.0
        systems = [system for system in self._systems.ready if not case.systems or system in case.systems]
        self._took = {}
        samples: dict[str, list[Sample]] = {system: [] for system in systems}
        warm = evolve(case, params={**case.params, **case.warmup})
        systems = [system for system in systems if self._repetition(warm, system) is not None]
        for number in range(case.repetitions):
            if number and self._left_s(limits.spread_s) < max(0.0, stop_when_left_s):
                break
            systems = self._round(case, systems, samples, f"{number + 1}/{case.repetitions}")
        for number in range(case.memory_repetitions):
            systems = self._round(case, systems, samples, f"memory {number + 1}", memory=True)
        yield from self._rows(case, samples)

    def _rows(self, case: Case, samples: Mapping[str, Sequence[Sample]]) -> Iterator[Row]:
        params = {**case.params, "workers": self._options.workers, "cpus": len(os.sched_getaffinity(0))}
        for system, found in samples.items():
            yield from rows_of(Label(self._benchmark.name, case.name, system), found, self._benchmark.metrics, params)

    def _round(self, case: Case, systems: Sequence[str], samples: Mapping[str, list[Sample]], what: str, *, memory: bool = False) -> list[str]:
        """One repetition of every system in turn; those that still work."""
        self._options.progress(f"{self._benchmark.name}: {case.name} {what}")
        alive = []
        for system in systems:
            if samples[system] and self._took.get(system, 0.0) > case.enough_s:
                continue  # its rows' ``n`` says so
            sample = self._repetition(case, system, memory=memory)
            if sample is not None:
                samples[system].append(sample)
                alive.append(system)
        return alive

    def _repetition(self, case: Case, system: str, *, memory: bool = False) -> Sample | None:
        left_s = self._left_s(self._options.limits.end_s)
        if left_s < 0:
            self._systems.skip(system, "no time left for it in a quick run", case)
            return None
        timeout_s = min(self._options.limits.repetition_s, case.limit_s, left_s + 1.0)
        began = time.monotonic()
        sample = self._systems.measure(system, case, timeout_s, memory=memory)
        self._took[system] = time.monotonic() - began
        return sample
