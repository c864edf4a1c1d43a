"""An engine with containers, without service and agent; images; runtimes that must be there."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fedproxy.config.containers import Containers
from fedproxy.config.endpoint import LocalEngine as LocalConfig
from fedproxy.dispatch.functions import serialize_function
from fedproxy.endpoint.catalog import AgentCatalog
from fedproxy.endpoint.containers.plan import this_interpreter
from fedproxy.endpoint.engines.base import Callbacks, Job
from fedproxy.endpoint.engines.local import LocalEngine
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode_spec
from fedproxy.protocol.ids import new_task_id, spec_hash
from fedproxy.protocol.states import TaskState
from fedproxy.serialize import deserialize, serialize
from fedproxy.serialize.exceptions import deserialize_exception
from tests.endpoint.containers.images import make_image

BWRAP = "bwrap --bind {image} / --tmpfs /tmp --proc /proc --dev-bind /dev /dev {mounts} --unshare-pid --die-with-parent {command}"
WAIT_S = 60.0


def require(program: str, package: str) -> None:
    """Skip where it is missing; in CI that is a failure."""
    if shutil.which(program) is None:
        why = f"{program} is not installed (Debian package {package})"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two root file systems that tell who they are."""
    python = this_interpreter()
    points = (python.base, python.prefix, python.package)
    root = tmp_path_factory.mktemp("images")
    return str(make_image(root / "first", "first", points)), str(make_image(root / "second", "second", points))


class Engine:
    """The local engine on a loop of its own, step by step. What tasks come to is in ``ended``: task id → (state, value or exception or text)."""

    def __init__(self, directory: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = directory
        self.catalog = AgentCatalog()
        self.ended: dict[bytes, tuple[TaskState, Any]] = {}
        self.engine: LocalEngine | None = None

    def start(self, containers: Containers, max_workers: int = 2, **config: Any) -> Engine:
        async def begin() -> None:
            made = LocalConfig(max_workers=max_workers, **config)
            self.engine = LocalEngine(made, self.directory, self.catalog, Callbacks(lambda _: None, self._end), containers)
            await self.engine.start()

        self.loop.run_until_complete(begin())
        return self

    def _end(self, outcome: m.Outcome, body: bytes) -> None:
        state = TaskState(outcome.state)
        value: Any = body.decode(errors="replace")
        if state is TaskState.SUCCEEDED:
            value = deserialize(body)
        elif state is TaskState.FAILED:
            value = deserialize_exception(body)
        self.ended[outcome.id] = state, value

    def submit(self, function: Callable[..., Any], *args: Any, container: str = "") -> bytes:
        assert self.engine is not None
        made = serialize_function(function)
        self.catalog.learn_function(made.hash, made.body)
        encoded = encode_spec(m.Spec(made.hash, "here", container=container))
        name, payload, task_id = spec_hash(encoded), bytes(serialize((args, {}))), new_task_id()
        self.catalog.learn_spec(name, encoded)
        self.loop.run_until_complete(self._soon(lambda: self._submit(Job(m.Task(task_id, name, 0, len(payload)), payload, time.time()))))
        return task_id

    def _submit(self, job: Job) -> None:
        assert self.engine is not None
        self.engine.submit([job])

    @staticmethod
    async def _soon(act: Callable[[], None]) -> None:
        act()

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Run the loop until it is so."""
        async def wait() -> None:
            deadline = time.monotonic() + WAIT_S
            while not condition():
                assert time.monotonic() < deadline, f"waited {WAIT_S} s in vain for {what}: {self.details()}"
                await asyncio.sleep(0.01)

        self.loop.run_until_complete(wait())

    def result(self, task_id: bytes) -> Any:
        self.until(lambda: task_id in self.ended, "a task to end")
        state, value = self.ended[task_id]
        assert state is TaskState.SUCCEEDED, (state, value)
        return value

    def failure(self, task_id: bytes) -> Exception:
        self.until(lambda: task_id in self.ended, "a task to fail")
        state, value = self.ended[task_id]
        assert state is TaskState.FAILED, (state, value)
        assert isinstance(value, Exception)
        return value

    def run(self, function: Callable[..., Any], *args: Any, container: str = "") -> Any:
        return self.result(self.submit(function, *args, container=container))

    def details(self) -> Mapping[str, Any]:
        assert self.engine is not None
        return self.engine.details()

    def of(self, image: str) -> Mapping[str, Any]:
        """What the engine reports of one image."""
        found: Mapping[str, Any] = self.details()["containers"]["images"][image]
        return found

    def close(self) -> None:
        if self.engine is not None:
            self.loop.run_until_complete(self.engine.stop())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Not started yet; gone at the end."""
    monkeypatch.setenv("FEDPROXY_HOME", str(tmp_path / "home"))
    made = Engine(tmp_path / "home" / "endpoints" / f"test-{secrets.token_hex(3)}")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def bwrap() -> Containers:
    """Bubblewrap as a custom runtime."""
    require("bwrap", "bubblewrap")
    return Containers(runtime="custom", custom=BWRAP)
