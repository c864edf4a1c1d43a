"""The demo's work: words counted at two sites, and one array sent in two ways."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import as_completed
from contextlib import ExitStack
from itertools import cycle
from typing import TYPE_CHECKING, Any

from attrs import frozen

from fedproxy.cli.demo.account import CLIENT, Move, Stage, summed
from fedproxy.cli.demo.array_job import Summary, summarise, warm_up
from fedproxy.cli.demo.report import Progress
from fedproxy.cli.demo.timeline import TaskTrace, phases
from fedproxy.cli.demo.words import add_counts, count_words

if TYPE_CHECKING:
    from fedproxy import Client, Executor
    from fedproxy.dispatch.future import TaskFuture

BY_VALUE_BYTES = 1 << 40
"""A threshold that no argument is above."""
PARTIAL_BYTES = 16 * 1024
"""Partial counts above it stay in their site's store; they are fetched by the task that adds them up."""


@frozen
class Counted:
    """What came of counting."""

    counts: Counter[str]
    stage: Stage
    traces: tuple[TaskTrace, ...]


@frozen
class Sent:
    """What came of sending the array in one way."""

    summary: Summary
    stage: Stage
    trace: TaskTrace


def count_at_sites(client: Client, sites: Sequence[str], pieces: Sequence[str], progress: Progress) -> Counted:
    """Count the words of ``pieces``, a map task each, at the sites in turn; add the counts up at the first site."""
    with ExitStack() as stack:
        at = {site: _executor(stack, client, site, threshold_bytes=PARTIAL_BYTES) for site in sites}
        for executor in at.values():
            executor.submit(count_words, "warm up").result()
        with Meter(client) as meter:
            maps = [(site, at[site].submit(count_words, piece)) for site, piece in zip(cycle(sites), pieces, strict=False)]
            ended = as_completed([future for _, future in maps])
            for _ in progress.over("counting words at two sites", ended, total=len(maps)):
                pass
            with progress.step("adding the counts up"):
                total = at[sites[0]].submit(add_counts, [future.result() for _, future in maps])
                counts = Counter(dict(total.result()))
    put = [Move(CLIENT, site, _frame_bytes(piece)) for (site, _), piece in zip(maps, pieces, strict=True)]
    stage = meter.stage(
        "word count", [*(future for _, future in maps), total], put, _results_moved(maps, sites[0], total)
    )
    origin = min(future.timeline()["submitted"] for _, future in maps)
    traces = [_trace(future, site, "map", origin) for site, future in maps]
    return Counted(counts, stage, (*traces, _trace(total, sites[0], "reduce", origin)))


def send_array(client: Client, site: str, array: Any, way: str, progress: Progress) -> Sent:
    """Run the array job at ``site``. ``way`` is "by value" or "by proxy": the same call, with another threshold."""
    threshold = {"threshold_bytes": BY_VALUE_BYTES} if way == "by value" else {}
    with ExitStack() as stack:
        executor = _executor(stack, client, site, **threshold)
        executor.submit(warm_up).result()
        with Meter(client) as meter, progress.step(f"{array.nbytes / 1e6:.0f} MB array {way}"):
            future = executor.submit(summarise, array)
            summary = future.result()
    put = [] if way == "by value" else [Move(CLIENT, site, _frame_bytes(array))]
    stage = meter.stage(f"array {way}", [future], put, ())
    return Sent(summary, stage, _trace(future, site, "array", future.timeline()["submitted"]))


def _executor(stack: ExitStack, client: Client, site: str, **options: Any) -> Executor:
    """An executor that waits for nothing when the stack is left: on Ctrl-C its tasks end with their workers."""
    from fedproxy import Executor

    executor = Executor(site, client=client, **options)
    stack.callback(executor.shutdown, wait=False)
    return executor


def _results_moved(maps: Sequence[tuple[str, TaskFuture[Any]]], home: str, total: TaskFuture[Any]) -> list[Move]:
    """Partial counts to the site that adds them up, the sum to the client."""
    moves = [Move(site, home, _written(future)) for site, future in maps if site != home]
    return [*moves, Move(home, CLIENT, _written(total))]


def _written(future: TaskFuture[Any]) -> int:
    """Bytes that the task's worker wrote to its site's store."""
    return future.done_info.moved[1] if future.done_info else 0


def _frame_bytes(value: Any) -> int:
    """Bytes that a large argument takes in a store."""
    from fedproxy.serialize import serialize

    return serialize(value).nbytes


def _trace(future: TaskFuture[Any], site: str, kind: str, origin: float) -> TaskTrace:
    return TaskTrace(site, kind, phases(future.timeline(), origin))


class Meter:
    """Seconds and bytes through the service, from entering to leaving."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.seconds = 0.0
        self.service_bytes = 0

    def __enter__(self) -> Meter:
        self._before = self._through_service()
        self._began = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.seconds = time.perf_counter() - self._began
            self.service_bytes = self._through_service() - self._before

    def stage(
        self, title: str, futures: Sequence[TaskFuture[Any]], put: Sequence[Move], taken: Sequence[Move]
    ) -> Stage:
        """The row of the report. ``put`` went into stores before the tasks, ``taken`` is who fetched what they made."""
        stored = sum(move.size_bytes for move in put) + sum(map(_written, futures))
        return Stage(title, len(futures), self.seconds, self.service_bytes, stored, tuple(summed((*put, *taken))))

    def _through_service(self) -> int:
        stats = self._client.service_stats()
        return int(stats["bytes_in"]) + int(stats["bytes_out"])
