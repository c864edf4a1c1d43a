"""A run as one HTML page. Pure.

Strategy: figures are made here and stand in the page as escaped text; the tasks travel along as JSON in which no character can end the script
element, and are drawn by the page's own script, which puts text in as text only. A content security policy allows this script and this style, by
their hashes, and nothing else: should a name slip through all that, it would still not run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from fedproxy.dispatch.accounts import Account, Latency, Line, latencies, spans, table

MOST_DRAWN = 20_000
_LISTED_FAILURES = 200
_STATES = ("SUCCEEDED", "FAILED", "CANCELLED", "LOST", "EXPIRED", "DEAD", "SENT", "QUEUED", "WAITING")


@cache
def _part(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def page(accounts: Sequence[Account], title: str) -> str:
    """The page as text."""
    script, style = _part("page.js"), _part("page.css")
    policy = f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"
    return "".join((
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"{escape(policy)}\">",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>",
        f"<header><h1>{escape(title)}</h1><p class=faint>{escape(_when(accounts))}</p></header>",
        *_tiles(accounts), *_functions(table(accounts)), *_gantt(accounts), *_latency(latencies(accounts)), *_bytes(accounts), *_failures(accounts), *_tasks(),
        f"</main><script type=\"application/json\" id=\"data\">{in_script(_data(accounts))}</script>",
        f"<script>{script}</script></body></html>\n"))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def in_script(data: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends the element, begins a comment, or is a line end to a parser."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# ---------------------------------------------------------------- sections

def _when(accounts: Sequence[Account]) -> str:
    began = _began(accounts)
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(began)) if began else ""


def _began(accounts: Sequence[Account]) -> float:
    return min((a.timeline["submitted"] for a in accounts if a.timeline.get("submitted")), default=0.0)


def _ended(accounts: Sequence[Account]) -> float:
    return max((a.timeline["finished"] for a in accounts if a.timeline.get("finished")), default=0.0)


def _tiles(accounts: Sequence[Account]) -> Iterator[str]:
    states = Counter(a.state for a in accounts)
    lasted = max(0.0, _ended(accounts) - _began(accounts))
    ended = sum(1 for a in accounts if a.timeline.get("finished"))
    bad = sum(states[s] for s in ("FAILED", "LOST", "EXPIRED", "DEAD"))
    workers = len({(a.endpoint, a.worker) for a in accounts if a.worker})
    tiles = (
        (f"{len(accounts):,}", "tasks", ""), (f"{states['SUCCEEDED']:,}", "succeeded", "good"), (f"{bad:,}", "failed or lost", "bad" if bad else ""),
        (seconds(lasted), "from first submit to last result", ""), (f"{ended / lasted:,.0f}" if lasted else "-", "tasks per second", ""),
        (f"{workers:,}", f"workers at {len({a.endpoint for a in accounts}):,} endpoints", ""),
        (size(sum(a.through_service for a in accounts)), "through the service", ""), (size(sum(a.through_stores for a in accounts)), "through stores", ""))
    yield "<section class=tiles>"
    for value, what, kind in tiles:
        yield f"<div class=\"tile {kind}\"><b>{escape(value)}</b><span>{escape(what)}</span></div>"
    yield "</section>"


def _functions(lines: Sequence[Line]) -> Iterator[str]:
    yield "<section><h2>Functions</h2><div class=wide><table><thead><tr><th>function<th>endpoint<th>states"
    yield "<th class=n>median run<th class=n>95 %<th class=n>in all<th class=n>through service<th class=n>through stores</tr></thead><tbody>"
    for line in lines:
        states = " ".join(f"<span class=\"state {s}\">{line.states[s]:,} {s.lower()}</span>" for s in _STATES if line.states.get(s))
        if line.retried:
            states += f" <span class=faint>{line.retried:,} retried</span>"
        cells = "".join(f"<td class=n>{escape(v)}" for v in (*map(seconds, line.run_s), size(line.through_service), size(line.through_stores)))
        yield f"<tr><td class=name>{escape(line.function)}<td>{escape(line.endpoint)}<td>{states}{cells}</tr>"
    yield "</tbody></table></div></section>"


def _gantt(accounts: Sequence[Account]) -> Iterator[str]:
    ran = sum(1 for a in accounts if a.worker)
    drawn = f"{MOST_DRAWN:,} of {ran:,} tasks are drawn, evenly chosen. " if len(accounts) > MOST_DRAWN else ""
    yield "<section><h2>Workers</h2><p class=faint>"
    yield f"{drawn}Wheel: zoom. Drag: move. Double click: all of it. Times are those of each endpoint's own clock.</p>"
    yield "<p class=legend><i class=fetch></i>fetching arguments <i class=run></i>running <i class=store></i>storing the result "
    yield "<i class=failed></i>running, failed</p>"
    yield "<div id=\"chart\"><canvas id=\"gantt\"></canvas><div id=\"tip\" hidden></div></div></section>"


def _latency(parts: Sequence[Latency]) -> Iterator[str]:
    yield "<section><h2>Where the time went</h2>"
    if not parts:
        yield "<p class=faint>No task ran to its end.</p></section>"
        return
    yield "<p class=faint>As funcX takes it apart (TPDS 2022, Fig. 3), with the data apart from the function.</p>"
    yield from _bar([(part.name, part.median) for part in parts])
    yield "<table><thead><tr><th><th>part<th class=n>median<th class=n>mean<th class=n>95 %<th class=n>most</tr></thead><tbody>"
    for part in parts:
        cells = "".join(f"<td class=n>{escape(seconds(v))}" for v in (part.median, part.mean, part.p95, part.most))
        yield f"<tr><td><i class={part.name}></i><code>{part.name}</code><td>{escape(part.what)} "
        yield f"<span class=faint>{escape(part.meaning)}</span>{cells}</tr>"
    yield "</tbody></table></section>"


def _bar(parts: Sequence[tuple[str, float]]) -> Iterator[str]:
    total = sum(value for _, value in parts) or 1.0
    yield "<svg class=bar viewBox=\"0 0 1000 34\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"medians side by side\">"
    at = 0.0
    for name, value in parts:
        width = 1000 * value / total
        yield f"<rect class={name} x=\"{at:.2f}\" width=\"{width:.2f}\" height=\"34\"><title>{escape(f'{name} {seconds(value)}')}</title></rect>"
        at += width
    yield "</svg>"


def _bytes(accounts: Sequence[Account]) -> Iterator[str]:
    ways = (
        ("arguments, through the service", sum(a.sent for a in accounts), "svc"), ("results, through the service", sum(a.result for a in accounts), "svc"),
        ("read from stores by workers", sum(a.read for a in accounts), "sto"), ("written to stores by workers", sum(a.written for a in accounts), "sto"))
    most = max(n for _, n, _ in ways) or 1
    yield "<section><h2>Bytes</h2><table class=bytes><tbody>"
    for what, n, kind in ways:
        bar = (f"<svg class=row viewBox=\"0 0 1000 12\" preserveAspectRatio=\"none\">"
               f"<rect class=\"{kind}\" width=\"{max(2 if n else 0, 1000 * n / most):.1f}\" height=\"12\"></rect></svg>")
        yield f"<tr><td>{escape(what)}<td class=n>{escape(size(n))}<td class=bar>{bar}</tr>"
    yield "</tbody></table></section>"


def _failures(accounts: Sequence[Account]) -> Iterator[str]:
    failed = [a for a in accounts if a.state in ("FAILED", "LOST", "EXPIRED", "DEAD")]
    if not failed:
        return
    yield f"<section><h2>Failures <span class=faint>{len(failed):,}</span></h2>"
    for account in failed[:_LISTED_FAILURES]:
        where = f"{account.function} at {account.endpoint}" + (f", attempt {account.attempt + 1}" if account.attempt else "")
        yield f"<details><summary><span class=\"state {escape(account.state)}\">{escape(account.state)}</span> <b>{escape(where)}</b> "
        yield f"<span class=why>{escape(account.reason)}</span></summary><pre>{escape(account.traceback or account.reason)}</pre>"
        yield f"<p class=faint>task {escape(account.task_id)}</p></details>"
    if len(failed) > _LISTED_FAILURES:
        yield f"<p class=faint>and {len(failed) - _LISTED_FAILURES:,} more</p>"
    yield "</section>"


def _tasks() -> Iterator[str]:
    yield "<section><h2>Tasks</h2><p><input id=\"search\" type=\"search\" placeholder=\"function, endpoint, state, worker, id, reason\"> "
    yield "<span id=\"found\" class=faint></span></p><div class=wide><table><thead><tr><th>task<th>function<th>endpoint<th>state<th class=n>submitted"
    yield "<th class=n>in all<th class=n>run<th class=n>through service"
    yield "<th class=n>through stores</tr></thead><tbody id=\"tasks\"></tbody></table></div></section>"


# ---------------------------------------------------------------- what the script draws

def _data(accounts: Sequence[Account]) -> dict[str, Any]:
    """Tasks as rows of numbers, names apart; times in seconds since the first submit."""
    began = _began(accounts)
    chosen = accounts[::max(1, -(-len(accounts) // MOST_DRAWN))]
    functions, endpoints, workers = _Names(), _Names(), _Names()
    rows = []
    for a in chosen:
        at = {name: round(value - began, 6) for name, value in a.timeline.items()}
        spent = [[phase, round(start - began, 6), round(end - began, 6)] for phase, start, end in spans(a)]
        rows.append([
            a.task_id, functions.of(a.function), endpoints.of(a.endpoint), _STATES.index(a.state) if a.state in _STATES else -1,
            workers.of((a.endpoint, a.worker)) if a.worker else -1, a.attempt, at.get("submitted", 0), at.get("finished", 0), spent,
            a.through_service, a.through_stores, a.reason])
    return {"functions": functions.all, "endpoints": endpoints.all, "workers": workers.all, "states": _STATES, "tasks": rows}


class _Names:
    """Names by number."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def of(self, name: Any) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self.all)
            self.all.append(name)
        return number


def seconds(value: float) -> str:
    """A duration for people."""
    if value < 0.0009995:
        return f"{value * 1e6:.0f} µs"
    if value < 0.9995:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s" if value < 120 else f"{value / 60:,.1f} min"


def size(nbytes: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}" if unit != "B" else f"{nbytes:.0f} B"
        nbytes /= 1000
    return f"{nbytes:,.3g} TB"


