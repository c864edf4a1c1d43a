"""Map and reduce over data of any size, with a real shuffle between.

::

    from collections import Counter
    from fedproxy.patterns import mapreduce

    result = mapreduce.run(mapreduce.counts(lambda batch: Counter(batch.data.split())), "books/*.txt", endpoints=["local"])
    print(dict(result.items()))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedproxy.patterns.mapreduce.driver import run
    from fedproxy.patterns.mapreduce.jobs import Batch, Job, counts, format_pairs, pairs, sorted_lines
    from fedproxy.patterns.mapreduce.options import Options
    from fedproxy.patterns.mapreduce.result import Moved, Result
    from fedproxy.patterns.mapreduce.speculation import Patience

_WHERE = {
    "Batch": "jobs", "Job": "jobs", "Moved": "result", "Options": "options", "Patience": "speculation", "Result": "result", "counts": "jobs",
    "format_pairs": "jobs", "pairs": "jobs", "run": "driver", "sorted_lines": "jobs",
}


def __getattr__(name: str) -> Any:
    """Import on first use: workers load the tasks and no driver."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    return value


__all__ = ["Batch", "Job", "Moved", "Options", "Patience", "Result", "counts", "format_pairs", "pairs", "run", "sorted_lines"]
