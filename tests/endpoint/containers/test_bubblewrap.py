"""Workers in real containers, made by bubblewrap through a command line of the endpoint's own."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from fedproxy.config.containers import Containers
from fedproxy.errors import ContainerError, ContainerRuntimeMissingError, ImageMissingError, ImageNotAllowedError
from fedproxy.protocol.states import TaskState
from tests.endpoint.containers.conftest import Engine
from tests.endpoint.containers.images import LABEL
from tests.programs import alive


def label() -> str | None:
    """In which image we are."""
    path = Path("/") / LABEL
    return path.read_text() if path.exists() else None


def label_and_pid() -> tuple[str | None, int]:
    return label(), os.getpid()


def size_of(array: bytes) -> int:
    return len(array)


def nap(seconds: float) -> None:
    time.sleep(seconds)


def add(a: int, b: int) -> int:
    return a + b


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_each_function_runs_in_its_image_and_containers_are_reused(engine: Engine, bwrap: Containers, images: tuple[str, str]) -> None:
    first, second = images
    engine.start(bwrap, max_workers=3)
    assert engine.run(label) is None
    assert engine.run(label, container=first) == "first"
    assert engine.run(label, container=second) == "second"
    assert {engine.run(label, container=first) for _ in range(5)} == {"first"}
    assert {engine.run(label, container=second) for _ in range(3)} == {"second"}
    assert engine.run(label) is None
    assert (engine.of(first)["cold_starts"], engine.of(first)["tasks"], engine.of(first)["warm"]) == (1, 6, 5)
    assert (engine.of(second)["cold_starts"], engine.of(second)["tasks"], engine.of(second)["warm"]) == (1, 4, 3)
    assert engine.details()["containers"]["cold_starts"] == 2
    assert engine.details()["warm"] == {"": 1, first: 1, second: 1}


def test_an_elastic_engine_begins_with_a_container(engine: Engine, bwrap: Containers, images: tuple[str, str]) -> None:
    engine.start(bwrap, max_workers=2, min_workers=0)
    assert engine.details()["warm"] == {}
    assert engine.run(label, container=images[0]) == "first"
    assert engine.run(label) is None
    assert engine.run(label, container=images[0]) == "first"
    assert engine.details()["warm"] == {"": 1, images[0]: 1}


def test_a_kind_that_waits_is_not_kept_out_by_one_that_is_always_busy(engine: Engine, bwrap: Containers, images: tuple[str, str]) -> None:
    engine.start(bwrap, max_workers=1)
    assert engine.run(label, container=images[0]) == "first"
    busy = [engine.submit(nap, 0.02, container=images[0]) for _ in range(400)]
    other = engine.submit(label, container=images[1])
    assert engine.result(other) == "second"
    assert sum(task in engine.ended for task in busy) < len(busy)


def test_many_tasks_of_both_images_share_the_workers(engine: Engine, bwrap: Containers, images: tuple[str, str]) -> None:
    engine.start(bwrap, max_workers=2)
    wanted = [(images[i % 2], ("first", "second")[i % 2]) for i in range(60)]
    tasks = [(engine.submit(label, container=image), name) for image, name in wanted]
    assert all(engine.result(task) == name for task, name in tasks)
    assert engine.details()["containers"]["cold_starts"] <= 8, "warm containers were not used"


def test_one_slot_serves_all_images_in_turn(engine: Engine, bwrap: Containers, images: tuple[str, str]) -> None:
    engine.start(bwrap, max_workers=1)
    tasks = [(engine.submit(label, container=image), name) for image, name in (("", None), (images[0], "first"), (images[1], "second"), ("", None))]
    assert [engine.result(task) for task, _ in tasks] == [name for _, name in tasks]
    assert sum(engine.details()["warm"].values()) == 1


def test_large_arguments_cross_the_boundary(engine: Engine, bwrap: Containers, images: tuple[str, str]) -> None:
    engine.start(bwrap, max_workers=1)
    assert engine.run(size_of, b"x" * 5_000_000, container=images[0]) == 5_000_000


def test_an_idle_container_is_released_after_its_time(engine: Engine, bwrap: Containers, images: tuple[str, str]) -> None:
    engine.start(evolve(bwrap, idle_timeout_s=0.3), max_workers=1)
    assert engine.run(label, container=images[0]) == "first"
    engine.until(lambda: engine.details()["warm"] == {"": 1}, "the slot to go back to a bare worker")
    assert engine.of(images[0])["released"] == 1


def test_a_prefetched_image_is_warm_before_its_first_task(engine: Engine, bwrap: Containers, images: tuple[str, str]) -> None:
    engine.start(evolve(bwrap, prefetch=(images[0],)), max_workers=2)
    engine.until(lambda: engine.details()["warm"] == {"": 1, images[0]: 1}, "the image to be warm")
    assert engine.run(label, container=images[0]) == "first"
    assert (engine.of(images[0])["cold_starts"], engine.of(images[0])["prefetched"], engine.of(images[0])["warm"]) == (0, 1, 1)


def test_a_container_that_is_killed_loses_its_task_only(engine: Engine, bwrap: Containers, images: tuple[str, str]) -> None:
    # As first process of its namespace the worker may not kill itself: bubblewrap's own init is that one.
    engine.start(bwrap, max_workers=2)
    doomed = engine.submit(die, container=images[0])
    engine.until(lambda: doomed in engine.ended, "the loss to be seen")
    assert engine.ended[doomed][0] is TaskState.LOST
    assert "may have started" in engine.ended[doomed][1]
    assert engine.run(label, container=images[0]) == "first"


def test_a_running_task_in_a_container_can_be_cancelled(engine: Engine, bwrap: Containers, images: tuple[str, str]) -> None:
    engine.start(bwrap, max_workers=1)
    pause = engine.submit(signal.pause, container=images[0])
    engine.until(lambda: any(w["jobs"] for w in engine.details()["workers"]), "the task to run")
    assert engine.engine is not None
    engine.loop.call_soon(engine.engine.cancel, pause)
    engine.until(lambda: pause in engine.ended, "the cancelled task to end")
    assert engine.ended[pause][0] is TaskState.CANCELLED
    assert engine.run(label, container=images[0]) == "first"


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where sockets go; its path is short, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="fp-") as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", path)
        yield Path(path)


def test_stopping_leaves_no_process_and_no_socket(engine: Engine, bwrap: Containers, images: tuple[str, str], runtime: Path) -> None:
    engine.start(bwrap, max_workers=2)
    assert engine.run(label, container=images[0]) == "first"
    assert list(runtime.iterdir())
    assert not [path for path in runtime.rglob("*") if path.is_socket()], "a socket may be connected to once"
    pids = [worker["pid"] for worker in engine.details()["workers"]]
    assert engine.engine is not None
    engine.loop.run_until_complete(engine.engine.stop())
    engine.engine = None
    assert not [pid for pid in pids if alive(pid)]
    assert not list(runtime.iterdir())


def test_without_a_runtime_the_task_fails_with_what_to_do(engine: Engine) -> None:
    engine.start(Containers(), max_workers=1)
    failure = engine.failure(engine.submit(label, container="anything"))
    assert isinstance(failure, ContainerRuntimeMissingError)
    assert "containers.runtime" in str(failure)
    assert engine.run(add, 1, 2) == 3


def test_a_runtime_that_is_not_installed_is_named(engine: Engine) -> None:
    engine.start(Containers(runtime="custom", custom="no-such-runtime {image} {command}"), max_workers=1)
    failure = engine.failure(engine.submit(label, container="anything"))
    assert isinstance(failure, ContainerRuntimeMissingError)
    assert "no-such-runtime" in str(failure)
    assert engine.run(add, 1, 2) == 3


def test_a_missing_image_is_named_and_others_go_on(engine: Engine, bwrap: Containers, images: tuple[str, str]) -> None:
    engine.start(bwrap, max_workers=1)
    failure = engine.failure(engine.submit(label, container="/no/such/image"))
    assert isinstance(failure, ImageMissingError)
    assert isinstance(failure, LookupError)
    assert "/no/such/image" in str(failure)
    assert engine.run(label, container=images[0]) == "first"


def test_only_images_of_the_allow_list_are_started(engine: Engine, bwrap: Containers, images: tuple[str, str]) -> None:
    engine.start(evolve(bwrap, images=(str(Path(images[0]).parent / "fir*"),)), max_workers=1)
    assert engine.run(label, container=images[0]) == "first"
    assert isinstance(engine.failure(engine.submit(label, container=images[1])), ImageNotAllowedError)


def test_an_image_that_cannot_run_the_worker_fails_its_tasks_with_the_reason(engine: Engine, bwrap: Containers, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    engine.start(bwrap, max_workers=1)
    failure = engine.failure(engine.submit(label, container=str(empty)))
    assert type(failure) is ContainerError
    assert "bwrap" in str(failure)
    assert engine.of(str(empty))["failed_starts"] == 3
    assert engine.run(add, 1, 2) == 3
