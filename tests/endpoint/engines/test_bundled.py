"""What the engine over a carrier decides, with a carrier that only takes note."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping

from attrs import define, field

from fedproxy.endpoint.catalog import AgentCatalog
from fedproxy.endpoint.engines.base import Callbacks, Job
from fedproxy.endpoint.engines.bundled import BundledEngine, Passenger
from fedproxy.endpoint.engines.relay import RelayAddress
from fedproxy.protocol import messages as m
from fedproxy.protocol import worker_messages as w
from fedproxy.protocol.codec import encode_spec
from fedproxy.protocol.ids import spec_hash
from fedproxy.protocol.states import TaskState


@define
class Notes:
    """One place; bundles are never started."""

    places: int = 1
    workers: int = 1
    blocks: int = 0
    problem: str = ""
    sent: list[int] = field(factory=list)

    def start(self, passenger: Passenger) -> None:
        pass

    def send(self, number: int, buffer: bytes, relay: RelayAddress) -> None:
        self.sent.append(number)

    def wanted(self) -> None:
        pass

    def details(self) -> Mapping[str, object]:
        return {}

    async def stop(self) -> None:
        pass


def test_a_bundle_whose_last_answer_comes_after_its_landing_makes_room_for_the_next() -> None:
    async def scene() -> None:
        catalog, carrier = AgentCatalog(), Notes()
        spec = encode_spec(m.Spec(bytes(32), "here"))
        catalog.learn_spec(spec_hash(spec), spec)
        engine = BundledEngine(carrier, catalog, Callbacks(lambda _ids: None, lambda _outcome, _body: None), "127.0.0.1", ("127.0.0.1",))
        await engine.start()

        async def under_way() -> bytes:
            task = m.Task(secrets.token_bytes(16), spec_hash(spec), 0, 0)
            engine.submit([Job(task, b"", 0.0)])
            await asyncio.sleep(0)
            engine.claimed(b"worker", w.Claim(carrier.sent[-1], ((task.id, 0),)))
            return task.id

        def answer(task_id: bytes) -> None:
            engine.answered(m.Outcome(task_id, 0, int(TaskState.SUCCEEDED), 0, (0.0, 1.0, 1.00001, 0.0)), b"")

        first = await under_way()
        answer(first)  # such calls are known to be short now: they are not sent ahead
        engine.landed(1, None)
        second = await under_way()
        engine.landed(2, None)
        await under_way()
        assert carrier.sent == [1, 2]
        answer(second)
        await asyncio.sleep(0)
        assert carrier.sent == [1, 2, 3]
        await engine.stop()

    asyncio.run(scene())
