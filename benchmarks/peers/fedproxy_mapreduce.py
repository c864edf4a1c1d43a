"""fedproxy's own: the job through each kind of store, in blocks or, naively, as an object for each map and reduce."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.cases import Sample
from benchmarks.host import Host
from benchmarks.mapreduce import cluster
from benchmarks.mapreduce_kernels import job_of
from benchmarks.peers.fedproxy_session import ENDPOINT, session
from benchmarks.peers.redis_server import redis_address
from fedproxy import Executor
from fedproxy.patterns import mapreduce
from fedproxy.patterns.mapreduce import Options
from fedproxy.patterns.mapreduce.peak import idle_bytes


class FedproxyMapReducer:
    """Jobs at one endpoint."""

    def __init__(self, executor: Executor, store: str, layout: str) -> None:
        self._executor, self._store, self._layout = executor, store, layout
        self._idle_bytes = 0
        """What a worker process takes after a small first job."""

    def run(self, app: str, source: Path, output: Path, maps: int, reduces: int, memory_bytes: int) -> Sample:
        options = Options(maps=maps, reduces=reduces, memory_bytes=memory_bytes, layout=self._layout, progress=False)
        result = mapreduce.run(
            job_of(app), str(source), endpoints=[ENDPOINT], output=str(output), store=self._store, options=options, client=self._executor.client)
        self._idle_bytes = self._idle_bytes or self._executor.submit(idle_bytes).result()
        found = {
            "intermediate": sum(phase.total_s for phase in result.phases if phase.name.startswith("intermediate")),
            "worker_peak": result.peak_rss_bytes / 1e6, "worker_idle": self._idle_bytes / 1e6,
            "stored": result.moved.intermediate / 1e6, "spilled": result.moved.spilled / 1e6,
        }
        for phase in result.phases:
            name = phase.name.replace(" ", "_")
            for stat, seconds in (("mean", phase.mean_s), ("p50", phase.p50_s), ("p95", phase.p95_s), ("max", phase.max_s)):
                found[f"{name}_{stat}"] = 1e3 * seconds
        return found


def maker(store: Callable[[], str], layout: str = "block") -> Callable[[Host], FedproxyMapReducer]:
    """A factory for a kind of store."""
    return lambda host: FedproxyMapReducer(host.shared(session), store(), layout)


def redis_url() -> str:
    """The server of this run."""
    server, port = redis_address()
    return f"redis://{server}:{port}"


shm = maker(lambda: "shm")
file = maker(lambda: "file")
redis = maker(redis_url)
redis_cluster = maker(cluster)
naive_shm = maker(lambda: "shm", "objects")
naive_file = maker(lambda: "file", "objects")
naive_redis = maker(redis_url, "objects")
