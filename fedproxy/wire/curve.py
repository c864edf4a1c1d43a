"""CURVE keys and the ZAP handler that decides who may connect.

Strategy: fail closed. The handler lives on the same event loop as the socket that it guards, so it cannot stop alone; the socket has a ZAP domain and
``ZAP_ENFORCE_DOMAIN``, so that libzmq refuses everybody when nobody answers. Without a handler CURVE would accept any client key.
Source: RFC 27 (ZAP 1.0), RFC 25 (CurveZMQ).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import zmq
from attrs import field, frozen
from zmq.utils import z85

from fedproxy.config.home import read_json, write_private

ZAP_ADDRESS = "inproc://zeromq.zap.01"
DOMAIN = b"fedproxy"
_KEY_BYTES = 32


@frozen
class KeyPair:
    """A CURVE key pair in Z85 text (40 bytes each)."""

    public: bytes
    secret: bytes = field(repr=False)


def load_or_create_keys(path: Path) -> KeyPair:
    """The key pair in ``path`` (0600), made on first use."""
    stored = read_json(path)
    if stored is not None:
        return KeyPair(str(stored["public"]).encode(), str(stored["secret"]).encode())
    public, secret = zmq.curve_keypair()
    write_private(path, json.dumps({"public": public.decode(), "secret": secret.decode()}).encode())
    return KeyPair(public, secret)


class ZapHandler:
    """Answers libzmq's question whether a client key may connect.

    ``who(public_key_z85)`` gives the user id for that connection, or None to refuse it.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], who: Callable[[bytes], str | None]) -> None:
        self._who = who
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind(ZAP_ADDRESS)

    def answer_all(self) -> None:
        """Answer every question that is waiting."""
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.socket.send_multipart(self._answer(frames))

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        cut = frames.index(b"") + 1 if b"" in frames else len(frames)
        envelope, request = frames[:cut], frames[cut:]
        version, request_id = [*request, b"", b""][:2]
        user = self._judge(request)
        verdict = [b"400", b"denied", b"", b""] if user is None else [b"200", b"OK", user.encode(), b""]
        return [*envelope, version or b"1.0", request_id, *verdict]

    def _judge(self, request: list[bytes]) -> str | None:
        if len(request) != 7 or request[0] != b"1.0" or request[2] != DOMAIN or request[5] != b"CURVE":
            return None
        key = request[6]
        return self._who(z85.encode(key)) if len(key) == _KEY_BYTES else None

    def close(self) -> None:
        """Stop answering: from here on every new connection is refused."""
        self.socket.close()
