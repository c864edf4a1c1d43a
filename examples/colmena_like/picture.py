"""One picture: what each way found, and who did what when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from examples.colmena_like.campaign import Found
from fedproxy.patterns.steering.report import draw_lanes


def draw(everything: Mapping[str, Sequence[Found]], path: Path) -> None:
    """Write a PNG: best found against simulations (mean and spread over the seeds), and the workers of each way's first campaign."""
    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplot_mosaic([["best", way] for way in everything], width_ratios=[1.1, 1])
    for number, (way, campaigns) in enumerate(everything.items()):
        best = np.array([found.best for found in campaigns])
        steps, middle, spread = np.arange(1, best.shape[1] + 1), best.mean(axis=0), best.std(axis=0)
        axes["best"].plot(steps, middle, color=f"C{number}", label=f"{way}: {middle[-1]:.1f}")
        axes["best"].fill_between(steps, middle - spread, middle + spread, color=f"C{number}", alpha=0.15, linewidth=0)
        draw_lanes(axes[way], campaigns[-1].report.spans)
        axes[way].set_title(f"{way}: workers busy {100 * campaigns[-1].report.utilization:.0f} % of {campaigns[-1].seconds:.1f} s", fontsize=10)
        axes[way].get_legend().remove()
    longest = max(axes[way].get_xlim()[1] for way in everything)
    for way in everything:
        axes[way].set_xlim(0, longest)
    axes["best"].set_xlabel("simulations")
    axes["best"].set_ylabel("best polymer so far, % of the sunlight")
    axes["best"].set_title(f"mean and spread over {len(next(iter(everything.values())))} seeds", fontsize=10)
    axes["best"].legend(loc="lower right", frameon=False)
    axes["best"].grid(alpha=0.3)
    figure.savefig(path, dpi=110)
