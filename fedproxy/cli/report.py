"""An endpoint's report of itself, as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedproxy.cli.output import human_bytes, human_seconds

Rows = list[tuple[object, ...]]


def rows(report: Mapping[str, Any]) -> Rows:
    """What can be said in one line each."""
    if not report:
        return []
    found: Rows = [("busy", report["busy"]), ("managers", report["managers"]), ("held", report["held"])]
    if report["ended"]:
        found.append(("ended", ", ".join(f"{count} {state}" for state, count in sorted(report["ended"].items()))))
    if report["warm"]:
        found.append(("warm", ", ".join(f"{name or 'no container'}: {count}" for name, count in sorted(report["warm"].items()))))
    if report["walltime_left_s"] is not None:
        found.append(("walltime left", human_seconds(report["walltime_left_s"])))
    found.append(("cpu time of tasks", human_seconds(report["cpu_s"])))
    engine = report.get("engine") or {}
    if engine.get("transfers"):
        share = f"{human_bytes(engine['moving_bytes'])} of {human_bytes(engine['moving_of_bytes'])}"
        found.append(("on the way here", f"{share}, {engine['transfers']} objects"))
    moved = {"results stored": report["written_bytes"], "staged": report["staged_bytes"], "sent to others": engine.get("served_bytes", 0)}
    found += [(name, human_bytes(size)) for name, size in moved.items() if size]
    return found


def tables(report: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str], Rows]]:
    """What has a table of its own: title, columns, rows."""
    if nodes := report.get("redis"):
        yield "Redis", ("server", "state", "pid", "restarts", "memory", "limit", "keys", "evicted"), [
            (node["address"], node["state"], node["pid"], node["restarts"], human_bytes(node["used_bytes"]), human_bytes(node["limit_bytes"]),
             node["keys"], node["evicted"]) for node in nodes]
    if caches := report.get("caches"):
        yield "Caches of this node", ("store", "objects", "size"), [
            (cache["name"], cache["objects"], human_bytes(cache["size_bytes"])) for cache in caches]
    if containers := (report.get("engine") or {}).get("containers"):
        names = ("cold_starts", "prefetched", "tasks", "warm", "released", "failed_starts", "start_s")
        columns = ("image", "cold starts", "prefetched", "tasks", "of them warm", "released", "failed starts", "start (s)")
        yield f"Containers ({containers['runtime']})", columns, [
            (image, *(counts[name] for name in names)) for image, counts in containers["images"].items()]
