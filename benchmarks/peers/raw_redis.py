"""Redis without a library between, and with redis-py alone."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
import redis

from benchmarks.functions import Array
from benchmarks.host import Host
from benchmarks.peers.redis_server import redis_address

HEAD_BYTES = 64 * 1024


class SocketStore:
    """SET from the array's own memory, GET into one prepared buffer: the limit. One object is got at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._keys = count()
        self._buffer = bytearray()

    def put(self, value: Array) -> bytes:
        key = b"raw-%d" % next(self._keys)
        self._socket.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (len(key), key, value.nbytes))
        self._socket.sendall(value.data)
        self._socket.sendall(b"\r\n")
        self._expect(b"+OK\r\n")
        return key

    def get(self, key: bytes) -> Array:
        self._socket.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key))
        first = self._socket.recv(HEAD_BYTES)
        while b"\r\n" not in first:
            first += self._socket.recv(HEAD_BYTES)
        head, _, body = first.partition(b"\r\n")
        size = int(head[1:])
        view = memoryview(self._prepared(size + 2))
        view[: len(body)] = body
        self._fill(view[len(body) : size + 2])
        return np.frombuffer(view[:size], np.uint8)

    def evict(self, key: bytes) -> None:
        self._socket.sendall(b"*2\r\n$3\r\nDEL\r\n$%d\r\n%b\r\n" % (len(key), key))
        self._expect(b":1\r\n")

    def _prepared(self, size: int) -> bytearray:
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        return self._buffer

    def _fill(self, view: memoryview) -> None:
        while view:
            view = view[self._socket.recv_into(view) :]

    def _expect(self, reply: bytes) -> None:
        found = bytearray(len(reply))
        self._fill(memoryview(found))
        assert found == reply, bytes(found)


class ClientStore:
    """redis-py: arrays as bytes, other objects as pickles; MSET and MGET by batch."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._keys = count()

    def put(self, value: Any) -> str:
        key = f"py-{next(self._keys)}"
        self._client.set(key, _encoded(value))
        return key

    def get(self, key: str) -> Any:
        return _decoded(self._client.get(key))

    def evict(self, key: str) -> None:
        self._client.delete(key)

    def put_batch(self, values: Sequence[Any]) -> list[str]:
        keys = [f"py-{next(self._keys)}" for _ in values]
        self._client.mset({key: _encoded(value) for key, value in zip(keys, values, strict=True)})
        return keys

    def get_batch(self, keys: Sequence[str]) -> list[Any]:
        found: Any = self._client.mget(keys)
        return [_decoded(value) for value in found]

    def evict_batch(self, keys: Sequence[str]) -> None:
        self._client.delete(*keys)


def _encoded(value: Any) -> Any:
    return value.data.cast("B") if isinstance(value, np.ndarray) else pickle.dumps(value, protocol=5)


def _decoded(data: Any) -> Any:
    return pickle.loads(data) if data[:2] == b"\x80\x05" and len(data) < 1_000 else np.frombuffer(data, np.uint8)


@contextmanager
def open_socket(host: Host) -> Iterator[SocketStore]:
    """One connection."""
    with socket.create_connection(redis_address()) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield SocketStore(connection)


def socket_store(host: Host) -> SocketStore:
    """A raw socket."""
    return host.own(open_socket(host))


def client_store(host: Host) -> ClientStore:
    """redis-py."""
    name, port = redis_address()
    return ClientStore(host.own(redis.Redis(name, port)))
