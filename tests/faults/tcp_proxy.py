"""A TCP proxy that does to a connection what networks do: cuts, one-way silence, delay, narrow links, resets, stalls."""

from __future__ import annotations

import queue
import random
import socket
import struct
import threading
import time
from contextlib import suppress

from attrs import define

_CHUNK = 16 * 1024


@define
class Weather:
    """What happens to bytes; may be changed at any time, also for connections that are open. ``up`` is from the client to the service."""

    drop_up: bool = False
    """Bytes towards the service vanish; nobody is told."""
    drop_down: bool = False
    delay_s: float = 0.0
    """One way."""
    bytes_per_s: float = 0.0
    """0: as fast as it goes."""
    stall_share: float = 0.0
    """So many of all pieces wait for a retransmission: what a lost packet looks like above TCP."""
    stall_s: float = 0.2
    refuse: bool = False
    """New connections are cut at once."""


class TcpProxy:
    """Listens on a free port of loopback, and passes everything on to ``target``."""

    def __init__(self, target: int, seed: int = 1) -> None:
        self.weather = Weather()
        self.passed = 0
        self.dropped = 0
        self.stalls = 0
        self.held_s = 0.0
        """For how long pieces were held back, together."""
        self.connections = 0
        self._target = target
        self._dice = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._silenced: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._resetting = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.weather.refuse:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                client.close()
                continue
            self.connections += 1
            with self._lock:
                self._open |= {client, server}
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        """Read one direction; what was read goes out at its time, in order."""
        line: queue.Queue[tuple[float, bytes]] = queue.Queue(64)
        writer = threading.Thread(target=self._write, args=(line, sink), daemon=True)
        writer.start()
        due = 0.0
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                if source in self._silenced or (self.weather.drop_up if up else self.weather.drop_down):
                    self.dropped += len(data)
                    continue
                due = max(due, time.monotonic() + self.weather.delay_s) + self._hold_up(len(data))
                line.put((due, data))
        line.put((0.0, b""))
        writer.join()
        if source not in self._silenced or self._closed:  # nobody is told of an end either
            self._hang_up(source, sink)

    def _write(self, line: queue.Queue[tuple[float, bytes]], sink: socket.socket) -> None:
        broken = False
        while (entry := line.get())[1]:
            due, data = entry
            if broken:
                continue
            wait_s = max(0.0, due - time.monotonic())
            self.held_s += wait_s
            time.sleep(wait_s)
            try:
                sink.sendall(data)
                self.passed += len(data)
            except OSError:
                broken = True

    def _hold_up(self, size: int) -> float:
        """Seconds for which a piece keeps the line busy: its own length, and now and then a retransmission."""
        weather = self.weather
        busy = size / weather.bytes_per_s if weather.bytes_per_s else 0.0
        if weather.stall_share and self._dice.random() < weather.stall_share:
            self.stalls += 1
            busy += weather.stall_s
        return busy

    def _hang_up(self, *ends: socket.socket) -> None:
        with self._lock:
            self._open.difference_update(ends)
        for end in ends:
            with suppress(OSError):
                # Wakes the other thread, which would keep a closed socket alive for as long as it reads. Without SHUT_WR no FIN goes before the RST.
                end.shutdown(socket.SHUT_RD if self._resetting else socket.SHUT_RDWR)
            end.close()

    def cut(self, *, reset: bool = False) -> int:
        """End all connections: with FIN, or with RST. Returns how many there were."""
        with self._lock:
            ends = list(self._open)
        self._resetting = reset
        for end in ends:
            with suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # This wakes the thread that reads; a socket that lingers for no time is reset when that thread closes it.
                end.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
        return len(ends) // 2

    def silence(self) -> int:
        """Make the connections of now half-open for good; new ones are not. Returns how many there were."""
        with self._lock:
            self._silenced |= self._open
            return len(self._silenced) // 2

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        with self._lock:
            ends = self._open | self._silenced
        for end in ends:
            end.close()
