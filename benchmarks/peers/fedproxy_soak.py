"""fedproxy under a mixed load: no-ops, arrays, failures, cancels and killed workers, each checked.

Strategy: two endpoints. On the steady one workers live for the whole run, so that a leak in them shows; on the rough one tasks are cancelled while
they run and workers are killed. Each stretch has executors (and so task groups and connections) of its own, and ends with a comparison of what was
submitted, what the tasks wrote down themselves, and what the service has in its books.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field, frozen

from benchmarks.cases import Sample
from benchmarks.functions import add_one, die, fail, noted
from benchmarks.host import Host
from benchmarks.memory import MB, pss
from benchmarks.peers.fedproxy_session import cleared, endpoint_config, program
from benchmarks.processes import children, descriptors, threads
from benchmarks.soak import LEVELS
from fedproxy import Client, Executor
from fedproxy.config.home import endpoint_dir, read_json, service_dir
from fedproxy.errors import TaskCancelledError, TaskLostError
from fedproxy.proxy import extract
from fedproxy.store.connectors.shm import folder_of

STEADY, ROUGH = "steady", "rough"
SAMPLE_S = 5.0
CANCEL_S, KILL_S = 10.0, 60.0
MOST_UNDER_WAY = 400
PATIENCE_S = 60.0
_ARRAY_BYTES = 1_000_000
_SLEEP_S = 0.2


@frozen
class Submitted:
    """A task under way, and what is to become of it."""

    kind: str
    number: int
    future: Any


@define
class Book:
    """What was submitted in a stretch, and what came of it."""

    notes: Path
    states: Counter[str] = field(factory=Counter)
    noted: set[int] = field(factory=set)
    lost: int = 0
    wrong: int = 0

    def executions(self) -> Counter[int]:
        """Number → how often the task ran, as the tasks themselves wrote down."""
        return Counter(map(int, self.notes.read_text().split())) if self.notes.exists() else Counter()


class FedproxySoak:
    """One run of the load."""

    def __init__(self, host: Host, client: Client) -> None:
        self._directory, self._client = host.directory, client
        self._series: list[tuple[float, Sample]] = []
        self._numbers = 0
        self._next_cancel = self._next_kill = 0.0

    # ------------------------------------------------------------ load

    def stretch(self, seconds: float, rate: float) -> Sample:
        """Submit for ``seconds``, then wait for all of it and compare the books."""
        if not seconds:
            return {}
        began = time.monotonic()
        book = Book(self._directory / f"notes-{self._numbers}")
        first = len(self._series)
        with Executor(STEADY, client=self._client) as steady, Executor(ROUGH, client=self._client) as rough:
            under_way: deque[Submitted] = deque()
            count = 0
            while (now := time.monotonic()) < began + seconds:
                if now < began + count / rate and len(under_way) < MOST_UNDER_WAY:
                    time.sleep(began + count / rate - now)
                under_way += self._submit(steady, rough, book)
                count += 1
                while under_way and (under_way[0].future.done() or len(under_way) >= MOST_UNDER_WAY):
                    self._check(under_way.popleft(), book)
                self._sample_sometimes()
            for submitted in under_way:
                self._check(submitted, book)
            elapsed = time.monotonic() - began
            self._compare(book, [steady.task_group_id, rough.task_group_id])
        found = {"throughput": sum(book.states.values()) / elapsed, "lost": float(book.lost), "wrong": float(book.wrong)}
        return {**found, **_mean([sample for _, sample in self._series[first:]])}

    def _submit(self, steady: Executor, rough: Executor, book: Book) -> Iterator[Submitted]:
        now = time.monotonic()
        self._numbers += 1
        number = self._numbers
        if number % 10 == 5:
            yield Submitted("array", number, steady.submit(add_one, np.full(_ARRAY_BYTES // 8, float(number))))
        elif number % 25 == 1:
            yield Submitted("failure", number, steady.submit(fail, number))
        else:
            yield Submitted("note", number, steady.submit(noted, str(book.notes), number))
        if now > self._next_cancel:
            self._next_cancel = now + CANCEL_S
            future = rough.submit(noted, str(book.notes), -number, _SLEEP_S)
            with suppress(TaskCancelledError):
                future.cancel()
            yield Submitted("cancel", -number, future)
        if now > self._next_kill:
            self._next_kill = now + KILL_S
            yield Submitted("kill", number, rough.submit(die))

    def _check(self, task: Submitted, book: Book) -> None:
        """One ending is what it should be. A future that does not end is a lost task."""
        try:
            value = task.future.result(PATIENCE_S)
        except TimeoutError:
            book.lost += 1
            return
        except BaseException as exc:  # whatever it is, it is compared with what was expected
            good, state = self._failed_well(task, exc)
        else:
            good, state = self._went_well(task, value), "SUCCEEDED"
        if task.kind in ("note", "cancel") and state == "SUCCEEDED":
            book.noted.add(task.number)
        book.states[state] += 1
        book.wrong += not good

    @staticmethod
    def _went_well(task: Submitted, value: Any) -> bool:
        if task.kind == "array":
            return bool((extract(value) == task.number + 1.0).all())
        return task.kind in ("note", "cancel") and value == task.number

    @staticmethod
    def _failed_well(task: Submitted, exc: BaseException) -> tuple[bool, str]:
        if task.kind == "failure":
            return isinstance(exc, ArithmeticError) and exc.args == (task.number,), "FAILED"
        if task.kind == "kill":
            return isinstance(exc, TaskLostError), "LOST"
        return task.kind == "cancel", "CANCELLED"

    def _compare(self, book: Book, groups: list[str]) -> None:
        """Each task that succeeded ran once, nothing ran twice, and the service knows the same endings."""
        runs = book.executions()
        book.lost += sum(runs[number] == 0 for number in book.noted)
        book.wrong += sum(count > 1 for count in runs.values())
        known = Counter(entry["state"] for group in groups for entry in self._client.get_task_group(group))
        book.lost += sum((book.states - known).values())
        book.wrong += sum((known - book.states).values())
        book.notes.unlink(missing_ok=True)

    # ------------------------------------------------------------ what it costs

    def _sample_sometimes(self) -> None:
        now = time.monotonic()
        if not self._series or now > self._series[-1][0] + SAMPLE_S:
            self._series.append((now, self._sample()))

    def _sample(self) -> Sample:
        agents = [_pid(endpoint_dir(name) / "agent.json") for name in (STEADY, ROUGH)]
        programs = {"service": [_pid(service_dir() / "service.json")], "agents": agents, "workers": children(agents[:1]), "client": [os.getpid()]}
        found = {"shm_files": float(len(os.listdir(folder_of(endpoint_config(1).site))))}
        for name, pids in programs.items():
            found |= {f"{name}_pss": pss(pids) / MB, f"{name}_fds": float(descriptors(pids)), f"{name}_threads": float(threads(pids))}
        return found

    def slopes(self) -> Sample:
        """Least squares over all samples but those of the first quarter of the time, per hour."""
        begin, end = self._series[0][0], self._series[-1][0]
        kept = [(at, sample) for at, sample in self._series if at > begin + (end - begin) / 4]
        hours = np.array([at for at, _ in kept]) / 3600
        return {f"{level}_slope": float(np.polyfit(hours, [sample[level] for _, sample in kept], 1)[0]) for level in LEVELS}


def _mean(samples: list[Sample]) -> Sample:
    return {name: float(np.mean([sample[name] for sample in samples])) for name in (samples[0] if samples else ())}


def _pid(path: Path) -> int:
    return int(str((read_json(path) or {})["pid"]))


@contextmanager
def _running(host: Host) -> Iterator[FedproxySoak]:
    os.environ["FEDPROXY_HOME"] = str(host.directory / "home")
    with (
        cleared(endpoint_config(host.workers).store_urls()),
        program("service", ready=service_dir() / "service.json"),
        program("endpoint", str(host.workers), STEADY, ready=endpoint_dir(STEADY) / "agent.json"),
        program("endpoint", "1", ROUGH, ready=endpoint_dir(ROUGH) / "agent.json"),
        Client() as client,
    ):
        yield FedproxySoak(host, client)


def soak(host: Host) -> FedproxySoak:
    """A private service and two endpoints."""
    return host.shared(_running)
