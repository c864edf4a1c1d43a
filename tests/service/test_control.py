"""A cancellation that comes between what was just written and what follows from it: the task ends once, and is not sent behind its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from fedproxy.config.service import ServiceConfig
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import Buffer, decode, encode_spec
from fedproxy.protocol.ids import function_hash, new_task_id, spec_hash
from fedproxy.protocol.states import TaskState
from fedproxy.service.core import Core
from fedproxy.service.forwarder import Forwarder
from fedproxy.service.identity import ServiceIdentity
from fedproxy.service.intake import Intake
from fedproxy.service.rows import LiveTask

BODY = b"not a function"


class Scene:
    """A service without sockets: what it would send is in ``sent``."""

    def __init__(self, core: Core, directory: Path) -> None:
        self.core = core
        self.forwarder = Forwarder(core, ServiceIdentity.open(directory / "identity.key", "link"))
        self.forwarder.sessions.attach(self)
        self.intake = Intake(core, self.forwarder)
        self.endpoint = core.registry.register("me", "here", b"key", {})
        self.spec = encode_spec(m.Spec(function_hash(BODY), self.endpoint.id))
        self.up = True
        self.sent: list[object] = []

    def send(self, _peer: bytes, parts: Sequence[Buffer]) -> bool:
        if self.up:
            self.sent.append(decode(parts[0])[0])
        return self.up

    async def connect(self) -> None:
        self.say(m.Hello(self.endpoint.id, "i", "j", "b", (1,), 100))
        await self.settle()

    def say(self, message: object, body: bytes = b"") -> None:
        self.forwarder.on_message(b"peer", self.endpoint.id, message, memoryview(body))

    async def submit(self, needs: tuple[bytes, ...] = ()) -> bytes:
        item = m.Item(new_task_id(), spec_hash(self.spec), 1, needs=needs)
        message = m.Submit("g", {spec_hash(self.spec): self.spec}, (m.Blob(function_hash(BODY), len(BODY)),), (item,))
        await self.intake.submit("me", message, memoryview(BODY + b"x"))
        return item.id

    def tasks_sent(self) -> list[bytes]:
        return [task.id for message in self.sent if isinstance(message, m.Tasks) for task in message.items]

    def cancel(self, *ids: bytes) -> None:
        for task in self.core.ledger.find("me", ids):
            self.forwarder.control.cancel(task)

    def state(self, task_id: bytes) -> TaskState:
        return self.core.ledger.states("me", [task_id])[task_id]

    async def settle(self) -> None:
        """All that follows from what was done has happened."""
        for _ in range(5):
            await self.core.commit.flush()
            await asyncio.sleep(0)


def play(tmp_path: Path, what: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        core = Core.open(ServiceConfig(tmp_path))
        try:
            await asyncio.wait_for(what(Scene(core, tmp_path)), 20)
        finally:
            await core.close()

    asyncio.run(run())


def cancelling(monkeypatch: pytest.MonkeyPatch, scene: Scene, place: object, name: str, *, before: bool) -> None:
    """The first time that this is done, all its tasks are cancelled just before or just after."""
    plain = getattr(place, name)

    def done(tasks: LiveTask | list[LiveTask], *args: float) -> None:
        monkeypatch.setattr(place, name, plain)
        ids = [task.id for task in ([tasks] if isinstance(tasks, LiveTask) else tasks)]
        if before:
            scene.cancel(*ids)
        plain(tasks, *args)
        if not before:
            scene.cancel(*ids)

    monkeypatch.setattr(place, name, done)


def test_a_task_that_is_cancelled_before_it_is_held_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def what(scene: Scene) -> None:
        await scene.connect()
        first = await scene.submit()
        cancelling(monkeypatch, scene, scene.forwarder, "inserted", before=True)
        second = await scene.submit(needs=(first,))
        await scene.settle()
        assert scene.state(second) is TaskState.CANCELLED
        assert not scene.forwarder.endings.dependencies, "it is held for ever if the first never ends"
        scene.say(m.Results((m.Outcome(first, 0, 10, 1),)), b"v")
        await scene.settle()
        assert scene.state(first) is TaskState.SUCCEEDED
        assert scene.tasks_sent() == [first]

    play(tmp_path, what)


def test_a_task_that_is_cancelled_while_it_is_released_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def what(scene: Scene) -> None:
        await scene.connect()
        first = await scene.submit()
        second = await scene.submit(needs=(first,))
        cancelling(monkeypatch, scene, scene.forwarder.endings.dependencies, "_release", before=False)
        scene.say(m.Results((m.Outcome(first, 0, 10, 1),)), b"v")
        await scene.settle()
        assert scene.state(second) is TaskState.CANCELLED
        third = await scene.submit()
        await scene.settle()
        assert scene.tasks_sent() == [first, third]
        assert scene.core.queues.length(scene.endpoint.id) == 0

    play(tmp_path, what)


def test_a_task_that_is_cancelled_while_it_comes_back_from_a_broken_connection_is_not_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def what(scene: Scene) -> None:
        await scene.connect()
        cancelling(monkeypatch, scene, scene.forwarder.outbound, "requeue", before=False)
        scene.up = False
        task = await scene.submit()
        await scene.settle()
        assert scene.state(task) is TaskState.CANCELLED
        scene.up = True
        await scene.connect()
        another = await scene.submit()
        await scene.settle()
        assert scene.tasks_sent() == [another]
        assert scene.core.queues.length(scene.endpoint.id) == 0

    play(tmp_path, what)


def test_a_priority_that_changes_while_a_task_is_released_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def what(scene: Scene) -> None:
        scene.say(m.Hello(scene.endpoint.id, "i", "j", "b", (1,), 1))  # takes one at a time
        await scene.settle()
        first = await scene.submit()
        early, late = await scene.submit(needs=(first,)), await scene.submit(needs=(first,))
        plain = scene.forwarder.endings.dependencies._release

        def release(task: LiveTask) -> None:
            plain(task)
            if task.id == late:
                scene.forwarder.control.reprioritize((found, 7) for found in scene.core.ledger.find("me", [late]))

        monkeypatch.setattr(scene.forwarder.endings.dependencies, "_release", release)
        scene.say(m.Results((m.Outcome(first, 0, 10, 1),)), b"v")
        await scene.settle()
        scene.say(m.Results((m.Outcome(late, 0, 10, 1),)), b"v")
        await scene.settle()
        assert scene.tasks_sent() == [first, late, early]

    play(tmp_path, what)
