"""Routing with real containers: the local engine itself, its worker processes in bubblewrap, tasks in random order over a few images.

An image is a folder that is mounted over /mnt of the running system: enough for a container of its own, cheap enough for a benchmark.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from pathlib import Path

from benchmarks.cases import Case, Sample, UnsupportedCaseError
from fedproxy.config.containers import Containers
from fedproxy.config.endpoint import LocalEngine as LocalConfig
from fedproxy.dispatch.functions import serialize_function
from fedproxy.endpoint.catalog import AgentCatalog
from fedproxy.endpoint.engines.base import Callbacks, Job
from fedproxy.endpoint.engines.local import LocalEngine
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode_spec
from fedproxy.protocol.ids import new_task_id, spec_hash
from fedproxy.protocol.states import TaskState
from fedproxy.serialize import deserialize, serialize

BWRAP = "bwrap --ro-bind / / --tmpfs /tmp --proc /proc --dev-bind /dev /dev --ro-bind {image} /mnt {mounts} --unshare-pid --die-with-parent {command}"


def nap(seconds: float) -> str:
    """What a task does: take its time, and say in which image it is."""
    import pathlib
    import time as clock

    clock.sleep(seconds)
    return pathlib.Path("/mnt/image").read_text()


def run(case: Case, routing: str, directory: Path, seed: int) -> Sample:
    """All tasks of one repetition, on an engine of its own."""
    if shutil.which("bwrap") is None:
        raise UnsupportedCaseError("bubblewrap is not installed")
    home = directory / f"real-{routing}-{seed}"
    os.environ["FEDPROXY_HOME"] = str(home)
    images = []
    for number in range(case.number("kinds")):
        image = home / "images" / str(number)
        image.mkdir(parents=True, exist_ok=True)
        (image / "image").write_text(str(image))
        images.append(str(image))
    drawn = random.Random(seed)
    wanted = [drawn.choice(images) for _ in range(case.number("tasks"))]
    return asyncio.run(_run(case, routing, home / "endpoint", wanted))


async def _run(case: Case, routing: str, directory: Path, wanted: list[str]) -> Sample:
    catalog, function = AgentCatalog(), serialize_function(nap)
    catalog.learn_function(function.hash, function.body)
    jobs, expected = [], {}
    payload = bytes(serialize(((case.number("duration_ms") / 1000,), {})))
    for image in wanted:
        encoded = encode_spec(m.Spec(function.hash, "here", container=image))
        name = spec_hash(encoded)
        catalog.learn_spec(name, encoded)
        task_id = new_task_id()
        jobs.append(Job(m.Task(task_id, name, 0, len(payload)), payload, time.time()))
        expected[bytes(task_id)] = image
    found: dict[bytes, str] = {}
    done = asyncio.Event()

    def ended(outcome: m.Outcome, body: bytes) -> None:
        value = deserialize(body) if outcome.state == TaskState.SUCCEEDED else f"{TaskState(outcome.state).name}: {body[:500]!r}"
        found[outcome.id] = str(value)
        if len(found) == len(jobs):
            done.set()

    containers = Containers(runtime="custom", custom=BWRAP, routing=routing)
    engine = LocalEngine(LocalConfig(max_workers=case.number("containers")), directory, catalog, Callbacks(lambda _: None, ended), containers)
    await engine.start()
    try:
        while engine.load().workers < case.number("containers"):
            await asyncio.sleep(0.01)
        began = time.perf_counter()
        engine.submit(jobs)
        await asyncio.wait_for(done.wait(), 300)
        elapsed = time.perf_counter() - began
        counts = engine.details()["containers"]
    finally:
        await engine.stop()
    if found != expected:
        raise RuntimeError(f"a task was not in its image: {next(v for k, v in found.items() if expected[k] != v)}")
    assert isinstance(counts, dict)
    return {"completion": elapsed, "cold_starts": float(counts["cold_starts"])}
