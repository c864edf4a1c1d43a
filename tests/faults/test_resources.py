"""A disk that is full and then not, and too few file descriptors."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fedproxy.errors import ServiceError, ServiceFullError
from tests.faults.ledger import Ledger, Promise
from tests.faults.stage import Stage
from tests.faults.witness import Witness
from tests.programs import wait_for

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The service's folder, or another, on a tmpfs of 32 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    directory = tmp_path / getattr(request, "param", "service")
    directory.mkdir(mode=0o700, parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m,mode=0700", "tmpfs", str(directory)], check=True, timeout=10)
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True, timeout=10)


@pytest.fixture
def stage_on_small_disk(small_disk: Path, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def fill(path: Path) -> None:
    """Write until not one more page fits."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_stops_submits_only_and_recovers_unaided(stage_on_small_disk: Stage, small_disk: Path, book: Ledger) -> None:
    stage = stage_on_small_disk
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book, sleep_s=0.01)
    witness.submit_all(200, 1)
    fill(small_disk / "ballast")
    stage.mark("disk full")
    refused = 0
    for key in range(1000, 1040):
        began = time.monotonic()
        try:
            witness.post({key: os.urandom(16)})
        except ServiceFullError:
            refused += 1
        assert time.monotonic() - began < 3, "a full disk makes clients wait"
    assert refused == 40, "the disk was not full"
    wait_for(lambda: len(book.executions()) == len(witness.keys), "the accepted tasks to run on a full disk")
    witness.wait(20)  # endings are written although the disk is full
    assert witness.rest.json("GET", "/tables")["live rows"] == 0
    (small_disk / "ballast").unlink()
    wait_for(lambda: witness.submit(range(300, 310), once=True), "submits to be taken again", 10)
    witness.prove(Promise(lost_at_most=0))
    witness.close()


def test_a_disk_without_a_page_left_delays_endings_and_loses_nothing(stage_on_small_disk: Stage, small_disk: Path, book: Ledger) -> None:
    """Even the reserve is used up: results stay at the endpoint until there is room."""
    stage = stage_on_small_disk
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book, sleep_s=0.02)
    witness.submit_all(200, 1)
    fill(small_disk / "ballast")
    (small_disk / "reserve").unlink()
    fill(small_disk / "more ballast")
    stage.mark("disk full")
    with pytest.raises(ServiceFullError):
        witness.post({1000: os.urandom(16)})
    wait_for(lambda: "commit failed, trying again" in stage.log("service"), "an ending that cannot be written")
    assert witness.rest.json("GET", "/v1/health")["status"] == "ok", "the service stands still"
    (small_disk / "ballast").unlink()
    (small_disk / "more ballast").unlink()
    wait_for(lambda: witness.submit(range(300, 310), once=True), "submits to be taken again", 10)
    witness.prove(Promise(lost_at_most=0))
    witness.close()


@pytest.mark.parametrize("small_disk", ["endpoints/local"], indirect=True, ids=["agent"])
def test_a_full_disk_of_the_agent_makes_tasks_wait_and_loses_nothing(stage_on_small_disk: Stage, small_disk: Path, book: Ledger) -> None:
    stage = stage_on_small_disk
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book, sleep_s=0.02)
    with witness.watching():
        witness.submit_all(200, 1)
        accepted = len(witness.keys)
        wait_for(lambda: len(book.executions()) >= 20, "executions")
        fill(small_disk / "ballast")
        witness.submit(range(1000, 1100))
        wait_for(lambda: "tasks are not taken" in stage.log("local"), "the journal to be full")
        wait_for(lambda: len(book.executions()) == accepted, "what was taken before to run on a full disk")
        assert len(witness.keys) == accepted + 100
        (small_disk / "ballast").unlink()
        wait_for(lambda: len(book.executions()) >= accepted + 20, "what came on a full disk to run", 30)
        stage.kill("local")  # the journal that was full is what the next agent knows
        stage.start_endpoint()
        witness.wait()
    witness.prove(Promise(lost_at_most=2 * 64))
    witness.close()


def test_a_service_with_64_descriptors_refuses_some_and_serves_on(stage: Stage, book: Ledger) -> None:
    stage.will(("service", "limit_files", 64))
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book)
    port = int(stage.info()["port"])
    idle = []
    for _ in range(100):
        with suppress(OSError):
            idle.append(socket.create_connection(("127.0.0.1", port), 2))
    pid = stage.running["service"].pid
    wait_for(lambda: len(os.listdir(f"/proc/{pid}/fd")) >= 60, "the descriptors to be used up")
    stage.mark("no descriptors")
    with suppress(ServiceError):
        witness.submit(range(5), once=True, give_up_s=3)
    for connection in idle:
        connection.close()
    witness.submit_all_from(100, 50)
    witness.prove(Promise(lost_at_most=0))
    witness.close()


def test_more_connections_than_the_usual_limit_of_files_are_held(stage: Stage, book: Ledger) -> None:
    stage.will(("service", "usual_limit_of_files"))
    stage.start_service()
    stage.start_endpoint()
    witness = Witness(stage, book)
    port = int(stage.info()["port"])
    idle = [socket.create_connection(("127.0.0.1", port), 2) for _ in range(1500)]
    try:
        pid = stage.running["service"].pid
        wait_for(lambda: len(os.listdir(f"/proc/{pid}/fd")) > 1500, "the connections to be held")
        witness.submit_all(50, 1)
        witness.prove(Promise(lost_at_most=0))
    finally:
        for connection in idle:
            connection.close()
    witness.close()


def test_an_agent_with_64_descriptors_runs_its_tasks(stage: Stage, book: Ledger) -> None:
    stage.will(("agent", "limit_files", 64))
    stage.start_service()
    stage.start_endpoint(workers=8)
    limits = Path(f"/proc/{stage.running['local'].pid}/limits").read_text()
    assert any(line.split()[3:5] == ["64", "64"] for line in limits.splitlines() if line.startswith("Max open files"))
    witness = Witness(stage, book)
    witness.submit_all(100, 1)
    witness.prove(Promise(lost_at_most=0))
    witness.close()
