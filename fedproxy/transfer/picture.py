"""Pictures of transfers: who moved what to whom, and how transfers and tasks overlap in time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from fedproxy.errors import MissingExtraError

Span = tuple[float, float]
"""Begin and end, seconds."""


@frozen
class Flow:
    """What went from one site to another by one route."""

    source: str
    destination: str
    route: str
    objects: int
    nbytes: int
    seconds: float
    """Added up over the transfers."""


def flows(transfers: Iterable[Mapping[str, Any]]) -> list[Flow]:
    """Who moved what to whom, largest first, from transfers as ``GET /v1/transfers`` lists them; only what arrived."""
    groups: defaultdict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for each in transfers:
        if each["state"] == "done":
            groups[each["source"], each["destination"], each["route"]].append(each)
    found = [
        Flow(*pair, len(members), sum(int(m["size"]) for m in members), sum(float(m["ended"]) - float(m["started"]) for m in members))
        for pair, members in groups.items()]
    return sorted(found, key=lambda flow: -flow.nbytes)


def _plot() -> Any:
    try:
        import matplotlib
    except ImportError as exc:
        raise MissingExtraError("pictures need matplotlib", hint="pip install 'fedproxy[report]'") from exc
    matplotlib.use("Agg")
    import matplotlib.pyplot as plot

    return plot


def flow_picture(found: Sequence[Flow], path: Path) -> None:
    """A bar for each pair of sites and route: bytes, with the number of objects.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    plot = _plot()
    figure, axes = plot.subplots(figsize=(8, 1 + 0.5 * max(1, len(found))), layout="constrained")
    names = [f"{flow.source} to {flow.destination}\nby {flow.route}" for flow in found]
    bars = axes.barh(names, [flow.nbytes / 1e6 for flow in found])
    axes.bar_label(bars, [f" {flow.objects} objects" for flow in found])
    axes.invert_yaxis()
    axes.set_xlabel("MB moved")
    figure.savefig(path, dpi=120)
    plot.close(figure)


def overlap_picture(cases: Mapping[str, Mapping[str, Sequence[Span]]], path: Path) -> None:
    """For each case: transfers (``moves``) above tasks (``runs``), over time.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    plot = _plot()
    figure, rows = plot.subplots(len(cases), 1, sharex=True, squeeze=False, figsize=(9, 3 * len(cases)), layout="constrained")
    for axes, (name, spans) in zip(rows[:, 0], cases.items(), strict=True):
        for kind, color in (("moves", "tab:blue"), ("runs", "tab:orange")):
            ordered = sorted((begin, end) for begin, end in spans[kind])
            places = [-place - (0 if kind == "moves" else len(spans["moves"]) + 1) for place in range(len(ordered))]
            axes.barh(places, [end - begin for begin, end in ordered], left=[begin for begin, _ in ordered], color=color, label=kind, height=0.8)
        axes.set_title(name)
        axes.set_yticks([])
        axes.legend(loc="upper right")
    rows[-1, 0].set_xlabel("seconds since the first submit")
    figure.savefig(path, dpi=120)
    plot.close(figure)
