"""Data to another site: how much of the link is used, whether compute and transfer overlap, and how often one object travels.

Over an emulated WAN (``benchmarks.wan_link``) each repetition is compared with a plain socket copy of as many bytes over the same link right
before it: ``link_use`` is the share of its bandwidth that is reached, from submitting the task that needs the data to its result. On loopback
``bandwidth_to_file`` is a plain copy whose receiver writes into a new file in memory, as ours has to: fresh pages cost more than the socket.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

from benchmarks.cases import Benchmark, Case, Sample, UnsupportedCaseError
from benchmarks.host import Host
from benchmarks.rows import Metric
from benchmarks.two_sites import Link, Sites, two_sites

MB = 1_000_000
METRICS = (
    Metric("link_use", "%", "higher"),
    Metric("bandwidth", "MB/s", "higher"),
    Metric("bandwidth_to_file", "MB/s", "higher"),
    Metric("makespan", "s", "lower"),
    Metric("over_bound", "%", "lower"),
    Metric("transfers", "count", "lower"),
)
SYSTEMS = {"fedproxy": "benchmarks.staging:subject", "raw": "benchmarks.staging:subject_raw"}
PICTURE = "FEDPROXY_BENCH_OVERLAP"
"""Environment variable: where to write the picture of the overlap."""


_OVERLAPS = (("overlap", "B"), ("no-prefetch", "L"))
"""Case to endpoint: the one at L has prefetch turned off."""


def cases(quick: bool) -> Sequence[Case]:
    """Over the WAN at two round-trip times; on loopback. A quick run has a fifth of the data, one round-trip time and no overlap."""
    share = 5 if quick else 1
    count = 1 if quick else 3
    found = []
    for rtt_ms, suffix in ((18, ""), (100, "-rtt100")):
        found.append(Case(f"wan-200MB{suffix}", {"rtt_ms": rtt_ms, "objects": 1, "bytes": 200 * MB // share}, {"bytes": MB}, count, 0, ("fedproxy",)))
        found.append(
            Case(f"wan-1000x100kB{suffix}", {"rtt_ms": rtt_ms, "objects": 1000 // share, "bytes": MB // 10}, {"objects": 10}, count, 0, ("fedproxy",)))
    tasks = {"rtt_ms": 18, "tasks": 20, "bytes": 10 * MB}
    if quick:
        found = found[:2]
    return [
        Case("loopback-1GB", {"rtt_ms": 0, "objects": 1, "bytes": 1000 * MB // share}, {}, 3 if quick else 5),
        *found,
        *([] if quick else [Case(name, {**tasks, "endpoint": endpoint}, {"tasks": 1}, count, 0, ("fedproxy",)) for name, endpoint in _OVERLAPS]),
        Case("broadcast-50", {"rtt_ms": 18, "tasks": 50, "bytes": 100 * MB // share}, {"tasks": 2, "bytes": MB}, 1, 0, ("fedproxy",)),
    ]


class Subject:
    """Opens the two sites over each link when a case asks for it."""

    def __init__(self, host: Host, *, raw: bool) -> None:
        self._host, self.raw = host, raw
        self._open: dict[int, Sites] = {}

    def sites(self, rtt_ms: int) -> Sites:
        if rtt_ms not in self._open:
            made: AbstractContextManager[Sites] = two_sites(Path(self._host.directory) / f"rtt{rtt_ms}", Link(rtt_ms), self._host.workers)
            self._open[rtt_ms] = self._host.own(made)
        return self._open[rtt_ms]


def subject(host: Host) -> Subject:
    return Subject(host, raw=False)


def subject_raw(host: Host) -> Subject:
    return Subject(host, raw=True)


def wan(case: Case, sites: Sites) -> Sample:
    """Ours right after a plain copy of as many bytes."""
    size = case.number("objects") * case.number("bytes")
    plain_s = sites.ask(what="raw", size=size)["seconds"]
    ours_s = sites.ask(what="objects", count=case.number("objects"), size=case.number("bytes"))["seconds"]
    return {"link_use": 100.0 * plain_s / ours_s, "bandwidth": size / MB / ours_s}


def loopback(case: Case, sites: Sites) -> Sample:
    """The transfer alone, as its stager timed it: from being asked for to being a copy that workers map."""
    size = case.number("bytes")
    return {"bandwidth": size / MB / sites.ask(what="stage", size=size)["moving"]}


def overlap(case: Case, sites: Sites) -> Sample:
    """Against max(compute, a plain copy of the inputs) + one task."""
    tasks, size, seconds = case.number("tasks"), case.number("bytes"), 1.0
    plain_s = sites.ask(what="raw", size=tasks * size)["seconds"]
    told = sites.ask(what="overlap", endpoint=str(case.params["endpoint"]), tasks=tasks, size=size, seconds=seconds)
    bound_s = max(tasks * seconds / 2, plain_s) + seconds
    if PICTURE in os.environ:
        draw(Path(os.environ[PICTURE]), case.name, told)
    return {"makespan": told["seconds"], "over_bound": 100.0 * (told["seconds"] / bound_s - 1.0)}


def broadcast(case: Case, sites: Sites) -> Sample:
    """How often it travelled."""
    told = sites.ask(what="broadcast", tasks=case.number("tasks"), size=case.number("bytes"))
    return {"transfers": told["transfers"], "makespan": told["seconds"]}


def measure(case: Case, subject: object) -> Sample:
    """One repetition."""
    made = cast("Subject", subject)
    sites = made.sites(case.number("rtt_ms"))
    if made.raw:
        if case.name != "loopback-1GB":
            raise UnsupportedCaseError("measured within each repetition of fedproxy")
        size = case.number("bytes")
        seconds = {name: sites.ask(what="raw", size=size, to_file=to_file)["seconds"] for name, to_file in (("bandwidth", False), ("bandwidth_to_file", True))}
        return {name: size / MB / each for name, each in seconds.items()}
    return _MEASURES[case.name.removesuffix("-rtt100")](case, sites)


_MEASURES: dict[str, Callable[[Case, Sites], Sample]] = {
    "wan-200MB": wan, "wan-1000x100kB": wan, "loopback-1GB": loopback, "overlap": overlap, "no-prefetch": overlap, "broadcast-50": broadcast,
}


def draw(path: Path, name: str, told: dict[str, list[tuple[float, float]]]) -> None:
    """Transfers above, runs below, over time; the other case's, drawn before, is kept beside it."""
    from fedproxy.transfer.picture import overlap_picture

    data = path.with_suffix(".json")
    known = json.loads(data.read_text()) if data.exists() else {}
    known[name] = {"moves": told["moves"], "runs": told["runs"]}
    data.write_text(json.dumps(known))
    overlap_picture(known, path)


BENCHMARK = Benchmark("staging", METRICS, SYSTEMS, cases, measure)
