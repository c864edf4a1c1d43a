"""The raw limit of dispatch: a ROUTER here, a DEALER in each worker, pickles between, and arrays as frames."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import zmq

from benchmarks.cases import UnsupportedCaseError
from benchmarks.host import Host
from benchmarks.peers.base import Function

WINDOW = 1000
"""Tasks ahead in each worker: ZeroMQ's own queues hold that many."""


def packed(value: Any) -> list[Any]:
    """A pickle, and the arrays in it as frames of their own that nobody copies."""
    buffers: list[pickle.PickleBuffer] = []
    return [pickle.dumps(value, protocol=5, buffer_callback=buffers.append), *buffers]


def unpacked(frames: list[Any]) -> Any:
    """What was packed; arrays are views on the received frames."""
    return pickle.loads(frames[0].buffer, buffers=[frame.buffer for frame in frames[1:]])


class ZeroMQPool:
    """Deals tasks in turn to the workers and reads results as they come."""

    def __init__(self, router: zmq.Socket[bytes], workers: list[bytes]) -> None:
        self._router = router
        self._workers = workers
        self._ids = count()
        self._waiting: deque[list[Any]] = deque()
        self._done: dict[int, Any] = {}
        self._in_flight = 0

    def submit(self, function: Function, value: Any) -> int:
        number = next(self._ids)
        worker = self._workers[number % len(self._workers)]
        message = [worker, number.to_bytes(8, "little"), *packed((function, value))]
        if self._in_flight < WINDOW * len(self._workers):
            self._in_flight += 1
            self._router.send_multipart(message, copy=False)
        else:
            self._waiting.append(message)
        return number

    def submit_all(self, function: Function, values: Sequence[Any]) -> list[int]:
        return [self.submit(function, value) for value in values]

    def result(self, handle: int) -> Any:
        while handle not in self._done:
            _, number, *frames = self._router.recv_multipart(copy=False)
            self._done[int.from_bytes(number.bytes, "little")] = unpacked(frames)
            self._in_flight -= 1
            if self._waiting:
                self._in_flight += 1
                self._router.send_multipart(self._waiting.popleft(), copy=False)
        return self._done.pop(handle)

    def results(self, handles: list[int]) -> Iterator[Any]:
        for handle in handles:
            yield self.result(handle)

    def map(self, function: Function, values: Sequence[Any]) -> list[Any]:
        raise UnsupportedCaseError("raw ZeroMQ does not chunk")


@contextmanager
def open_pool(host: Host) -> Iterator[ZeroMQPool]:
    """Start the workers and wait for their greetings."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.setsockopt(zmq.LINGER, 0)
        router.setsockopt(zmq.SNDHWM, 2 * WINDOW)
        router.setsockopt(zmq.RCVHWM, 2 * WINDOW)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        command = [sys.executable, "-m", __name__, f"tcp://127.0.0.1:{port}"]
        processes = [subprocess.Popen(command) for _ in range(host.workers)]
        try:
            workers = [router.recv_multipart()[0] for _ in processes]
            yield ZeroMQPool(router, workers)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


def pool(host: Host) -> ZeroMQPool:
    """Two workers behind one ROUTER."""
    return host.own(open_pool(host))


def work(address: str) -> None:
    """A worker: until it is ended from outside."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RCVHWM, 2 * WINDOW)
        dealer.setsockopt(zmq.SNDHWM, 2 * WINDOW)
        dealer.connect(address)
        dealer.send(b"ready")
        while True:
            number, *frames = dealer.recv_multipart(copy=False)
            function, value = unpacked(frames)
            dealer.send_multipart([number, *packed(function(value))], copy=False)


if __name__ == "__main__":
    work(sys.argv[1])
