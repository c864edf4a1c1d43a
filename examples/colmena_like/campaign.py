"""Three ways to spend the same number of simulations: steered, in batches, and at random.

Steered: two workers simulate all the time; after every few results a surrogate is trained at another endpoint, scores all candidates in batches, and
what is simulated next changes as soon as the scores are there. Scores of an older surrogate that are still under way are cancelled. In batches: the same
surrogate, but everybody waits for it. At random: no surrogate.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import define, field, frozen

from examples.colmena_like.polymer import simulate
from examples.colmena_like.surrogate import promising, train
from fedproxy import Proxy, Store
from fedproxy.patterns.steering import (
    BaseThinker,
    CampaignReport,
    Flag,
    Method,
    ResourceCounter,
    Result,
    TaskQueues,
    campaign_report,
    event_responder,
    result_processor,
    task_submitter,
)

Array = Any
TOPICS = ("simulate", "train", "score")


@frozen
class Plan:
    """How much of what. ``budget`` simulations in all, the ``first`` ones at random; the surrogate learns after every ``retrain`` results."""

    budget: int = 60
    first: int = 12
    retrain: int = 4
    workers: int = 2
    batches: int = 4
    """Into how many tasks the scoring of all candidates is divided."""
    boldness: float = 1.5


@define
class Found:
    """What a campaign found: the best worth after each simulation, and how its workers were used."""

    best: list[float]
    seconds: float
    report: CampaignReport
    cancelled: int = 0
    """Scoring tasks that were stale before they were done."""


@define
class Candidates:
    """All candidates, and their batches as proxies: each is stored once, however often it is scored."""

    pool: Array
    proxies: list[Proxy[Array]] = field(factory=list)
    starts: list[int] = field(factory=list)

    @classmethod
    def stored(cls, pool: Array, batches: int, store: Store) -> Candidates:
        """``pool`` in ``batches`` batches in ``store``."""
        parts = np.array_split(pool, batches)
        starts = [0, *np.cumsum([len(part) for part in parts])[:-1].tolist()]
        return cls(pool, store.proxy_batch(parts, ttl=3600), starts)


def methods(simulation: str, learning: str) -> list[Method]:
    """Simulations at one endpoint, learning at another."""
    return [Method(simulate, simulation), Method(train, learning), Method(promising, learning, "score")]


class Steered(BaseThinker):
    """Simulates what the newest surrogate finds most promising.

    Args:
        known: results of before, when a campaign goes on.
    """

    def __init__(self, queues: TaskQueues, candidates: Candidates, plan: Plan, seed: int) -> None:
        slots = ResourceCounter(plan.workers, ["simulate"])
        slots.reallocate(None, "simulate", plan.workers)
        super().__init__(queues, slots)
        self.candidates, self.plan, self.seed = candidates, plan, seed
        self.retrain = Flag()
        self.lock = threading.Lock()
        self.order: list[int] = np.random.default_rng(seed).permutation(len(candidates.pool)).tolist()
        self.chosen: dict[int, float | None] = {}
        """Number of each candidate that was sent → its worth, when it is known."""
        self.results: list[Result] = []
        self.version = self.cancelled = 0
        self.scores: dict[int, list[tuple[Array, Array]]] = {}
        for result in queues.restored:
            self.take_in(result)
        for result in queues.reattached:
            if result.method == "simulate":
                slots.acquire("simulate", 1, timeout=0)
                self.chosen[result.task_info["number"]] = None

    @task_submitter(task_type="simulate")
    def send_next(self) -> None:
        """One more simulation, unless enough are under way."""
        with self.lock:
            number = next((n for n in self.order if n not in self.chosen), None) if len(self.chosen) < self.plan.budget else None
            if number is not None:
                self.chosen[number] = None
        if number is None:
            self.done.wait()
        else:
            self.queues.send_inputs(self.candidates.pool[number], method="simulate", topic="simulate", task_info={"number": number})

    def take_in(self, result: Result) -> int:
        """Learn what a simulation gave; how many are known now."""
        if result.method != "simulate":
            return 0
        with self.lock:
            self.results.append(result)
            self.chosen[result.task_info["number"]] = result.value
            return sum(worth is not None for worth in self.chosen.values())

    @result_processor(topic="simulate")
    def simulated(self, result: Result) -> None:
        """A simulation is done: its slot is free, and there may be enough to learn from."""
        if not result.success:
            raise RuntimeError(f"a simulation failed: {result.failure}")
        known = self.take_in(result)
        if known >= self.plan.budget:
            self.done.set()
        self.counter().release("simulate")
        if known >= self.plan.first and (known - self.plan.first) % self.plan.retrain == 0:
            self.retrain.set()

    @event_responder(event_name="retrain")
    def learn(self) -> None:
        """Train on all that is known, and let all candidates be scored; what an older surrogate still scores is stale."""
        with self.lock:
            pairs = [(number, worth) for number, worth in self.chosen.items() if worth is not None]
        numbers, worth = zip(*pairs, strict=True)
        self.queues.send_inputs(self.candidates.pool[list(numbers)], np.array(worth), self.seed, method="train", topic="train", priority=1)
        result = self.queues.take("train", over=self.done.is_set)
        if result is None or not result.success:
            return
        self.cancelled += self.queues.cancel(lambda task: task.method == "score")
        self.version += 1
        for start, batch in zip(self.candidates.starts, self.candidates.proxies, strict=True):
            self.queues.send_inputs(
                result.value, batch, start, self.plan.budget, self.plan.boldness, method="score", topic="score", task_info={"version": self.version})

    @result_processor(topic="score")
    def scored(self, result: Result) -> None:
        """When the last batch of the newest surrogate is scored, the order changes."""
        if not result.success or result.task_info["version"] != self.version:
            return
        scores = self.scores.setdefault(self.version, [])
        scores.append(result.value)
        if len(scores) == len(self.candidates.proxies):
            with self.lock:
                self.order = merged(scores)


def merged(scores: Sequence[tuple[Array, Array]]) -> list[int]:
    """Numbers of candidates, the most promising first."""
    numbers, bounds = (np.concatenate(parts) for parts in zip(*scores, strict=True))
    best: list[int] = numbers[np.argsort(bounds)[::-1]].tolist()
    return best


def steered(queues: TaskQueues, candidates: Candidates, plan: Plan, seed: int) -> Found:
    """See the module."""
    begun = time.monotonic()
    thinker = Steered(queues, candidates, plan, seed)
    thinker.run()
    thinker.check()
    return found(thinker.results, plan, time.monotonic() - begun, thinker.cancelled)


def in_batches(queues: TaskQueues, candidates: Candidates, plan: Plan, seed: int) -> Found:
    """See the module."""
    begun = time.monotonic()
    order = np.random.default_rng(seed).permutation(len(candidates.pool)).tolist()
    results = simulate_all(queues, candidates, order[: plan.first])
    while len(results) < plan.budget:
        known = np.array([result.task_info["number"] for result in results])
        worth = np.array([result.value for result in results])
        queues.send_inputs(candidates.pool[known], worth, seed, method="train", topic="train")
        members = queues.get_result("train").value
        for start, batch in zip(candidates.starts, candidates.proxies, strict=True):
            queues.send_inputs(members, batch, start, plan.budget, plan.boldness, method="score", topic="score")
        best = merged([queues.get_result("score").value for _ in candidates.proxies])
        fresh = [number for number in best if number not in set(known)]
        results += simulate_all(queues, candidates, fresh[: min(plan.retrain, plan.budget - len(results))])
    return found(results, plan, time.monotonic() - begun)


def at_random(queues: TaskQueues, candidates: Candidates, plan: Plan, seed: int) -> Found:
    """See the module."""
    begun = time.monotonic()
    order = np.random.default_rng(seed).permutation(len(candidates.pool)).tolist()
    return found(simulate_all(queues, candidates, order[: plan.budget]), plan, time.monotonic() - begun)


def simulate_all(queues: TaskQueues, candidates: Candidates, numbers: Sequence[int]) -> list[Result]:
    """Simulate candidates, and wait for all of them."""
    for number in numbers:
        queues.send_inputs(candidates.pool[number], method="simulate", topic="simulate", task_info={"number": number})
    return [queues.get_result("simulate") for _ in numbers]


def found(results: Sequence[Result], plan: Plan, seconds: float, cancelled: int = 0) -> Found:
    """What the simulations of a campaign found, in the order in which they ended."""
    best = np.maximum.accumulate([result.value for result in results[: plan.budget]]).tolist()
    return Found(best, seconds, campaign_report(results, workers=plan.workers), cancelled)


WAYS = {"steered": steered, "in batches": in_batches, "at random": at_random}
