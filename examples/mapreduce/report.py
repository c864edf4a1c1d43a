"""What it took: the six phases as a table, and as a picture."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from fedproxy.patterns.mapreduce import Result


def human(nbytes: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.2f} GB"


def show(result: Result, title: str) -> None:
    """Print the table of phases, and the bytes."""
    console = Console()
    table = Table("phase", *(f"{name} (ms)" for name in ("mean", "p50", "p95", "max")), "tasks", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for phase in result.phases:
        times = (phase.mean_s, phase.p50_s, phase.p95_s, phase.max_s)
        table.add_row(phase.name, *(f"{1e3 * seconds:,.1f}" for seconds in times), str(phase.tasks))
    console.print(table)
    moved = result.moved
    console.print(
        f"{result.seconds:.2f} s: {result.maps} maps, {result.reduces} reduces, {result.attempts} attempts. Bytes: input {human(moved.input)}, "
        f"intermediate {human(moved.intermediate)} through {', '.join(sorted({url.partition(':')[0] for url in result.stores}))}, "
        f"output {human(moved.output)}, spilled {human(moved.spilled)}.", highlight=False, soft_wrap=True)


def show_link(result: Result) -> None:
    """Print what crossed between the sites, beside what moving the input would have taken."""
    moved = result.moved
    if moved.input_elsewhere:
        share = moved.across_sites / moved.input_elsewhere
        Console().print(
            f"Over the link between the sites: {human(moved.across_sites)} of intermediate data. Moving the input instead: "
            f"{human(moved.input_elsewhere)}. That is {share:.0%}.", highlight=False, soft_wrap=True)


def draw(result: Result, title: str, path: Path) -> None:
    """One picture: mean, 95th percentile and maximum of each phase, and the share of all workers' time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=(3, 2), layout="constrained")
    names = [phase.name for phase in result.phases]
    rows = list(range(len(names)))
    for offset, (label, values) in enumerate({
        "mean": [phase.mean_s for phase in result.phases], "p95": [phase.p95_s for phase in result.phases],
        "max": [phase.max_s for phase in result.phases],
    }.items()):
        left.barh([row + 0.27 * (offset - 1) for row in rows], [1e3 * value for value in values], 0.25, label=label)
    left.set(yticks=rows, yticklabels=names, xlabel="milliseconds per task", title=title)
    left.invert_yaxis()
    left.legend()
    right.barh(rows, [phase.total_s for phase in result.phases], color="tab:gray")
    right.set(yticks=[], xlabel="seconds, all tasks together", title=f"{result.seconds:.1f} s in all")
    right.invert_yaxis()
    figure.savefig(path, dpi=110)
    plt.close(figure)
