"""The Trace Event Format (Google, 2016), as far as fedproxy writes it: what Perfetto's importer insists on, written down from the document."""

from __future__ import annotations

from collections import Counter
from typing import Any

_MORE = {"X": {"name", "cat", "dur"}, "M": {"name", "args"}, "b": {"name", "cat", "id"}, "e": {"name", "cat", "id"}}
_METADATA = {"process_name", "thread_name", "process_labels", "process_sort_index", "thread_sort_index"}


def check(trace: dict[str, Any]) -> None:
    """Fails with the first event that does not conform."""
    assert isinstance(trace["traceEvents"], list)
    assert trace.get("displayTimeUnit", "ms") in ("ms", "ns")
    open_slices: Counter[tuple[Any, ...]] = Counter()
    for event in trace["traceEvents"]:
        assert event["ph"] in _MORE, event
        assert {"ph", "pid", "tid", "ts"} | _MORE[event["ph"]] <= event.keys(), event
        assert all(isinstance(event[name], int) for name in ("pid", "tid", "ts")), event
        assert isinstance(event["name"], str), event
        if event["ph"] == "X":
            assert isinstance(event["dur"], int), event
            assert event["dur"] >= 0, event
        elif event["ph"] == "M":
            assert event["name"] in _METADATA, event
            assert isinstance(event["args"]["name"], str), event
        else:
            place = (event["cat"], event["id"], event["name"], event["pid"])
            open_slices[place] += 1 if event["ph"] == "b" else -1
            assert open_slices[place] >= 0, f"ends before it begins: {event}"
    assert not +open_slices, "slices that never end"
    _check_nesting([e for e in trace["traceEvents"] if e["ph"] == "X"])


def _check_nesting(slices: list[dict[str, Any]]) -> None:
    """Slices of one thread lie apart or inside one another."""
    threads: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in slices:
        threads.setdefault((event["pid"], event["tid"]), []).append(event)
    for events in threads.values():
        above: list[int] = []
        for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
            while above and above[-1] <= event["ts"]:
                above.pop()
            end = event["ts"] + event["dur"]
            assert not above or end <= above[-1] + 1, f"overlaps another: {event}"
            above.append(end)
