"""Negative controls: builds that break a promise. They are applied as the faults of `sabotage` are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.faults.sabotage import fired, wrap


def acknowledge_before_commit() -> None:
    """The service answers a submit at once; the commit follows half a second later."""
    import asyncio

    def make(_plain: Callable[..., Any]) -> Callable[..., Any]:
        async def insert(self: Any, tasks: Any) -> dict[int, Any]:
            def later() -> None:
                self._core.commit.next.inserts += tasks
                self._core.commit.insert_then(lambda _outcome: self._forwarder.inserted(tasks))
            asyncio.get_running_loop().call_later(0.5, later)
            return {}
        return insert

    wrap("fedproxy.service.intake:Intake._insert", make)
    fired("acknowledge before commit")


def skip_journal() -> None:
    """The agent writes nothing down."""
    wrap("fedproxy.endpoint.journal:Journal._append", lambda _plain: lambda _self, _record: None)
    fired("skip journal")


def drop_fencing() -> None:
    """The service believes every result, also a late one of a task that is already over."""
    import sqlite3

    from fedproxy.protocol.codec import split
    from fedproxy.service.forwarder import Forwarder

    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        def results(self: Forwarder, session: Any, message: Any, body: memoryview) -> None:
            for outcome, part in zip(message.items, split(body, (o.size for o in message.items)), strict=True):
                if outcome.id not in session.in_flight and outcome.id not in self.endings.under_way:
                    fired("late result believed")
                    row = (outcome.state, bytes(part), outcome.id)

                    def overwrite(connection: sqlite3.Connection, row: Any = row) -> None:
                        connection.execute("UPDATE tasks SET state = ?, result = ? WHERE id = ?", row)

                    self._core.commit.next.other.append(overwrite)  # type: ignore[arg-type]
            plain(self, session, message, body)
            self._core.commit.ask()
        return results

    wrap("fedproxy.service.forwarder:Forwarder._results", make)


def lose_zap() -> None:
    """Nobody checks keys: whoever connects is whom it says to be."""
    import zmq

    from fedproxy.wire import zmq_channel

    real = zmq.Socket.setsockopt

    def setsockopt(self: Any, option: int, value: Any) -> Any:
        return None if option in (zmq.ZAP_DOMAIN, zmq.ZAP_ENFORCE_DOMAIN) else real(self, option, value)

    zmq.Socket.setsockopt = setsockopt  # type: ignore[method-assign]

    class Silent:
        def __init__(self, context: Any, _who: Any) -> None:
            self.socket = context.socket(zmq.ROUTER)

        def answer_all(self) -> None:
            return

    zmq_channel.ZapHandler = Silent  # type: ignore[misc, assignment]

    def take_one(self: Any) -> None:
        peer, *frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        self._on_message(peer.bytes, peer.bytes.decode().partition("/")[0], [frame.buffer for frame in frames])

    zmq_channel.Hub._take_one = take_one  # type: ignore[method-assign]
    fired("no ZAP handler")
