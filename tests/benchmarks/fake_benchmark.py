"""A benchmark whose systems behave in every way that a system can."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.cases import Benchmark, Case, Sample, UnsupportedCaseError
from benchmarks.host import Host
from benchmarks.rows import Metric

HERE = "tests.benchmarks.fake_benchmark"


class Subject:
    """Counts its calls; 1, 2, 3, ... is what it measures."""

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.calls = 0

    def measure(self, case: Case) -> Sample:
        self.calls += 1
        if case.name == "second":
            return {"time": 0.0}
        if case.name in ("third", "fourth"):
            time.sleep(float(case.params.get("sleep_s", 0.0)))
            return {"time": 0.0}
        if self.behaviour == "crashes":
            os._exit(3)
        if self.behaviour == "raises":
            raise ValueError("wrong result")
        if self.behaviour == "cannot":
            raise UnsupportedCaseError("no such thing")
        if self.behaviour == "hangs":
            time.sleep(600)
        print("noise on standard output")
        return {"time": float(self.calls)}


def works(host: Host) -> Subject:
    """Leaves a process of another session behind."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    (host.directory.parent.parent / os.environ["FAKE_PID_FILE"]).write_text(str(child.pid))
    return Subject("works")


def tidy(_: Host) -> Subject:
    return Subject("works")


def crashes(_: Host) -> Subject:
    return Subject("crashes")


def raises(_: Host) -> Subject:
    return Subject("raises")


def cannot(_: Host) -> Subject:
    return Subject("cannot")


def hangs(_: Host) -> Subject:
    return Subject("hangs")


def missing(_: Host) -> Subject:
    importlib.import_module("no_such_peer")
    raise AssertionError


def cases(quick: bool) -> Sequence[Case]:
    slow = Case("third", {"sleep_s": 0.5}, {"sleep_s": 0.0}, 3, enough_s=0.2, systems=("fedproxy",))
    too_slow = Case("fourth", {"sleep_s": 600.0}, {"sleep_s": 0.0}, 3, limit_s=1.0, systems=("proxystore",))
    return [Case("first", {"tasks": 1}, {}, 3), Case("second", {}, {}, 1), slow, too_slow]


def measure(case: Case, subject: object) -> Sample:
    assert isinstance(subject, Subject)
    return subject.measure(case)


BENCHMARK = Benchmark(
    "fake",
    (Metric("time", "s", "lower"),),
    {
        "fedproxy": f"{HERE}:works",
        "dask": f"{HERE}:missing",
        "htex": f"{HERE}:crashes",
        "ray": f"{HERE}:raises",
        "ppe": f"{HERE}:cannot",
        "loky": f"{HERE}:hangs",
        "proxystore": f"{HERE}:tidy",
    },
    cases,
    measure,
)
