"""``python -m examples.colmena_like``: the same number of simulations steered, in batches and at random, over several seeds; a table and a picture."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console
from rich.progress import track
from rich.table import Table

from examples.colmena_like.campaign import TOPICS, WAYS, Candidates, Found, Plan, methods
from examples.colmena_like.picture import draw
from examples.colmena_like.polymer import candidates
from fedproxy import Client, FedproxyError, Store
from fedproxy.cli.demo.cluster import running_cluster
from fedproxy.patterns.steering import TaskQueues


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.colmena_like", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how often each way is tried (5)")
    parser.add_argument("--budget", type=int, default=Plan.__attrs_attrs__[0].default, help="simulations of one campaign (60)")
    parser.add_argument("--candidates", type=int, default=10_000, help="polymers to choose from (10,000)")
    parser.add_argument("--endpoints", metavar="SIMULATION,LEARNING", help="run at these endpoints instead of a service and two endpoints of its own")
    parser.add_argument("--journal", type=Path, help="write the steered campaign of the first seed here; if the file exists, go on with it")
    parser.add_argument("--out", type=Path, default=Path("colmena_like.png"), help="the picture")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    chosen = parser.parse_args(given)
    if chosen.seeds < 1 or chosen.budget < 13 or chosen.candidates < 2 * chosen.budget:
        parser.error("at least 1 seed, 13 simulations, and twice as many candidates as simulations")
    if chosen.endpoints and len(chosen.endpoints.split(",")) != 2:
        parser.error("--endpoints takes two names with a comma between")
    return chosen


@contextmanager
def endpoints(named: str | None) -> Iterator[tuple[str, str]]:
    """Two endpoints: those that were named, or a service and two of our own, gone afterwards."""
    if named:
        simulation, _, learning = named.partition(",")
        yield simulation, learning
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a worker is one core's worth
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with running_cluster(("simulation", "learning"), payload_limit_bytes=10_000_000, workers=2) as sites:
        yield sites[0].name, sites[1].name


def run(chosen: argparse.Namespace, console: Console) -> dict[str, list[Found]]:
    """All campaigns: way → what it found with each seed."""
    plan, everything = Plan(budget=chosen.budget), {way: [] for way in WAYS}  # type: dict[str, list[Found]]
    with endpoints(chosen.endpoints) as (simulation, learning), Client() as client:
        store = Store.from_url(client.endpoints.find(learning).stores[0])
        warm_up(client, simulation, learning, plan)
        for seed in track(range(chosen.seeds), "campaigns", console=console, disable=chosen.json):
            pool = Candidates.stored(candidates(chosen.candidates, seed), plan.batches, store)
            for way, campaign in WAYS.items():
                journal = chosen.journal if way == "steered" and seed == 0 else None
                with TaskQueues(methods(simulation, learning), topics=TOPICS, client=client, journal=journal) as queues:
                    everything[way].append(campaign(queues, pool, plan, seed))
            store.evict_batch(pool.proxies)
    return everything


def warm_up(client: Client, simulation: str, learning: str, plan: Plan) -> None:
    """Every worker has imported what it needs before anything is timed."""
    few = candidates(20, 0)
    with TaskQueues(methods(simulation, learning), topics=TOPICS, client=client) as queues:
        for _ in range(4 * plan.workers):
            queues.send_inputs(few[0], method="simulate", topic="simulate")
            queues.send_inputs(few, few[:, 0], 0, method="train", topic="train")
        for _ in range(4 * plan.workers):
            for topic in ("simulate", "train"):
                result = queues.get_result(topic)
                if not result.success:
                    raise FedproxyError(f"{result.method} does not run at its endpoint: {result.failure}")


def figures(everything: dict[str, list[Found]]) -> dict[str, dict[str, float]]:
    """Way → mean, spread (standard deviation over the seeds) and worst of the best found; seconds; share of the time that workers were busy."""
    return {
        way: {
            "best_mean": mean(found.best[-1] for found in campaigns), "best_sd": stdev(f.best[-1] for f in campaigns) if len(campaigns) > 1 else 0.0,
            "best_min": min(found.best[-1] for found in campaigns), "seconds": mean(found.seconds for found in campaigns),
            "busy": mean(found.report.utilization for found in campaigns), "reaction_ms": 1e3 * mean(found.report.idle_gap_s[0] for found in campaigns),
            "stale_cancelled": sum(found.cancelled for found in campaigns),
        }
        for way, campaigns in everything.items()
    }


def table(rows: dict[str, dict[str, float]], seeds: int, budget: int) -> Table:
    """The figures, for people."""
    made = Table(title=f"best of {budget} simulated polymers, {seeds} seeds (percent of the sunlight that could be used)")
    for name in ("way", "best ± sd", "worst", "seconds", "busy", "idle gap", "stale"):
        made.add_column(name, justify="left" if name == "way" else "right")
    for way, row in rows.items():
        made.add_row(
            way, f"{row['best_mean']:.2f} ± {row['best_sd']:.2f}", f"{row['best_min']:.2f}", f"{row['seconds']:.1f}", f"{100 * row['busy']:.0f} %",
            f"{row['reaction_ms']:.1f} ms", f"{row['stale_cancelled']:.0f}")
    return made


def main(given: Sequence[str] | None = None) -> int:
    """Run it; 0 where steering found more than chance did."""
    chosen = arguments(sys.argv[1:] if given is None else given)
    console = Console(stderr=chosen.json)
    try:
        everything = run(chosen, console)
    except FedproxyError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    rows = figures(everything)
    draw(everything, chosen.out)
    if chosen.json:
        print(json.dumps({"seeds": chosen.seeds, "budget": chosen.budget, "ways": rows}))
    else:
        console.print(table(rows, chosen.seeds, chosen.budget))
        console.print(f"picture: {chosen.out}")
    return 0 if rows["steered"]["best_mean"] > rows["at random"]["best_mean"] else 2


if __name__ == "__main__":
    sys.exit(main())
