"""The picture of the routing benchmark: completion time and cold starts, as in funcX's Figures 6 and 7.

    python -m benchmarks.routing_picture [docs/routing.png]

It runs the simulation itself (five draws of each experiment) and needs ``pip install 'fedproxy[report]'``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from attrs import frozen

from benchmarks.routing import DURATIONS_S
from benchmarks.routing_sim import Finding, Setting, lower_bound_s, simulate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWS = range(2, 7)
"""Those of the benchmark, whose first is its warm-up."""
INK, FAINT, GRID = "#22303c", "#8794a1", "#e8ebef"
COLOURS = {"warm": "#2a9d6f", "random": "#c7ced8"}
NAMES = {"warm": "warming-aware", "random": "random"}


@frozen
class Bar:
    """Medians of one routing at one duration."""

    completion_s: float
    cold_starts: float


def findings(*, deployed: bool) -> dict[tuple[str, int], Bar]:
    """(routing, duration) → medians."""
    found: dict[tuple[str, int], Bar] = {}
    for routing in NAMES:
        for duration in DURATIONS_S:
            runs: Sequence[Finding] = [simulate(Setting(float(duration), deployed=deployed, seed=seed), routing) for seed in DRAWS]
            found[routing, duration] = Bar(median(run.completion_s for run in runs), median(run.cold_starts for run in runs))
    return found


def draw(path: Path) -> None:
    """Write the picture as a PNG."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans", "font.size": 10, "axes.edgecolor": FAINT, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK,
        "ytick.color": INK}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(13, 8.2), facecolor="white")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 2, left=0.065, right=0.945, top=0.83, bottom=0.075, hspace=0.46, wspace=0.14)
        figure.suptitle("3,000 functions in 10 container types on 100 workers: routing by what is warm, and at random", x=0.02, y=0.975, ha="left",
                        fontsize=15, fontweight="bold")
        figure.text(0.02, 0.915, "Simulation that drives the product's own router; 10 nodes of 10 workers; a cold start takes 10.4 s.",
                    ha="left", fontsize=10.5, color=FAINT)
        for row, (deployed, beginning) in enumerate(((True, "one container of each type per node"), (False, "an empty pool"))):
            found = findings(deployed=deployed)
            left, right = figure.add_subplot(grid[row, 0]), figure.add_subplot(grid[row, 1])
            _draw_completion(left, found, beginning, deployed=deployed)
            _draw_cold(right, found, beginning)
            if not row:
                left.legend(handles=_handles(), loc="lower left", bbox_to_anchor=(-0.01, 1.14), ncol=3, frameon=False, fontsize=10, handlelength=1.1,
                            columnspacing=1.6, handletextpad=0.6, borderaxespad=0.0)
        figure.savefig(path, dpi=110)


def _draw_completion(axes: Axes, found: Mapping[tuple[str, int], Bar], beginning: str, *, deployed: bool) -> None:
    _bars(axes, {key: bar.completion_s for key, bar in found.items()}, lambda value: f"{value:,.0f} s" if value >= 10 else f"{value:.1f} s")
    for at, duration in enumerate(DURATIONS_S):
        bound = lower_bound_s(Setting(float(duration), deployed=deployed))
        axes.plot([at - 0.4, at + 0.4], [bound, bound], color=INK, linewidth=1.6, solid_capstyle="butt")
        saved = 1 - found["warm", duration].completion_s / found["random", duration].completion_s
        axes.text(at, -0.1, f"{-saved:.0%}", transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=10.5, fontweight="bold",
                  color=COLOURS["warm"])
    axes.set_title(f"Completion time, beginning with {beginning}", loc="left", fontsize=11, pad=10)
    axes.set_ylabel("seconds")


def _draw_cold(axes: Axes, found: Mapping[tuple[str, int], Bar], beginning: str) -> None:
    _bars(axes, {key: bar.cold_starts for key, bar in found.items()}, lambda value: f"{value:,.0f}")
    axes.set_yscale("symlog", linthresh=10)
    axes.set_ylim(0, 9_000)
    axes.set_yticks([0, 10, 100, 1_000], ["0", "10", "100", "1,000"])
    axes.minorticks_off()
    axes.axhline(22, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate("funcX: 22", (1, 22), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points", va="center", fontsize=9, color=INK)
    axes.set_title(f"Cold starts (log scale), beginning with {beginning}", loc="left", fontsize=11, pad=10)


def _bars(axes: Axes, values: Mapping[tuple[str, int], float], text: Any) -> None:
    for shift, routing in ((-0.2, "warm"), (0.2, "random")):
        places = [at + shift for at in range(len(DURATIONS_S))]
        heights = [values[routing, duration] for duration in DURATIONS_S]
        axes.bar(places, heights, width=0.36, color=COLOURS[routing], linewidth=0)
        for place, height in zip(places, heights, strict=True):
            axes.annotate(text(height), (place, height), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=9,
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})
    axes.set_xticks(range(len(DURATIONS_S)), [f"functions of {duration} s" for duration in DURATIONS_S])
    axes.set_xlim(-0.55, len(DURATIONS_S) - 0.45)
    axes.margins(y=0.16)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    bars: list[Any] = [Patch(color=COLOURS[routing], label=f"{name} routing") for routing, name in NAMES.items()]
    return [*bars, Line2D([], [], color=INK, linewidth=1.6, label="the work alone, without any cold start")]


def main(argv: Sequence[str]) -> None:
    """Draw to the path that is given."""
    path = Path(argv[0]) if argv else Path("docs/routing.png")
    draw(path)
    print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
