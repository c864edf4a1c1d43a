"""A client that is killed loses nothing: another process takes its tasks up by their group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dispatch.gate import heard
from tests.programs import Programs, wait_for

TASKS = 1_000
FIRST = f"""
import os, signal, sys
from fedproxy import Executor
from fedproxy.errors import FedproxyError

def work(number, said, gate):
    import os, time
    descriptor = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, b"%d\\n" % number)
    os.close(descriptor)
    while not os.path.exists(gate):
        time.sleep(0.005)
    if number == 13:
        raise KeyError(number)
    return number * number

executor = Executor("local", task_group_id=sys.argv[1])
futures = [executor.submit(work, i, *sys.argv[2:]) for i in range({TASKS})]
executor.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
SECOND = """
import sys
from fedproxy import Executor
with Executor(task_group_id=sys.argv[1]) as executor:
    futures = executor.reload_tasks()
    values = [repr(future.exception(60) or future.result()) for future in futures]
print("\\n".join(values))
"""


@pytest.mark.slow
def test_a_client_killed_after_a_thousand_submits_and_another_process_gets_every_result(running: Programs, tmp_path: Path) -> None:
    said, gate = tmp_path / "said", tmp_path / "gate"
    environment = {**os.environ, "FEDPROXY_HOME": str(running.home)}

    def run(code: str, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, "the-group", *args], env=environment, capture_output=True, text=True, timeout=90)

    killed = run(FIRST, str(said), str(gate))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    wait_for(lambda: len(heard(said)) >= 2, "both workers to be busy", 30)
    assert len(heard(said)) < TASKS, "most of the work was still to be done when the client died"
    gate.touch()
    again = run(SECOND)
    assert again.returncode == 0, again.stderr
    assert again.stdout.split("\n")[:-1] == [repr(i * i) if i != 13 else "KeyError(13)" for i in range(TASKS)]
    assert sorted(map(int, heard(said))) == list(range(TASKS)), "each ran exactly once"
