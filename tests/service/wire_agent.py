"""An agent of which only the wire is real: it registers, connects, and does with the service's messages what the test says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fedproxy.dispatch.client import Client
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import decode, encode
from fedproxy.protocol.ids import new_uuid
from fedproxy.wire.curve import KeyPair
from fedproxy.wire.zmq_channel import Channel, Peer


class WireAgent:
    """Runs its loop in a thread. ``messages`` is all that the service sent, ``held`` the tasks that came, in their order, and are not ended."""

    def __init__(self, client: Client, name: str, *, credit: int, doctor: Callable[[bytes], bytes] = lambda data: data,
                 versions: tuple[int, ...] = (1,), python: str = "") -> None:
        import zmq

        public, secret = zmq.curve_keypair()
        answer = client.rest.json("POST", "/v1/endpoints", {"name": name, "public_key": public.decode(), "profile": {"python": python}})
        self.endpoint_id = str(answer["id"])
        self._peer = Peer(str(answer["address"]), str(answer["server_key"]).encode(), KeyPair(public, secret), f"{self.endpoint_id}/{new_uuid()}".encode())
        self._credit, self._doctor, self._versions = credit, doctor, versions
        self.messages: list[object] = []
        self.refusals: list[str] = []
        self.held: dict[bytes, m.Task] = {}
        self.most_held = 0
        self.held_bytes = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._connect)
        self._loop.run_forever()
        self._loop.close()

    def _connect(self) -> None:
        self._channel = Channel(self._peer, self._take, self._hello, lambda: None, lambda: None)
        self._ready.set()

    def _hello(self) -> None:
        self._send(m.Hello(self.endpoint_id, new_uuid(), "journal", "boot", self._versions, self._credit, release="7.7"))

    def _send(self, message: object, body: bytes = b"") -> None:
        self._channel.send([self._doctor(encode(message)) + body])

    def _take(self, frames: list[memoryview]) -> None:
        message, _ = decode(frames[0])
        self.messages.append(message)
        if isinstance(message, m.Tasks):
            self.held.update((task.id, task) for task in message.items)
            self.held_bytes += sum(task.size for task in message.items)
            self.most_held = max(self.most_held, len(self.held))
        elif isinstance(message, m.Refused):
            self.refusals.append(f"{message.error}: {message.message}")

    def say(self, message: object, body: bytes = b"") -> None:
        """Send a message from the test's thread."""
        self._loop.call_soon_threadsafe(self._send, message, body)

    def finish(self, count: int, value: bytes) -> None:
        """End the oldest ``count`` tasks well."""
        ids = list(self.held)[:count]
        outcomes = []
        for task_id in ids:
            task = self.held.pop(task_id)
            self.held_bytes -= task.size
            outcomes.append(m.Outcome(task_id, task.attempt, 10, len(value)))
        self.say(m.Results(tuple(outcomes)), value * len(ids))

    def of(self, kind: type[Any]) -> list[Any]:
        """The messages of one kind."""
        return [message for message in list(self.messages) if isinstance(message, kind)]

    def close(self) -> None:
        def end() -> None:
            with suppress(Exception):
                self._channel.close()
            self._loop.stop()

        self._loop.call_soon_threadsafe(end)
        self._thread.join(10)
