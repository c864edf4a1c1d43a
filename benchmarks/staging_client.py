"""The client at site A in the staging benchmarks: reads requests on standard input, one JSON object per line, and answers each with its figures.

Started by ``benchmarks.two_sites`` inside A's network namespace: ``python -m benchmarks.staging_client FOLDER [[PREFIX_OF_B], ADDRESSES]``.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from fedproxy import Executor, Store
from fedproxy.dispatch.client import Client
from fedproxy.store import ref_of

_RECEIVE = """
import os, socket, sys
end = socket.create_connection((sys.argv[1], int(sys.argv[2])))
buffer = memoryview(bytearray(1 << 20))
left, path = int(sys.argv[3]), sys.argv[4]
file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600) if path else -1
while left:
    count = end.recv_into(buffer)
    left -= count
    if path:
        os.write(file, buffer[:count])
end.sendall(b"!")
if path:
    os.unlink(path)
"""


def length(value: Any) -> int:
    """Touches what it is given, and says how much that was."""
    return len(value)


def lengths(values: list[Any]) -> int:
    return sum(len(value) for value in values)


def unread(value: Any) -> int:
    """Needs its input at the site, and does not read it."""
    ref = ref_of(value)
    return 0 if ref is None else ref.size


def busy(value: Any, seconds: float) -> int:
    """Uses its input for so long."""
    size = len(value)
    time.sleep(seconds)
    return size


class StagingClient:
    """Puts data at A, has it used at B."""

    def __init__(self, folder: Path, prefix: list[str], addresses: list[str]) -> None:
        self._folder = folder
        self._store = Store.from_url(f"file://{folder / 'A' / 'store'}")
        self._prefix, self._address = prefix, addresses[0]
        self._client = Client()
        self._rng = np.random.default_rng()

    def do(self, what: str, **params: Any) -> dict[str, Any]:
        found: dict[str, Any] = getattr(self, f"do_{what}")(**params)
        return found

    def do_raw(self, size: int, *, to_file: bool = False) -> dict[str, Any]:
        """A plain socket copy from A's memory to B's, or to a new file in B's memory file system."""
        path = str(self._folder / "B" / "plain-copy") if to_file else ""
        data = memoryview(self._rng.bytes(min(size, 1 << 24)))
        with socket.create_server((self._address, 0)) as server:
            receiver = subprocess.Popen([*self._prefix, sys.executable, "-c", _RECEIVE, self._address, str(server.getsockname()[1]), str(size), path])
            end, _ = server.accept()
            began = time.perf_counter()
            left = size
            while left:
                left -= end.send(data[:left])
            end.recv(1)
            seconds = time.perf_counter() - began
            end.close()
        receiver.wait()
        return {"seconds": seconds}

    def do_objects(self, count: int, size: int) -> dict[str, Any]:
        """One task at B that needs so many objects; end to end, and the transfer alone as its stager told it."""
        proxies = [self._store.proxy(self._rng.bytes(size)) for _ in range(count)]
        executor = Executor("B", client=self._client)
        try:
            began = time.perf_counter()
            found = executor.submit(lengths, proxies).result(600) if count > 1 else executor.submit(length, proxies[0]).result(600)
            seconds = time.perf_counter() - began
            assert found == count * size
            return {"seconds": seconds, "moving": self._moving(proxies)}
        finally:
            executor.shutdown()
            self._store.evict_batch(proxies)

    def _moving(self, proxies: list[Any]) -> float:
        """Seconds from the first request for one of them to the arrival of the last."""
        names = {ref.object_id for proxy in proxies if (ref := ref_of(proxy)) is not None}
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            told = [each for each in self._client.rest.json("GET", "/v1/transfers") if each["object"] in names and each["state"] == "done"]
            if len(told) >= min(len(names), 900):
                return float(max(each["ended"] for each in told) - min(each["started"] for each in told))
            time.sleep(0.1)
        return 0.0

    def do_overlap(self, endpoint: str, tasks: int, size: int, seconds: float) -> dict[str, Any]:
        """Tasks that each compute for a while on an input of their own."""
        proxies = [self._store.proxy(self._rng.bytes(size)) for _ in range(tasks)]
        executor = Executor(endpoint, client=self._client)
        try:
            began, stamp = time.perf_counter(), time.time()
            futures = [executor.submit(busy, proxy, seconds) for proxy in proxies]
            assert all(future.result(600) == size for future in futures)
            makespan = time.perf_counter() - began
            lines = [future.timeline() for future in futures]
            names = {ref.object_id for proxy in proxies if (ref := ref_of(proxy)) is not None}
            time.sleep(2.5)  # the last reports
            told = [each for each in self._client.rest.json("GET", "/v1/transfers") if each["object"] in names and each["state"] == "done"]
            return {"seconds": makespan, "runs": [(line["started"] - stamp, line["ended"] - stamp) for line in lines],
                    "moves": [(each["started"] - stamp, each["ended"] - stamp) for each in told]}
        finally:
            executor.shutdown()
            self._store.evict_batch(proxies)

    def do_stage(self, size: int) -> dict[str, Any]:
        """The transfer alone, as its stager timed it: from being asked for to being a copy that workers can map."""
        block = self._rng.bytes(1 << 24)
        proxy = self._store.proxy((block * -(-size // len(block)))[:size])
        executor = Executor("B", client=self._client)
        try:
            assert executor.submit(unread, proxy).result(600) >= size
            return {"moving": self._moving([proxy])}
        finally:
            executor.shutdown()
            self._store.evict(proxy)

    def do_broadcast(self, tasks: int, size: int) -> dict[str, Any]:
        """One object for many tasks."""
        proxy = self._store.proxy(self._rng.bytes(size))
        ref = ref_of(proxy)
        assert ref is not None
        executor = Executor("B", client=self._client)
        try:
            began = time.perf_counter()
            assert all(future.result(600) == size for future in [executor.submit(length, proxy) for _ in range(tasks)])
            seconds = time.perf_counter() - began
            time.sleep(2.5)
            told = [each for each in self._client.rest.json("GET", "/v1/transfers") if each["object"] == ref.object_id]
            return {"seconds": seconds, "transfers": len(told)}
        finally:
            executor.shutdown()
            self._store.evict(ref)


def main(folder: str, told: str) -> None:
    prefix, addresses = json.loads(told)
    client = StagingClient(Path(folder), prefix, addresses)
    threading.current_thread().name = "staging-client"
    for line in sys.stdin:
        try:
            answer = client.do(**json.loads(line))
        except Exception as exc:  # the other end decides
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
