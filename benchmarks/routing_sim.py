"""A day of funcX's experiment in a second: a discrete-event simulation of one endpoint that drives the router and deployment code of the product.

Source: funcX (TPDS 2022), section 6 and the experiment on warming-aware routing: 3,000 functions, each in one of 10 container types at random,
on 10 nodes with 10 workers each; durations 0, 1, 5 and 20 s; compared with random routing.

What is simulated: the agent hands out tasks one after the other (`Setting.dispatch_s` each), managers start, keep and release containers, time
passes. What is not: everything that decides. `WarmingAware`, `RandomRouter` and `deployment` are the very ones that the local engine uses.

Assumptions, where the paper leaves room:

* All functions are submitted at once, in random order; types are drawn uniformly.
* A cold start takes 10.4 s: the mean that the paper gives for Singularity on Theta (9.8 to 14.1 s).
* An agent hands out 1,694 functions a second, the rate that the paper measured on Theta.
* A manager tells the agent at once when a container is idle; a node that has to start a container in a full pool releases the one that it used
  least recently. Both routings have the same managers.
* Before the clock starts every node has one container of each type (`deployed`), as after an earlier run: 100 workers cannot be put to work with
  22 cold starts otherwise. From an empty pool (`empty`) each of the 100 workers must have its first container started, whatever the routing.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator

from attrs import define, field, frozen

from fedproxy.endpoint.deployment import Demand, Step, fill_empty, replace_idle
from fedproxy.endpoint.router import RandomRouter, Router, WarmingAware

THETA_SINGULARITY_S = 10.4
THETA_AGENT_PER_S = 1694


@frozen
class Setting:
    """One experiment."""

    duration_s: float
    functions: int = 3_000
    kinds: int = 10
    nodes: int = 10
    workers: int = 10
    """On each node."""
    cold_s: float = THETA_SINGULARITY_S
    dispatch_s: float = 1.0 / THETA_AGENT_PER_S
    deployed: bool = True
    """Whether every node begins with one container of each kind."""
    seed: int = 1


@frozen
class Finding:
    """What came of it."""

    completion_s: float
    cold_starts: int
    functions: int
    worker_s: float
    """Seconds in which workers ran functions or started containers, all together."""


@define(eq=False)
class Node:
    """A manager: slots, and the containers in them. Decides which of its own containers gives way, nothing else."""

    slots: int
    idle: OrderedDict[int, str] = field(factory=OrderedDict)
    """Container → kind, the least recently used first."""
    held: int = 0
    numbers: int = 0

    def deploy(self, kind: str) -> None:
        """Hold one more idle container."""
        self.numbers += 1
        self.held += 1
        self.idle[self.numbers] = kind

    def take(self, kind: str) -> tuple[int, bool]:
        """A container for a task of this kind, and whether it has to be started."""
        for container in reversed(self.idle):
            if self.idle[container] == kind:
                del self.idle[container]
                return container, False
        if self.held == self.slots:
            self.idle.popitem(last=False)
        else:
            self.held += 1
        self.numbers += 1
        return self.numbers, True

    def advertise(self, router: Router[Node]) -> None:
        """Tell all that is on offer."""
        router.advertise(self, self.slots - self.held, Counter(self.idle.values()))


class Simulation:
    """One endpoint and its clock."""

    def __init__(self, setting: Setting, router: Router[Node], *, warming: bool) -> None:
        self._setting, self._router, self._warming = setting, router, warming
        self._nodes = [Node(setting.workers) for _ in range(setting.nodes)]
        self._events: list[tuple[float, int, Node, int, str, bool]] = []
        self._sequence = 0
        self._slots = setting.nodes * setting.workers
        self._agent_free = 0.0
        self._cold_starts = 0
        self._starting: Counter[str] = Counter()
        self._containers: Counter[str] = Counter()
        self._idle: Counter[str] = Counter()
        self._worker_s = 0.0
        kinds = [f"image-{number}" for number in range(setting.kinds)]
        for node in self._nodes:
            for kind in kinds if setting.deployed else ():
                node.deploy(kind)
                self._containers[kind] += 1
                self._idle[kind] += 1
            node.advertise(router)
        drawn = random.Random(setting.seed)
        self._tasks = deque(drawn.choice(kinds) for _ in range(setting.functions))
        self._by_kind = Counter(self._tasks)

    def run(self) -> Finding:
        """Until the last function has ended."""
        now, ended = 0.0, 0
        self._hand_out(now)
        while self._events:
            now, _, node, container, kind, done = heapq.heappop(self._events)
            if not done:
                self._starting[kind] -= 1
                continue
            ended += 1
            node.idle[container] = kind
            self._idle[kind] += 1
            self._router.freed(node, kind)
            self._hand_out(now)
        return Finding(now, self._cold_starts, ended, self._worker_s)

    def _hand_out(self, now: float) -> None:
        if not self._warming:
            while self._tasks:
                choice = self._router.route(self._tasks[0])
                if choice is None:
                    return
                self._run(choice.place, self._tasks.popleft(), now)
            return
        for kind in [kind for kind, count in self._by_kind.items() if count]:
            while self._by_kind[kind] and (choice := self._router.route(kind, at_most="warm")) is not None:
                self._by_kind[kind] -= 1
                self._run(choice.place, kind, now)
        for step in fill_empty(self._demands(), self._slots - self._containers.total()):
            self._start(step, now)
        while any(self._idle.values()) and (step := replace_idle(self._demands())) is not None:
            self._start(step, now)

    def _start(self, step: Step, now: float) -> None:
        choice = self._router.route(step.start)
        assert choice is not None, "there is an empty slot or an idle container"
        self._by_kind[step.start] -= 1
        self._run(choice.place, step.start, now)

    def _demands(self) -> dict[str, Demand]:
        setting = self._setting
        return {
            kind: Demand(waiting, self._containers[kind], 0, self._idle[kind], run_s=setting.duration_s, cold_s=setting.cold_s)
            for kind, waiting in self._by_kind.items()}

    def _run(self, node: Node, kind: str, now: float) -> None:
        """The task is on its way; a container that starts for it is its own."""
        before = Counter(node.idle.values())
        container, cold = node.take(kind)
        gone = before - Counter(node.idle.values())
        self._idle -= gone
        if cold:
            self._containers -= gone
            self._containers[kind] += 1
            self._cold_starts += 1
            node.advertise(self._router)
        self._agent_free = max(now, self._agent_free) + self._setting.dispatch_s
        takes = self._setting.duration_s + (self._setting.cold_s if cold else 0.0)
        self._worker_s += takes
        self._sequence += 1
        heapq.heappush(self._events, (self._agent_free + takes, self._sequence, node, container, kind, True))


def simulate(setting: Setting, routing: str) -> Finding:
    """One experiment with ``warm`` or ``random`` routing."""
    warming = routing == "warm"
    return Simulation(setting, WarmingAware() if warming else RandomRouter(setting.seed), warming=warming).run()


def lower_bound_s(setting: Setting) -> float:
    """No schedule ends sooner: all work, evenly spread, without a single cold start; and the agent's own pace."""
    return max(setting.functions * setting.duration_s / (setting.nodes * setting.workers), setting.functions * setting.dispatch_s)


def experiments(seeds: range) -> Iterator[tuple[Setting, str, Finding]]:
    """All durations, both beginnings, both routings."""
    for seed in seeds:
        for deployed in (True, False):
            for duration_s in (0.0, 1.0, 5.0, 20.0):
                setting = Setting(duration_s, deployed=deployed, seed=seed)
                for routing in ("warm", "random"):
                    yield setting, routing, simulate(setting, routing)


if __name__ == "__main__":
    for setting, routing, found in experiments(range(1, 3)):
        print(f"{'deployed' if setting.deployed else 'empty':9}{setting.duration_s:5.0f} s {routing:7} {found.completion_s:9.1f} s {found.cold_starts:5} cold"
              f"   bound {lower_bound_s(setting):.1f}")
