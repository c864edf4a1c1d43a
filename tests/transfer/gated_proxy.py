"""A TCP proxy in front of a data server that counts, stops, breaks and corrupts what comes back."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class GatedProxy:
    """``limit_bytes``: so many bytes pass, then nothing more until it is raised."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.target: tuple[str, int] | None = None
        self.passed = 0
        self.limit_bytes = 1 << 62
        self.corrupt = False
        self._changed = threading.Condition()
        self._ends: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._start(self._accept)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def lead_to(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.target = (host, int(port))

    def allow(self, count: int) -> None:
        with self._changed:
            self.limit_bytes = count
            self._changed.notify_all()

    def wait_passed(self, count: int, timeout_s: float = 60.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.passed >= count, timeout_s), f"{self.passed} of {count} bytes passed"

    def drop(self) -> None:
        """Break all connections."""
        for end in list(self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target or ("127.0.0.1", 1), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._ends |= {near, far}
            self._start(self._pump, near, far, False)
            self._start(self._pump, far, near, True)

    def _pump(self, source: socket.socket, sink: socket.socket, back: bool) -> None:
        with suppress(OSError):
            while data := source.recv(256 * 1024):
                if back:
                    with self._changed:
                        self._changed.wait_for(lambda: self.passed < self.limit_bytes or self._closed)
                        self.passed += len(data)
                        self._changed.notify_all()
                    if self.corrupt and len(data) > 10_000:
                        data = data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            self._ends.discard(end)
            end.close()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.drop()
        for thread in self._threads:
            thread.join(10)
