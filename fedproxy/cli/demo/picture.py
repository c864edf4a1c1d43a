"""The demo's picture: when each task was where, and which bytes went where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from fedproxy.cli.demo.flows import Flow, draw_flows
from fedproxy.cli.demo.timeline import PHASES, TaskTrace, lanes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"queued": "#d5d9e0", "staged": "#7fb2e5", "run": "#2a9d6f", "return": "#e9a23b"}
MEANINGS = {
    "queued": "queued at the service", "staged": "staged at the site", "run": "running", "return": "result on its way",
}
INK = "#22303c"
FAINT = "#8794a1"


@frozen
class Story:
    """What the picture tells."""

    title: str
    count_traces: Sequence[TaskTrace]
    count_caption: str
    array_traces: Sequence[tuple[str, TaskTrace]]
    """The same job sent in different ways: (way, trace), each from its own beginning."""
    array_caption: str
    flows: Sequence[Flow]


def draw(story: Story, path: Path) -> None:
    """Write the picture as a PNG."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans", "font.size": 10, "axes.edgecolor": FAINT, "text.color": INK,
        "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(15, 7.6), facecolor="white")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            2, 2, width_ratios=(1.35, 1), height_ratios=(3.1, 1), left=0.065, right=0.985, top=0.87, bottom=0.085,
            hspace=0.42, wspace=0.06,
        )
        figure.suptitle(story.title, x=0.02, y=0.975, ha="left", fontsize=15, fontweight="bold")
        _draw_count(figure.add_subplot(grid[0, 0]), story)
        _draw_array(figure.add_subplot(grid[1, 0]), story)
        draw_flows(figure.add_subplot(grid[:, 1]), story.flows)
        figure.savefig(path, dpi=110)


def _draw_count(axes: Axes, story: Story) -> None:
    placed = lanes(story.count_traces)
    for trace, row in placed:
        _draw_spans(axes, trace, row, 0.82)
        if trace.kind != "map":
            axes.text(trace.end_s, row, f" {trace.kind}", va="center", fontsize=9, fontweight="bold")
    _label_sites(axes, [(trace.site, row) for trace, row in placed])
    _dress(axes, story.count_caption, rows=len(placed))
    axes.set_xlabel("seconds since the first submit", labelpad=2)
    handles = [_swatch(COLOURS[name], MEANINGS[name]) for name, *_ in PHASES]
    axes.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncol=4, frameon=False, fontsize=9,
        handlelength=1.1, columnspacing=1.2, handletextpad=0.5, borderaxespad=0.1,
    )


def _draw_array(axes: Axes, story: Story) -> None:
    for row, (_way, trace) in enumerate(story.array_traces):
        _draw_spans(axes, trace, row, 0.6)
        axes.text(trace.end_s, row, f"  {trace.end_s:.2f} s", va="center", fontsize=10, fontweight="bold")
    axes.set_yticks(range(len(story.array_traces)), [way for way, _ in story.array_traces])
    _dress(axes, story.array_caption, rows=len(story.array_traces))
    longest = max((trace.end_s for _, trace in story.array_traces), default=1.0)
    axes.set_xlim(0, longest * 1.1 or 1.0)
    axes.set_xlabel("seconds since the submit", labelpad=2)


def _draw_spans(axes: Axes, trace: TaskTrace, row: int, height: float) -> None:
    for span in trace.spans:
        axes.barh(
            row, span.end_s - span.start_s, left=span.start_s, height=height, color=COLOURS[span.phase], linewidth=0
        )


def _label_sites(axes: Axes, placed: Sequence[tuple[str, int]]) -> None:
    sites = sorted({site for site, _ in placed})
    rows = {site: [row for at, row in placed if at == site] for site in sites}
    axes.set_yticks(
        [sum(rows[site]) / len(rows[site]) for site in sites], sites, fontsize=11, fontweight="bold"
    )
    for site in sites[1:]:
        axes.axhline(min(rows[site]) - 0.5, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))


def _dress(axes: Axes, caption: str, *, rows: int) -> None:
    axes.set_title(caption, loc="left", fontsize=10.5, pad=22 if rows > 4 else 6)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e8ebef", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _swatch(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)
