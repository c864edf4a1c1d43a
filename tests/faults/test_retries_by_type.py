"""The ledger's rule of executions also holds for retries by type, while service and agent are killed again and again."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from fedproxy.dispatch.executor import Executor
from fedproxy.errors import TaskLostError
from tests.faults.stage import seeds
from tests.programs import Programs, wait_for

TASKS, RETRIES = 120, 2


def work(path: str, number: int, sleep_s: float) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, b"%d\n" % number)
    os.close(descriptor)
    time.sleep(sleep_s)
    if number % 3 == 1:
        raise ConnectionError(number)
    if number % 3 == 2:
        raise ValueError(number)
    return number


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::fedproxy.errors.EndpointOfflineWarning")
@pytest.mark.parametrize("seed", seeds())
def test_no_task_starts_more_often_than_its_retries_allow(programs: Programs, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    said = tmp_path / "said"
    programs.start_service()
    programs.start_endpoint("local", 2)
    with programs.client() as client, Executor("local", client=client, retries=RETRIES, retry_on=ConnectionError, retry_backoff_s=0.05) as executor:
        futures = [executor.submit(work, str(said), i, 0.01) for i in range(TASKS)]
        for _ in range(3):
            ended = sum(future.done() for future in futures)
            wait_for(lambda ended=ended: sum(f.done() for f in futures) > ended + 10 or all(f.done() for f in futures), "some progress", 60)
            victim = dice.choice(["service", "local"])
            programs.kill(victim)
            if victim == "service":
                programs.start_service()
            else:
                programs.start_endpoint("local", 2)
        endings = [future.exception(90) for future in futures]
    runs = Counter(map(int, said.read_text().split()))
    for number, ending in enumerate(endings):
        allowed = 1 + RETRIES if number % 3 == 1 else 1
        assert runs[number] <= allowed, f"task {number} ran {runs[number]} times"
        if not isinstance(ending, TaskLostError):  # on a worker when its agent was killed
            assert type(ending) is (type(None), ConnectionError, ValueError)[number % 3]
            assert runs[number] == allowed, f"task {number} ran {runs[number]} times"
