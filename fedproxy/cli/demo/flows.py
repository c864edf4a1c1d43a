"""The right half of the picture: the client, the service and two sites, with the bytes that moved on the arrows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from fedproxy.cli.demo.account import CLIENT, SERVICE
from fedproxy.cli.output import human_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#22303c"
STORES, SMALL, BY_VALUE = "stores", "service", "by value"
COLOURS = {STORES: "#2a9d6f", SMALL: "#6b7a88", BY_VALUE: "#c8553d"}
MEANINGS = {
    STORES: "through stores", SMALL: "through the service", BY_VALUE: "through the service, array sent by value",
}
FILL = {CLIENT: "#f3f0e8", SERVICE: "#eceff3"}
SITE_FILL = "#e4f2ec"

Point = tuple[float, float]


@frozen
class Flow:
    """One arrow."""

    source: str
    target: str
    size_bytes: int
    kind: str


@frozen
class Route:
    """The course of an arrow to or from the left site."""

    start: Point
    end: Point
    bend: float = 0.0
    label_at: float = 0.5

    def mirrored(self) -> Route:
        """The same for the right site."""
        (x0, y0), (x1, y1) = self.start, self.end
        return Route((1 - x0, y0), (1 - x1, y1), -self.bend, self.label_at)


_ROUTES: Mapping[tuple[str, ...], tuple[Route, ...]] = {
    (CLIENT, "site"): (Route((0.37, 1.08), (0.05, 0.19), 0.28),),
    ("site", CLIENT): (Route((0.14, 0.19), (0.4, 1.015), -0.22, 0.72),),
    (CLIENT, SERVICE): (
        Route((0.45, 1.01), (0.45, 0.71), label_at=0.4), Route((0.55, 1.01), (0.55, 0.71), label_at=0.62),
    ),
    (SERVICE, "site"): (
        Route((0.43, 0.57), (0.2, 0.19), label_at=0.42), Route((0.48, 0.57), (0.26, 0.19), label_at=0.72),
    ),
    ("site", SERVICE): (Route((0.32, 0.19), (0.5, 0.57)),),
    ("site", "site"): (Route((0.29, 0.12), (0.71, 0.12)), Route((0.29, 0.09), (0.71, 0.09))),
}


def draw_flows(axes: Axes, flows: Sequence[Flow]) -> None:
    """Draw the places and the arrows between them."""
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(0, 1.18)
    axes.set_title("Bytes that moved", loc="left", fontsize=10.5, pad=22)
    axes.set_aspect("equal")
    axes.axis("off")
    places = _places(flows)
    for flow, route in _routes(flows, places):
        _arrow(axes, flow, route)
    for name, centre in places.items():
        _box(axes, name, centre)
    _legend(axes, flows)


def _places(flows: Sequence[Flow]) -> dict[str, Point]:
    ends = {end for flow in flows for end in (flow.source, flow.target)}
    sites = sorted(ends - {CLIENT, SERVICE})
    return {CLIENT: (0.5, 1.08), SERVICE: (0.5, 0.64), **dict(zip(sites, ((0.14, 0.12), (0.86, 0.12)), strict=False))}


def _routes(flows: Sequence[Flow], places: Mapping[str, Point]) -> list[tuple[Flow, Route]]:
    """Where each arrow runs: what stores carry goes round the service, second arrows of a pair beside the first."""
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for flow in flows:
        site = flow.target if flow.source in (CLIENT, SERVICE) else flow.source
        right = places[site][0] > 0.5
        role = tuple("site" if end not in (CLIENT, SERVICE) else end for end in (flow.source, flow.target))
        slots = _ROUTES.get(role, ())
        nth = seen[flow.source, flow.target]
        seen[flow.source, flow.target] += 1
        if nth < len(slots):
            found.append((flow, slots[nth].mirrored() if right and role != (CLIENT, SERVICE) else slots[nth]))
    return found


def _arrow(axes: Axes, flow: Flow, route: Route) -> None:
    from matplotlib.patches import FancyArrowPatch

    width = 1.0 + 0.9 * max(0.0, math.log10(max(flow.size_bytes, 1)) - 3)
    axes.add_patch(FancyArrowPatch(
        route.start, route.end, connectionstyle=f"arc3,rad={route.bend}", arrowstyle="-|>", mutation_scale=12 + width,
        linewidth=width, color=COLOURS[flow.kind], shrinkA=0, shrinkB=2, zorder=2,
    ))
    if not flow.size_bytes:
        return  # tasks go this way; their bytes are in another arrow's figure
    axes.text(
        *_on_the_way(route), human_bytes(flow.size_bytes), ha="center", va="center", fontsize=10,
        fontweight="bold", color=COLOURS[flow.kind], zorder=4,
        bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none"},
    )


def _on_the_way(route: Route) -> Point:
    """A point of matplotlib's ``arc3`` curve (a quadratic Bézier curve)."""
    (x0, y0), (x2, y2), t = route.start, route.end, route.label_at
    x1, y1 = (x0 + x2) / 2 + route.bend * (y2 - y0), (y0 + y2) / 2 - route.bend * (x2 - x0)
    return tuple((1 - t) ** 2 * p0 + 2 * t * (1 - t) * p1 + t**2 * p2 for p0, p1, p2 in ((x0, x1, x2), (y0, y1, y2)))  # type: ignore[return-value]


def _box(axes: Axes, name: str, centre: Point) -> None:
    from matplotlib.patches import FancyBboxPatch

    wide, high = 0.26, 0.105
    axes.add_patch(FancyBboxPatch(
        (centre[0] - wide / 2, centre[1] - high / 2), wide, high, boxstyle="round,pad=0.012,rounding_size=0.025",
        facecolor=FILL.get(name, SITE_FILL), edgecolor=INK, linewidth=1.2, zorder=3,
    ))
    below = {CLIENT: "your Python", SERVICE: "tasks and small payloads"}.get(name, "agent, workers, stores")
    axes.text(centre[0], centre[1] + 0.018, name, ha="center", va="center", fontsize=12, fontweight="bold", zorder=5)
    axes.text(centre[0], centre[1] - 0.027, below, ha="center", va="center", fontsize=8, color="#5b6975", zorder=5)


def _legend(axes: Axes, flows: Sequence[Flow]) -> None:
    from matplotlib.lines import Line2D

    kinds = [kind for kind in COLOURS if any(flow.kind == kind for flow in flows)]
    handles = [Line2D([], [], color=COLOURS[kind], linewidth=4, label=MEANINGS[kind]) for kind in kinds]
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.03), ncol=2, frameon=False, fontsize=9,
        columnspacing=1.4, handlelength=1.6,
    )
