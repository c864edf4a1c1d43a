"""Applications against Colmena's public API. Only the line that makes the task server differs between runs:

    python apps.py APP local|fedproxy FOLDER REDIS_PORT [STORE_URL]

prints what the application found as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from colmena.models import Result
from colmena.models.methods import ExecutableMethod, PythonGeneratorMethod
from colmena.queue import ColmenaQueues, PipeQueues
from colmena.queue.redis import RedisQueues
from colmena.task_server.local import LocalTaskServer
from colmena.thinker import BaseThinker, ResourceCounter, agent, event_responder, result_processor, task_submitter

APP, SERVER, FOLDER, PORT = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])


def make_server(methods: list[Any], queues: ColmenaQueues) -> Any:
    """The server line."""
    if SERVER == "local":
        return LocalTaskServer(queues, methods, threads=False, num_workers=2)
    from fedproxy.patterns.colmena import FedproxyTaskServer

    return FedproxyTaskServer(methods, queues, endpoint="local")


def run(thinker: BaseThinker, server: Any, queues: ColmenaQueues) -> None:
    server.start()
    try:
        thinker.start()
        thinker.join(timeout=100)
        assert not thinker.is_alive(), "the thinker did not end"
    finally:
        queues.send_kill_signal()
        server.join(timeout=30)
        assert server.exitcode == 0, server.exitcode


# ---------------------------------------------------------------- every decorator, topics, reallocation


def simulate(x: float) -> float:
    return (x - 0.3) ** 2


def train(xs: list[float], ys: list[float]) -> list[float]:
    return list(np.polyfit(xs, ys, 2))


def broken(x: float) -> float:
    raise ValueError(f"cannot simulate {x}")


class Designer(BaseThinker):
    def __init__(self, queues: ColmenaQueues) -> None:
        rec = ResourceCounter(4, ["sim", "ml"])
        rec.reallocate(None, "sim", 4)
        super().__init__(queues, rec)
        self.todo = [i / 20 for i in range(20)]
        self.xs: list[float] = []
        self.ys: list[float] = []
        self.retrain, self.models = Event(), []  # type: ignore[var-annotated]
        self.began = self.failures = 0

    @agent(startup=True)
    def begin(self) -> None:
        self.began += 1
        self.queues.send_inputs(1.0, method="broken", topic="other")
        result = self.queues.get_result(topic="other")
        self.failures += not result.success and "cannot simulate" in result.failure_info.exception

    @task_submitter(task_type="sim", n_slots=1)
    def submit(self) -> None:
        if self.todo:
            self.queues.send_inputs(self.todo.pop(), method="simulate", topic="sim", task_info={"kind": "sim"})
        else:
            self.done.wait()

    @result_processor(topic="sim")
    def store(self, result: Result) -> None:
        assert result.success, result.failure_info
        assert result.task_info["kind"] == "sim"
        self.xs.append(result.args[0])
        self.ys.append(result.value)
        self.rec.release("sim", 1)
        if len(self.xs) == 10:
            self.retrain.set()

    @event_responder(event_name="retrain", reallocate_resources=True, gather_from="sim", gather_to="ml", disperse_to="sim", max_slots=2)
    def fit(self) -> None:
        self.rec.acquire("ml", 1)
        while len(self.xs) < 20:
            self.queues.send_inputs(self.xs[:3], self.ys[:3], method="train", topic="ml")
            self.queues.get_result(topic="ml")
            self.rec.release("ml", 1)
            self.rec.acquire("ml", 1)
            if not self.todo:
                break
        self.queues.send_inputs(sorted(self.xs), [(x - 0.3) ** 2 for x in sorted(self.xs)], method="train", topic="ml")
        result = self.queues.get_result(topic="ml")
        self.models.append(result.value)
        self.rec.release("ml", 1)
        self.done.set()


def decorators() -> object:
    queues = PipeQueues(topics=["sim", "ml", "other"])
    thinker = Designer(queues)
    run(thinker, make_server([simulate, train, broken], queues), queues)
    return {
        "points": sorted([round(x, 6), round(y, 9)] for x, y in zip(thinker.xs, thinker.ys, strict=True)), "began": thinker.began,
        "failures": thinker.failures, "optimum": round(-thinker.models[0][1] / (2 * thinker.models[0][0]), 6), "slots": thinker.rec._total_slots,
    }


# ---------------------------------------------------------------- streaming generators


def steps(stop: int) -> Iterator[int]:
    total = 0
    for i in range(stop):
        total += i
        yield i * i
    return total


class Streaming(BaseThinker):
    def __init__(self, queues: ColmenaQueues) -> None:
        super().__init__(queues)
        self.streamed: list[int] = []
        self.answers: dict[str, Any] = {}

    @agent
    def ask(self) -> None:
        self.queues.send_inputs(5, method="live", topic="default")
        while True:
            result = self.queues.get_result(timeout=60)
            assert result.success, result.failure_info
            if result.complete:
                self.answers["live"] = result.value
                break
            self.streamed.append(result.value)
        self.queues.send_inputs(4, method="listed", topic="default")
        self.answers["listed"] = self.queues.get_result(timeout=60).value


def streaming() -> object:
    queues = RedisQueues(topics=[], port=PORT, prefix=f"{SERVER}-streaming")
    thinker = Streaming(queues)
    methods = [
        PythonGeneratorMethod(steps, name="live", store_return_value=True, streaming_queue=queues),
        PythonGeneratorMethod(steps, name="listed", store_return_value=True),
    ]
    run(thinker, make_server(methods, queues), queues)
    return {"streamed": thinker.streamed, "answers": {name: json.loads(json.dumps(value)) for name, value in thinker.answers.items()}}


# ---------------------------------------------------------------- retries


def flaky(name: str, failures: int) -> int:
    with open(FOLDER / name, "a+") as file:
        file.write("x")
        file.seek(0)
        count = len(file.read())
    if count <= failures:
        raise ConnectionError("not yet")
    return count


class Retrying(BaseThinker):
    @agent
    def ask(self) -> None:
        self.found = {}
        for name, failures, retries in (("fine", 0, 2), ("twice", 2, 2), ("never", 3, 1)):
            self.queues.send_inputs(f"{SERVER}-{name}", failures, method="flaky", max_retries=retries)
            result = self.queues.get_result(timeout=60)
            self.found[name] = [result.success, result.value, result.retries, "" if result.success else result.failure_info.exception]


def retries() -> object:
    queues = PipeQueues(topics=[])
    thinker = Retrying(queues)
    run(thinker, make_server([flaky], queues), queues)
    return thinker.found


# ---------------------------------------------------------------- executables


class Sorter(ExecutableMethod):
    def __init__(self) -> None:
        super().__init__(executable=["/usr/bin/sort"], name="sorter")

    def preprocess(self, run_dir: Path, args: tuple[Any], kwargs: dict[str, Any]) -> tuple[list[str], None]:
        (run_dir / "words").write_text("\n".join(args[0]) + "\n")
        return ["words"], None

    def postprocess(self, run_dir: Path) -> list[str]:
        return (run_dir / "colmena.stdout").read_text().split()


class Executing(BaseThinker):
    @agent
    def ask(self) -> None:
        self.queues.send_inputs(["pear", "apple", "fig"], method="sorter")
        result = self.queues.get_result(timeout=60)
        self.found = result.value if result.success else result.failure_info.exception


def executables() -> object:
    queues = PipeQueues(topics=[])
    thinker = Executing(queues)
    run(thinker, make_server([Sorter()], queues), queues)
    return thinker.found


# ---------------------------------------------------------------- proxied inputs and results


def add_one(array: Any) -> Any:
    return np.asarray(array) + 1


class Moving(BaseThinker):
    def __init__(self, queues: ColmenaQueues, tasks: int, nbytes: int) -> None:
        super().__init__(queues)
        self.tasks, self.size = tasks, nbytes // 8
        self.total, self.wrong, self.proxied = 0.0, 0, 0

    def send(self, number: int) -> None:
        self.queues.send_inputs(np.full(self.size, float(number)), method="add_one", task_info={"n": number})

    @agent
    def move(self) -> None:
        sent = 0
        for _ in range(min(8, self.tasks)):
            self.send(sent)
            sent += 1
        for _ in range(self.tasks):
            result = self.queues.get_result(timeout=60)
            assert result.success, result.failure_info
            self.proxied += type(result.value).__name__ == "Proxy" or "proxystore" in repr(type(result.value))
            array = np.asarray(result.value)
            self.wrong += not (array.shape == (self.size,) and (array == result.task_info["n"] + 1).all())
            self.total += float(array[0])
            if sent < self.tasks:
                self.send(sent)
                sent += 1


def proxied() -> object:
    return move(1_000, 1_000_000)


def move(tasks: int, nbytes: int) -> object:
    from fedproxy.patterns.colmena import proxystore_store

    store = proxystore_store(f"apps-{SERVER}", sys.argv[5])
    queues = PipeQueues(topics=[], keep_inputs=False, proxystore_name=store.name, proxystore_threshold=10_000)
    thinker = Moving(queues, tasks, nbytes)
    run(thinker, make_server([add_one], queues), queues)
    store.close(clear=True)
    return {"total": thinker.total, "wrong": thinker.wrong, "proxied": thinker.proxied}


if __name__ == "__main__":
    print("FOUND " + json.dumps(globals()[APP](), sort_keys=True))
