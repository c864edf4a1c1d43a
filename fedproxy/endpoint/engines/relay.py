"""The agent's end of the link to workers on other nodes: they claim what a bundle brought them, and answer task by task.

Strategy: one CURVE hub for all workers; the key that lets a worker in travels inside the (encrypted) bundle, never through a file, an
argument or the environment. Every answer is acknowledged and sent again until it is.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import zmq
from attrs import asdict, frozen

from fedproxy.config.containers import Containers
from fedproxy.endpoint.engines.base import Catalog
from fedproxy.errors import ProtocolError
from fedproxy.protocol import messages as m
from fedproxy.protocol import worker_messages as w
from fedproxy.protocol.codec import decode, encode, split
from fedproxy.wire.curve import KeyPair
from fedproxy.wire.zmq_channel import Hub

log = logging.getLogger(__name__)


Plain: TypeAlias = tuple[tuple[str, ...], int, bytes, bytes, bytes, dict[str, Any]]


@frozen
class RelayAddress:
    """How a worker finds its agent, the keys to get in, and how it is to run containers. Never printed, never on disk."""

    hosts: tuple[str, ...]
    port: int
    server_key: bytes
    public: bytes
    secret: bytes
    containers: Containers = Containers()  # noqa: RUF009 - frozen

    def __repr__(self) -> str:
        return f"RelayAddress({self.hosts}, {self.port})"

    def plain(self) -> Plain:
        """As what any codec can carry."""
        return self.hosts, self.port, self.server_key, self.public, self.secret, asdict(self.containers)

    @classmethod
    def of(cls, plain: Plain) -> RelayAddress:
        """What `plain` gave."""
        hosts, port, server_key, public, secret, containers = plain
        return cls(hosts, port, server_key, public, secret, Containers(**containers))


class Listener(Protocol):
    """Who decides."""

    def claimed(self, peer: bytes, claim: w.Claim) -> tuple[bytes, ...]:
        """What may start now."""

    def answered(self, outcome: m.Outcome, body: bytes) -> None:
        """An attempt has ended."""

    def returned(self, peer: bytes, ids: Sequence[bytes]) -> None:
        """Granted, not started, given back."""

    def joined(self, peer: bytes, python: str) -> None:
        """A worker is there (again)."""

    def left(self, peer: bytes, reason: str) -> None:
        """A worker ends now."""


class Relay:
    """Listens for workers."""

    def __init__(self, catalog: Catalog, listener: Listener) -> None:
        self._catalog, self._listener = catalog, listener
        self._server = KeyPair(*zmq.curve_keypair())
        self._client = KeyPair(*zmq.curve_keypair())
        self._peers: set[bytes] = set()
        self._hub = Hub(self._server, self._who, self._on_message)

    def open(self, bind: str, hosts: tuple[str, ...], containers: Containers) -> RelayAddress:
        """Listen on ``bind``; workers are told to try ``hosts``."""
        port = self._hub.bind(bind, 0)
        return RelayAddress(hosts, port, self._server.public, self._client.public, self._client.secret, containers)

    def cancel(self, peer: bytes, task_id: bytes) -> bool:
        """Tell a worker to stop a task; False where it is not connected."""
        return self._hub.send(peer, [encode(m.Cancel((task_id,)))])

    def dismiss(self) -> None:
        """Tell all workers to stop what they run, and to end."""
        for peer in self._peers:
            self._hub.send(peer, [encode(m.Goodbye("the endpoint was stopped"))])

    def close(self) -> None:
        """Stop listening."""
        self._hub.close()

    def _who(self, key: bytes) -> str | None:
        return "worker" if secrets.compare_digest(key, self._client.public) else None

    def _on_message(self, peer: bytes, _user: str, frames: list[memoryview]) -> None:
        try:
            message, body = decode(frames[0])
            self._take(peer, message, frames[1] if len(frames) > 1 else body)
        except (ProtocolError, KeyError) as exc:
            log.warning("a worker sent what is not understood: %s", exc)

    def _take(self, peer: bytes, message: object, body: memoryview) -> None:
        match message:
            case m.Results():
                for outcome, part in zip(message.items, split(body, (o.size for o in message.items)), strict=True):
                    self._listener.answered(outcome, bytes(part))
                self._hub.send(peer, [encode(m.ResultAcks(tuple((o.id, o.attempt) for o in message.items)))])
            case w.Claim():
                self._grant(peer, message)
            case w.Returned():
                self._listener.returned(peer, message.ids)
            case w.Ready():
                self._peers.add(peer)
                self._listener.joined(peer, message.python)
            case m.Goodbye():
                self._peers.discard(peer)
                self._listener.left(peer, message.reason)

    def _grant(self, peer: bytes, claim: w.Claim) -> None:
        ids = self._listener.claimed(peer, claim)
        specs = {name: self._catalog.encoded_spec(name) for name in claim.specs}
        functions = {self._catalog.spec(name).function for name in claim.specs}
        bodies = [(name, self._catalog.function(name)) for name in functions]
        blobs = tuple(m.Blob(name, len(body)) for name, body in bodies)
        self._hub.send(peer, [encode(w.Grant(claim.bundle, ids, specs, blobs)), *(body for _, body in bodies)])
