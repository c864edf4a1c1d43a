"""Waiting for a key: the writer of a named key publishes, the waiter subscribes. No polling, no server setting."""

from __future__ import annotations

import time
from contextlib import suppress

from fedproxy.store.connectors.redis_client import RedisClient
from fedproxy.store.connectors.redis_link import translated
from fedproxy.store.connectors.redis_wire import BrokenReplyError, ReplyError, Wire, encode

LOOK_AGAIN_S = 2.0
"""A message may be lost with its connection, and a server may forbid channels: look at the key this often besides."""


def channel(name: bytes) -> bytes:
    """Where the writing of ``name`` is announced."""
    return name + b"/new"


def wait_for(client: RedisClient, name: bytes, timeout_s: float | None) -> bool:
    """Block until ``name`` exists, or the time has passed.

    Raises:
        StoreUnavailableError: the server is gone.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    pool = client.pool_for(name)
    link = pool.dial()
    try:
        link.wire.send(encode(b"SUBSCRIBE", channel(name)))
        link.wire.read()  # the confirmation; where channels are forbidden, looking again must do
        while client.ask(name, encode(b"EXISTS", name)) != 1:
            left = LOOK_AGAIN_S if deadline is None else min(LOOK_AGAIN_S, deadline - time.monotonic())
            if left <= 0:
                return False
            _listen(link.wire, left)
        return True
    except (OSError, BrokenReplyError, ReplyError) as exc:
        raise translated(exc, client.config, pool.server) from exc
    finally:
        link.close()


def _listen(wire: Wire, timeout_s: float) -> None:
    """Return at a message, or when the time has passed."""
    wire.set_timeout(max(0.001, timeout_s))
    with suppress(TimeoutError, BlockingIOError):
        wire.read()
