"""The process that holds one system: reads requests, one JSON object per line, and answers each with one.

Run as ``python -m benchmarks.driver MODULE DIRECTORY WORKERS``; what the system prints goes to standard error.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from attrs import asdict

from benchmarks.cases import Benchmark, Case, UnsupportedCaseError
from benchmarks.catalogue import load
from benchmarks.host import Host


class Driver:
    """Answers requests for one benchmark."""

    def __init__(self, benchmark: Benchmark, host: Host) -> None:
        self._benchmark = benchmark
        self._host = host
        self._subjects: dict[str, object] = {}

    def open(self, request: dict[str, Any]) -> dict[str, Any]:
        """Start the system."""
        system = request["system"]
        started = time.perf_counter()
        module, _, name = self._benchmark.systems[system].partition(":")
        factory = cast("Callable[[Host], object]", getattr(importlib.import_module(module), name))
        self._subjects[system] = factory(self._host)
        return {"opened_s": time.perf_counter() - started}

    def measure(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run one repetition of one case."""
        gc.collect()
        return {"sample": self._benchmark.measure(Case(**request["case"]), self._subjects[request["system"]])}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to ``request``: never raises for what a system does wrong."""
        try:
            return self.open(request) if request["do"] == "open" else self.measure(request)
        except UnsupportedCaseError as exc:
            return {"unsupported": str(exc)}
        except ModuleNotFoundError as exc:
            return {"missing": f"{exc.name} is not installed: pip install 'fedproxy[bench]'"}
        except Exception as exc:  # the boundary: a system that fails is reported, the others go on
            traceback.print_exc()
            return {"error": f"{type(exc).__name__}: {exc}"}


def private_stdout() -> IO[str]:
    """The pipe to the parent; from here on everybody else's standard output is standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


def main(argv: list[str]) -> None:
    """Serve requests until standard input ends."""
    module, directory, workers = argv[0], Path(argv[1]), int(argv[2])
    replies = private_stdout()
    requests = os.fdopen(os.dup(0), "r")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    host = Host(directory, workers)
    driver = Driver(load(module), host)
    try:
        for line in requests:
            replies.write(json.dumps(driver.answer(json.loads(line))) + "\n")
            replies.flush()
    finally:
        host.close()


def case_request(case: Case) -> dict[str, Any]:
    """``case`` as the driver reads it."""
    return asdict(case)


if __name__ == "__main__":
    main(sys.argv[1:])
