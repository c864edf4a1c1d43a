"""Warming-aware against random routing: funcX's experiment as a simulation of the product's own router, and a small run with real containers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

from attrs import define, field

from benchmarks.cases import Benchmark, Case, Sample
from benchmarks.host import Host
from benchmarks.routing_sim import Setting, lower_bound_s, simulate
from benchmarks.rows import Metric

METRICS = (Metric("completion", "s", "lower"), Metric("cold_starts", "count", "lower"))
SYSTEMS = {
    "fedproxy/warm": "benchmarks.routing:warm",
    "fedproxy/random": "benchmarks.routing:at_random",
    "raw/work": "benchmarks.routing:work",
}
ROUTED = ("fedproxy/warm", "fedproxy/random")
DURATIONS_S = (0, 1, 5, 20)


@define(eq=False)
class Routing:
    """One way to route. Each repetition of a case draws its functions anew, the same for all systems."""

    routing: str
    host: Host
    repetitions: Counter[str] = field(factory=Counter)

    def seed(self, case: Case) -> int:
        """One more repetition."""
        self.repetitions[case.name] += 1
        return self.repetitions[case.name]


def warm(host: Host) -> Routing:
    """Warming-aware."""
    return Routing("warm", host)


def at_random(host: Host) -> Routing:
    """Any place with room."""
    return Routing("random", host)


def work(host: Host) -> Routing:
    """What no routing can beat: the work alone, spread evenly, without a cold start."""
    return Routing("", host)


def cases(quick: bool) -> Sequence[Case]:
    """The simulation in milliseconds of real time, from a deployed and from an empty pool; a real run over four images."""
    simulated = [
        Case(f"sim-3000-{duration}s{'' if deployed else '-empty'}", {"duration_s": duration, "deployed": int(deployed)}, {}, 5)
        for deployed in (True, False) for duration in DURATIONS_S]
    real = Case("real", {"tasks": 20 if quick else 80, "kinds": 4, "containers": 4, "duration_ms": 20}, {"tasks": 4}, 2 if quick else 3, systems=ROUTED)
    return [*simulated, real]


def simulated(case: Case, subject: Routing) -> Sample:
    """One experiment."""
    setting = Setting(float(case.number("duration_s")), deployed=bool(case.number("deployed")), seed=subject.seed(case))
    if not subject.routing:
        return {"completion": lower_bound_s(setting)}
    found = simulate(setting, subject.routing)
    assert found.functions == setting.functions, "every function ends"
    return {"completion": found.completion_s, "cold_starts": float(found.cold_starts)}


def measure(case: Case, subject: object) -> Sample:
    """One repetition."""
    routing = cast("Routing", subject)
    if case.name != "real":
        return simulated(case, routing)
    from benchmarks.routing_real import run

    how: Callable[..., Sample] = run
    return how(case, routing.routing, routing.host.directory, routing.seed(case))


BENCHMARK = Benchmark("routing", METRICS, SYSTEMS, cases, measure)
