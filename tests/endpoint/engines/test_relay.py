from __future__ import annotations

import asyncio
from collections.abc import Sequence

import zmq

from fedproxy.config.containers import Containers
from fedproxy.endpoint.catalog import AgentCatalog
from fedproxy.endpoint.engines.relay import Relay, RelayAddress
from fedproxy.protocol import messages as m
from fedproxy.protocol import worker_messages as w
from fedproxy.protocol.codec import decode, encode
from fedproxy.wire.curve import KeyPair
from fedproxy.wire.zmq_channel import Channel, Peer

PATIENCE_S = 20.0


class Book:
    """Writes down what workers say; grants everything."""

    def __init__(self) -> None:
        self.said: list[object] = []

    def claimed(self, peer: bytes, claim: w.Claim) -> tuple[bytes, ...]:
        self.said.append(claim)
        return tuple(task_id for task_id, _ in claim.attempts)

    def answered(self, outcome: m.Outcome, body: bytes) -> None:
        self.said.append((outcome.id, body))

    def returned(self, peer: bytes, ids: Sequence[bytes]) -> None:
        self.said.append(("returned", peer, ids))

    def joined(self, peer: bytes, python: str) -> None:
        self.said.append(("joined", peer))

    def left(self, peer: bytes, reason: str) -> None:
        self.said.append(("left", peer, reason))


def channel(address: RelayAddress, keys: KeyPair, heard: asyncio.Queue[object]) -> Channel:
    peer = Peer(f"tcp://{address.hosts[0]}:{address.port}", address.server_key, keys, b"w1")
    return Channel(
        peer, lambda frames: heard.put_nowait(decode(frames[0])[0]), lambda: heard.put_nowait("up"), lambda: None, lambda: heard.put_nowait("refused"))


def test_only_who_has_the_key_is_let_in() -> None:
    async def scene() -> None:
        book = Book()
        relay = Relay(AgentCatalog(), book)
        address = relay.open("127.0.0.1", ("127.0.0.1",), Containers())
        heard: asyncio.Queue[object] = asyncio.Queue()
        stranger = channel(address, KeyPair(*zmq.curve_keypair()), heard)
        assert await asyncio.wait_for(heard.get(), PATIENCE_S) == "refused"
        stranger.send([encode(w.Claim(1, ((b"t", 0),)))])
        stranger.close()
        worker = channel(address, KeyPair(address.public, address.secret), heard)
        while await asyncio.wait_for(heard.get(), PATIENCE_S) != "up":
            pass
        worker.send([encode(w.Claim(1, ((b"t", 0),)))])
        assert await asyncio.wait_for(heard.get(), PATIENCE_S) == w.Grant(1, (b"t",), {}, ())
        worker.send([encode(m.Results((m.Outcome(b"t", 0, 10, 2),))), b"ok"])
        assert await asyncio.wait_for(heard.get(), PATIENCE_S) == m.ResultAcks(((b"t", 0),))
        assert book.said == [w.Claim(1, ((b"t", 0),)), (b"t", b"ok")]
        worker.close()
        relay.close()

    asyncio.run(scene())


def test_an_address_survives_any_codec_and_shows_no_key() -> None:
    address = RelayAddress(("a", "b"), 5, b"server", b"public", b"very secret", Containers(runtime="podman", images=("x",)))
    assert RelayAddress.of(address.plain()) == address
    assert "secret" not in repr(address)
