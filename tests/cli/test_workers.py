"""Workers as an endpoint's config.yaml says, with the real agent and real workers."""

from __future__ import annotations

import json
import os
import time

import pytest

import fedproxy
from fedproxy.errors import TaskMemoryError
from tests.programs import alive

pytestmark = pytest.mark.slow

CONFIG = """
engine:
  max_workers: 2
  available_accelerators: [GPU-a, GPU-b]
  cpu_affinity: block
  memory_per_worker: 400MB
  worker_init: |
    export FROM_INIT="hello there"
endpoint_setup: echo set up >> setup.txt
endpoint_teardown: echo torn down >> setup.txt
sandbox:
  keep: failed
"""


@pytest.fixture
def start(cli, home, as_user):
    """A client of a service in ``home`` and of the endpoint ``local`` with this configuration."""
    opened = []

    def begin(config):
        assert cli("endpoint", "configure", "local").returncode == 0
        (home / "endpoints" / "local" / "config.yaml").write_text(config)
        done = cli("up")
        assert done.returncode == 0, done.stderr
        opened.append(fedproxy.Executor("local", client=fedproxy.Client()))
        return opened[-1]

    yield begin
    for executor in opened:
        executor.shutdown(wait=False)
        executor.client.close()


def surroundings(_):
    import os
    import time

    time.sleep(0.2)  # so that both workers have some
    names = ("FROM_INIT", "CUDA_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "FEDPROXY_TASK_ID", "FEDPROXY_WORKER_ID", "FEDPROXY_ENDPOINT_ID")
    return {name: os.environ.get(name) for name in names} | {"cores": sorted(os.sched_getaffinity(0)), "pid": os.getpid()}


def greedy(size):
    return len(bytearray(size))


def greedy_family(size, count):
    import subprocess
    import sys

    code = f"held = bytearray(b'x') * {size}; print('held', flush=True); input()"
    family = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(count)]
    for each in family:
        each.stdout.readline()
    while True:
        time.sleep(1)


def test_workers_are_surrounded_as_configured(cli, start, home, wait_until):
    executor = start(CONFIG)
    wait_until(lambda: executor.client.get_endpoint_status("local")["workers"] == 2, timeout_s=60)
    futures = [executor.submit(surroundings, index) for index in range(6)]
    found = [future.result(60) for future in futures]
    assert [each["FEDPROXY_TASK_ID"] for each in found] == [future.task_id for future in futures]
    assert {each["FROM_INIT"] for each in found} == {"hello there"}
    workers = {each["pid"]: each for each in found}
    assert sorted(each["CUDA_VISIBLE_DEVICES"] for each in workers.values()) == ["GPU-a", "GPU-b"]
    assert all(each["CUDA_VISIBLE_DEVICES"] == each["ZE_AFFINITY_MASK"] for each in found)
    assert len({each["FEDPROXY_WORKER_ID"] for each in workers.values()}) == 2
    assert {each["FEDPROXY_ENDPOINT_ID"] for each in found} == {json.loads(cli("endpoint", "status", "local", "--json").stdout)["endpoint_id"]}
    if len(os.sched_getaffinity(0)) >= 2:
        first, second = (set(each["cores"]) for each in workers.values())
        assert not first & second

    # shell functions have a folder; that of one that failed stays
    folders = home / "endpoints" / "local" / "tasks"
    assert executor.submit(fedproxy.ShellFunction("pwd")).result(60).stdout.startswith(str(folders))
    failed = executor.submit(fedproxy.ShellFunction("echo kept > it; exit 1"))
    assert failed.result(60).returncode == 1
    assert [each.name for each in folders.iterdir()] == [failed.task_id]

    # memory: one process is held by the kernel, a family of them by the agent
    with pytest.raises(TaskMemoryError, match="400,000,000 bytes"):
        executor.submit(greedy, 600_000_000).result(60)
    with pytest.raises(TaskMemoryError, match="400,000,000 bytes"):
        executor.submit(greedy_family, 150_000_000, 4).result(60)
    busy = executor.submit(sum, range(10_000_000))
    assert busy.result(60) == sum(range(10_000_000))
    assert busy.used[0] > 0.01
    assert busy.used[1] > 5_000_000
    assert executor.client.rest.json("GET", f"/v1/tasks/{busy.task_id}")

    assert (home / "endpoints" / "local" / "setup.txt").read_text() == "set up\n"
    assert cli("endpoint", "stop", "local").returncode == 0
    assert (home / "endpoints" / "local" / "setup.txt").read_text() == "set up\ntorn down\n"


def test_workers_are_replaced_after_their_number_of_tasks_and_an_idle_endpoint_stops(cli, start, home, wait_until):
    executor = start("engine:\n  max_workers: 1\n  tasks_per_worker: 3\nidle_shutdown_s: 2\n")
    workers = [executor.submit(os.getpid).result(60) for _ in range(7)]
    assert len(set(workers)) == 3
    assert workers == sorted(workers, key=workers.index)
    assert [workers.count(pid) for pid in dict.fromkeys(workers)] == [3, 3, 1]
    wait_until(lambda: cli("endpoint", "status", "local").returncode == 3, timeout_s=60)
    assert not [pid for pid in workers if alive(pid)]
    assert "idle_shutdown_s" in (home / "endpoints" / "local" / "endpoint.log").read_text()


def test_an_endpoint_whose_setup_fails_does_not_start(cli, home):
    assert cli("service", "start", "--detach").returncode == 0
    assert cli("endpoint", "configure", "local").returncode == 0
    path = home / "endpoints" / "local" / "config.yaml"
    path.write_text("endpoint_setup: exit 7\n")
    done = cli("endpoint", "start", "local", "--detach")
    assert done.returncode == 1
    assert "endpoint_setup ended with code 7" in done.stderr


def test_workers_that_cannot_start_are_told_in_the_status(start, cli, wait_until):
    start("engine:\n  max_workers: 1\n  worker_init: |\n    set -e\n    no-such-program\n")
    wait_until(lambda: "workers die while they start" in (json.loads(cli("endpoint", "status", "local", "--json").stdout)["problem"] or ""), 60)
    assert "no-such-program: command not found" in cli("endpoint", "status", "local").stdout
    assert "endpoint 'local': workers die while they start" in cli("status").stderr
