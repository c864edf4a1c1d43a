"""What one agent's state machine carries: 1,024 to 131,072 simulated workers on nodes of 64, as in funcX's largest run (TPDS 2022: 1,694 tasks/s
with real ones). Real are: the messages of the protocol, the holdings with their journal on disk, the queue, the router. Simulated are the workers:
they answer at once.

Each measurement is a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from benchmarks.cases import Case, Sample
from benchmarks.host import Host
from benchmarks.memory import MB, pss
from benchmarks.rows import Metric
from fedproxy.endpoint.holdings import Holdings
from fedproxy.endpoint.journal import Held, Journal
from fedproxy.endpoint.router import WarmingAware
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import decode, encode
from fedproxy.protocol.ids import new_task_id
from fedproxy.protocol.states import TaskState

METRICS = (Metric("routed", "tasks/s", "higher"), Metric("route", "us", "lower"), Metric("memory", "MB", "lower"))
SYSTEMS = {"fedproxy": "benchmarks.scale_service:itself"}
PER_NODE, KINDS, BATCH = 64, 10, 500
BUSY = 0.95
"""Of the workers have a task at any time."""
PAYLOAD = b"x" * 200


def cases(quick: bool) -> Sequence[Case]:
    """One, 16 and 131 thousand workers; 200,000 tasks (quick: 5,000) after all workers have one."""
    tasks = 5_000 if quick else 200_000
    return [
        Case(f"workers-{name}", {"simulated": workers, "tasks": tasks}, {"simulated": 1_024, "tasks": 1_000}, 2 if quick else 3)
        for name, workers in (("1k", 1_024), ("16k", 16_384), ("131k", 131_072))]


class SimulatedEndpoint:
    """An agent between a service that sends and workers that answer, without sockets and processes."""

    def __init__(self, workers: int, directory: Path) -> None:
        self._random = random.Random(workers)
        self._kinds = [f"image-{number}" for number in range(KINDS)]
        self._router: WarmingAware[int] = WarmingAware()
        for node in range(workers // PER_NODE):
            warm = {kind: PER_NODE // KINDS + (1 if number < PER_NODE % KINDS else 0) for number, kind in enumerate(self._kinds)}
            self._router.advertise(node, 0, warm)
        self._journal = Journal(directory / "journal")
        self._holdings = Holdings(self._journal)
        self._running: list[tuple[m.Task, int, str]] = []
        """Task, node, and the kind of container that it has."""

    def service_sends(self, count: int) -> None:
        """A message with so many tasks arrives; all are given to workers."""
        sent = m.Tasks({}, (), tuple(m.Task(new_task_id(), b"spec-of-16-bytes", 0, len(PAYLOAD)) for _ in range(count)))
        message, body = decode(encode(sent) + PAYLOAD * count)
        fresh, _ = self._holdings.accept(cast("m.Tasks", message), body)
        self._route(fresh)
        self._holdings.hand([entry.task.id for entry in fresh])

    def _route(self, fresh: Sequence[Held]) -> None:
        for entry in fresh:
            kind = self._random.choice(self._kinds)
            choice = self._router.route(kind)
            if choice is None:
                raise RuntimeError("no worker is free")
            self._running.append((entry.task, choice.place, kind))

    def workers_answer(self, count: int) -> None:
        """So many tasks end, any of them; their results go to the service, which confirms them."""
        ended: list[tuple[m.Outcome, bytes]] = []
        for _ in range(count):
            at = self._random.randrange(len(self._running))
            self._running[at], self._running[-1] = self._running[-1], self._running[at]
            task, node, kind = self._running.pop()
            self._router.freed(node, kind)
            ended.append((m.Outcome(task.id, task.attempt, int(TaskState.SUCCEEDED), 5), b"value"))
        wanted = self._holdings.finish(ended)
        b"".join((encode(m.Results(tuple(outcome for outcome, _ in wanted))), *(body for _, body in wanted)))
        self._holdings.write_down(wanted)
        self._holdings.settle([(outcome.id, outcome.attempt) for outcome, _ in wanted])

    def route_s(self, tasks: int) -> float:
        """Seconds per task of the router alone: one choice, one container that is idle again."""
        kinds = [self._random.choice(self._kinds) for _ in range(tasks)]
        began = time.perf_counter()
        for kind in kinds:
            choice = self._router.route(kind)
            if choice is not None:
                self._router.freed(choice.place, kind)
        return (time.perf_counter() - began) / tasks

    def close(self) -> None:
        """The journal too."""
        self._journal.close()


def run(workers: int, tasks: int, directory: Path) -> Sample:
    """One measurement, in this process."""
    import os

    before = pss([os.getpid()])
    endpoint = SimulatedEndpoint(workers, directory)
    for _ in range(int(workers * BUSY) // BATCH):
        endpoint.service_sends(BATCH)
    gc.collect()
    memory = (pss([os.getpid()]) - before) / MB
    gc.freeze()  # as the agent does
    began = time.perf_counter()
    for _ in range(tasks // BATCH):
        endpoint.workers_answer(BATCH)
        endpoint.service_sends(BATCH)
    elapsed = time.perf_counter() - began
    route_s = endpoint.route_s(tasks)
    endpoint.close()
    return {"routed": tasks // BATCH * BATCH / elapsed, "route": route_s * 1e6, "memory": memory}


def workers_case(case: Case, subject: object) -> Sample:
    """In a process of its own."""
    with tempfile.TemporaryDirectory(dir=cast("Host", subject).directory.parent) as directory:
        command = [sys.executable, "-m", "benchmarks.scale_workers", str(case.number("simulated")), str(case.number("tasks")), directory]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: Sample = json.loads(done.stdout)
    return found


MEASURES = {"workers": workers_case}

if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
