"""The channel between service and endpoint: real sockets on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import zmq

from fedproxy.errors import ConfigError
from fedproxy.wire.curve import KeyPair, ZapHandler, load_or_create_keys
from fedproxy.wire.zmq_channel import Channel, Hub, LinkOptions, Peer


def keys() -> KeyPair:
    return KeyPair(*zmq.curve_keypair())


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


class Client:
    """A channel that writes down what happens."""

    def __init__(self, port: int, server_key: bytes, own: KeyPair, name: bytes = b"me") -> None:
        self.events: list[str] = []
        self.messages: list[list[bytes]] = []
        self.channel = Channel(
            Peer(f"tcp://127.0.0.1:{port}", server_key, own, name), lambda frames: self.messages.append([bytes(f) for f in frames]),
            lambda: self.events.append("up"), lambda: self.events.append("down"), lambda: self.events.append("refused"))


class Server:
    """A hub that lets in whom it is told, and echoes."""

    def __init__(self, who: dict[bytes, str]) -> None:
        self.keys = keys()
        self.seen: list[tuple[bytes, str, list[bytes]]] = []
        self.hub = Hub(self.keys, who.get, self.on_message, LinkOptions(max_message_bytes=1_000_000))
        self.port = self.hub.bind("127.0.0.1", 0)

    def on_message(self, peer: bytes, user: str, frames: list[memoryview]) -> None:
        data = [bytes(f) for f in frames]
        self.seen.append((peer, user, data))
        self.hub.send(peer, data)


def test_messages_go_both_ways_under_the_authenticated_name() -> None:
    async def scenario() -> None:
        own = keys()
        server = Server({own.public: "endpoint-1"})
        client = Client(server.port, server.keys.public, own)
        await until(lambda: client.events == ["up"])
        assert client.channel.send([b"head", b"a", b"b" * 100_000])
        await until(lambda: client.messages)
        peer, user, frames = server.seen[0]
        assert (peer, user) == (b"me", "endpoint-1")
        assert b"".join(frames) == b"head" + b"a" + b"b" * 100_000
        assert client.messages == [frames]
        client.channel.close()
        server.hub.close()

    asyncio.run(scenario())


def test_a_thousand_messages_arrive_in_order() -> None:
    async def scenario() -> None:
        own = keys()
        server = Server({own.public: "e"})
        client = Client(server.port, server.keys.public, own)
        await until(lambda: client.events == ["up"])
        for i in range(1000):
            client.channel.send([b"%d" % i])
        await until(lambda: len(client.messages) == 1000)
        assert client.messages == [[b"%d" % i] for i in range(1000)]
        client.channel.close()
        server.hub.close()

    asyncio.run(scenario())


def test_an_unknown_key_is_refused_and_nothing_it_sends_is_seen() -> None:
    async def scenario() -> None:
        server = Server({})
        client = Client(server.port, server.keys.public, keys())
        await until(lambda: "refused" in client.events)
        assert not client.channel.send([b"let me in"])
        assert "up" not in client.events
        client.channel.close()
        server.hub.close()
        assert server.seen == []

    asyncio.run(scenario())


def test_without_its_zap_handler_the_hub_lets_nobody_in() -> None:
    async def scenario() -> None:
        own = keys()
        server = Server({own.public: "e"})
        server.hub._zap.close()
        client = Client(server.port, server.keys.public, own)
        with pytest.raises(TimeoutError):
            await until(lambda: "up" in client.events, 1.0)
        assert server.seen == []
        client.channel.close()
        server.hub.close()

    asyncio.run(scenario())


def test_the_wrong_server_key_does_not_connect() -> None:
    async def scenario() -> None:
        own = keys()
        server = Server({own.public: "e"})
        client = Client(server.port, keys().public, own)
        with pytest.raises(TimeoutError):
            await until(lambda: "up" in client.events, 0.5)
        client.channel.close()
        server.hub.close()

    asyncio.run(scenario())


def test_the_channel_comes_back_when_the_hub_does() -> None:
    async def scenario() -> None:
        own = keys()
        server = Server({own.public: "e"})
        client = Client(server.port, server.keys.public, own)
        await until(lambda: client.events == ["up"])
        server.hub.close()
        await until(lambda: client.events == ["up", "down"])
        assert not client.channel.send([b"stale"]), "nothing is kept for a peer that is not there"
        server.hub = Hub(server.keys, {own.public: "e"}.get, server.on_message)
        server.hub.bind("127.0.0.1", server.port)
        await until(lambda: client.events[-1] == "up")
        client.channel.send([b"fresh"])
        await until(lambda: client.messages == [[b"fresh"]])
        client.channel.close()
        server.hub.close()

    asyncio.run(scenario())


def test_sending_to_nobody_says_so() -> None:
    async def scenario() -> None:
        server = Server({})
        assert not server.hub.send(b"ghost", [b"hello"])
        other = Hub(keys(), {}.get, server.on_message)
        with pytest.raises(ConfigError, match=str(server.port)):
            other.bind("127.0.0.1", server.port)
        other.close()
        server.hub.close()

    asyncio.run(scenario())


def test_keys_are_made_once_and_private(tmp_path) -> None:
    first = load_or_create_keys(tmp_path / "curve.json")
    assert load_or_create_keys(tmp_path / "curve.json") == first
    assert (tmp_path / "curve.json").stat().st_mode & 0o777 == 0o600
    assert first.secret.decode() not in repr(first)


@pytest.mark.parametrize("request_frames", [
    [b"2.0", b"1", b"fedproxy", b"", b"", b"CURVE", b"k" * 32],
    [b"1.0", b"1", b"elsewhere", b"", b"", b"CURVE", b"k" * 32],
    [b"1.0", b"1", b"fedproxy", b"", b"", b"PLAIN", b"user", b"word"],
    [b"1.0", b"1", b"fedproxy", b"", b"", b"CURVE", b"short"],
    [b"1.0"],
    [],
])
def test_an_odd_question_to_zap_is_answered_with_no(request_frames: list[bytes]) -> None:
    context = zmq.Context()
    handler = ZapHandler(context, lambda _key: "anybody")
    try:
        answer = handler._answer([b"id", b"", *request_frames])
        assert answer[4] == b"400"
    finally:
        handler.close()
        context.term()


def test_a_handler_that_fails_does_not_stop_the_messages_behind(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        own = keys()
        server = Server({own.public: "e"})
        echo = server.on_message

        def sometimes(peer: bytes, user: str, frames: list[memoryview]) -> None:
            if bytes(frames[0]) == b"bad":
                raise RuntimeError("a defect")
            echo(peer, user, frames)

        server.hub._on_message = sometimes
        client = Client(server.port, server.keys.public, own)
        await until(lambda: client.events == ["up"])
        for data in (b"1", b"bad", b"2", b"bad", b"3"):
            client.channel.send([data])
        await until(lambda: client.messages == [[b"1"], [b"2"], [b"3"]])
        client.channel.close()
        server.hub.close()

    asyncio.run(scenario())
    assert "a defect" in caplog.text
