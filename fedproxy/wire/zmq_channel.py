"""One ZeroMQ link between machines, CURVE-encrypted, on the running asyncio loop: `Hub` (ROUTER) listens, `Channel` (DEALER) connects and reconnects.

Strategy: no task or thread of its own. The loop watches the socket's descriptor, which libzmq signals by edges, so every wake-up and every send is followed
by a look at what is waiting. A send that succeeded proves nothing: acknowledgements belong to the protocol above.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import zmq
import zmq.utils.monitor
import zmq.utils.z85
from attrs import frozen

from fedproxy.errors import ConfigError
from fedproxy.protocol.codec import Buffer
from fedproxy.wire.curve import DOMAIN, KeyPair, ZapHandler

_BATCH = 200
_SMALL = 64 * 1024
_NOBLOCK, _MORE, _POLLIN = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE), int(zmq.POLLIN)
"""Plain numbers: arithmetic on enumerations costs more than a send."""


@frozen
class LinkOptions:
    """Times in milliseconds, sizes in bytes."""

    heartbeat_ms: int = 5_000
    heartbeat_timeout_ms: int = 20_000
    max_message_bytes: int = 1 << 30


def _prepare(socket: zmq.Socket[bytes], options: LinkOptions) -> None:
    # No high-water mark: what is under way is bounded by the credit of the protocol above.
    for option, value in (
        (zmq.LINGER, 0), (zmq.SNDHWM, 0), (zmq.RCVHWM, 0), (zmq.HEARTBEAT_IVL, options.heartbeat_ms),
        (zmq.HEARTBEAT_TIMEOUT, options.heartbeat_timeout_ms), (zmq.HEARTBEAT_TTL, options.heartbeat_timeout_ms),
        (zmq.MAXMSGSIZE, options.max_message_bytes), (zmq.HANDSHAKE_IVL, 10_000),
    ):
        socket.setsockopt(option, value)


def _frames(parts: Sequence[Buffer]) -> list[Buffer]:
    """At most two frames: the message, and the bodies behind it joined. What is small goes as one: each frame costs both ends a look and a cipher."""
    if len(parts) > 1 and sum(map(len, parts)) < _SMALL:
        return [b"".join(parts)]
    return [parts[0], b"".join(parts[1:])] if len(parts) > 2 else list(parts)


def _send(socket: zmq.Socket[bytes], frames: Sequence[Buffer]) -> None:
    for frame in frames[:-1]:
        socket.send(frame, _MORE)
    socket.send(frames[-1], _NOBLOCK)


def _receive(socket: zmq.Socket[bytes]) -> list[zmq.Frame]:
    frames = [socket.recv(_NOBLOCK, copy=False)]
    while frames[-1].more:
        frames.append(socket.recv(_NOBLOCK, copy=False))
    return frames


class _Watched:
    """A socket that the loop watches; calls ``on_readable`` until nothing is waiting."""

    def __init__(self, socket: zmq.Socket[bytes], take_one: Callable[[], None]) -> None:
        self.socket = socket
        self._take_one = take_one
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self._drain)
        self.look_again()

    def look_again(self) -> None:
        """After a send: an edge may have been swallowed."""
        if not self._scheduled and self._waiting():
            self._scheduled = True
            self._loop.call_soon(self._drain)

    def _waiting(self) -> bool:
        return not self.socket.closed and bool(int(self.socket.getsockopt(zmq.EVENTS)) & _POLLIN)

    def _drain(self) -> None:
        self._scheduled = False
        empty = False
        try:
            for _ in range(_BATCH):
                empty = not self._waiting()  # to be told by an exception costs several times as much
                if empty:
                    return
                self._take_one()
        except zmq.Again:
            return
        finally:
            if not empty:
                self.look_again()  # also when a handler failed: what waits behind its message must not wait for the next edge

    def close(self) -> None:
        if not self.socket.closed:
            self._loop.remove_reader(self._descriptor)
            self.socket.close()


OnMessage = Callable[[bytes, str, list[memoryview]], None]
"""Called with the peer's routing id, its authenticated user id, and the frames."""


class Hub:
    """The listening end. ``who`` maps a client's public key to a user id, or None to refuse it."""

    def __init__(self, keys: KeyPair, who: Callable[[bytes], str | None], on_message: OnMessage,
                 options: LinkOptions = LinkOptions()) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._on_message = on_message
        self._zap_handler = ZapHandler(self._context, who)
        self._zap = _Watched(self._zap_handler.socket, self._zap_once)
        socket = self._context.socket(zmq.ROUTER)
        _prepare(socket, options)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        self._socket = socket
        self._watched: _Watched | None = None

    def bind(self, host: str, port: int) -> int:
        """Listen; returns the port (a free one for 0).

        Raises:
            ConfigError: the address cannot be bound.
        """
        try:
            self._socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as exc:
            raise ConfigError(f"cannot listen for endpoints on {host}:{port}: {exc}", hint="choose another port") from exc
        self._watched = _Watched(self._socket, self._take_one)
        return int(bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").rsplit(b":", 1)[1])

    def send(self, peer: bytes, parts: Sequence[Buffer]) -> bool:
        """Hand a message to the connection of ``peer``; False where there is none."""
        try:
            _send(self._socket, [peer, *_frames(parts)])
        except zmq.ZMQError as exc:
            if exc.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        if self._watched is not None:
            self._watched.look_again()
        return True

    def _take_one(self) -> None:
        peer, *frames = _receive(self._socket)
        if not frames:
            return
        try:
            user = frames[0].get("User-Id")
        except zmq.ZMQError:
            return  # no authenticated user: a message that did not pass ZAP is never looked at
        self._on_message(peer.bytes, str(user), [frame.buffer for frame in frames])

    def _zap_once(self) -> None:
        self._zap_handler.answer_all()

    def close(self) -> None:
        """Stop listening. Idempotent."""
        if self._watched is not None:
            self._watched.close()
        self._socket.close()
        self._zap.close()
        self._context.term()


@frozen
class Peer:
    """Whom a `Channel` connects to, and as whom."""

    address: str
    server_key: bytes
    keys: KeyPair
    routing_id: bytes


class Channel:
    """The connecting end. Calls ``on_up`` after every (re)connection, ``on_down`` when it is gone, ``on_refused`` when the key is not accepted."""

    def __init__(self, peer: Peer, on_message: Callable[[list[memoryview]], None], on_up: Callable[[], None],
                 on_down: Callable[[], None], on_refused: Callable[[], None],
                 options: LinkOptions = LinkOptions()) -> None:
        self._on_message, self._on_up, self._on_down, self._on_refused = on_message, on_up, on_down, on_refused
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = self._context.socket(zmq.DEALER)
        _prepare(socket, options)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing is queued for a peer that is not there: it would arrive stale
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2_000)
        socket.setsockopt(zmq.ROUTING_ID, peer.routing_id)
        socket.setsockopt(zmq.CURVE_SERVERKEY, peer.server_key)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, peer.keys.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, peer.keys.secret)
        self._socket = socket
        watch = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        self._monitor = _Watched(socket.get_monitor_socket(watch), self._event)
        self._watched = _Watched(socket, self._take_one)
        socket.connect(peer.address)

    def send(self, parts: Sequence[Buffer]) -> bool:
        """Hand a message to the connection; False while there is none."""
        if self._socket.closed:
            return False
        try:
            _send(self._socket, _frames(parts))
        except zmq.Again:
            return False
        self._watched.look_again()
        return True

    def _take_one(self) -> None:
        self._on_message([frame.buffer for frame in _receive(self._socket)])

    def _event(self) -> None:
        event = zmq.utils.monitor.recv_monitor_message(self._monitor.socket, zmq.NOBLOCK)["event"]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._on_up()
        elif event == zmq.EVENT_DISCONNECTED:
            self._on_down()
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._on_refused()

    def close(self) -> None:
        """Disconnect. What was handed over but not yet sent is dropped. Idempotent."""
        if self._socket.closed:
            return
        with suppress(zmq.ZMQError):
            self._socket.disable_monitor()
        self._monitor.close()
        self._watched.close()
        self._context.term()
