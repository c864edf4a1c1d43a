"""Messages over a socket pair between agent and worker: an 8-byte length, then a message with its bodies."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from fedproxy.protocol.codec import Buffer
from fedproxy.protocol.framing import Splitter

_LENGTH = struct.Struct("<Q")
_READ = 256 * 1024
_SMALL = 32 * 1024


def framed(parts: Sequence[Buffer]) -> bytes:
    """One frame as one buffer."""
    return b"".join((_LENGTH.pack(sum(map(len, parts))), *parts))


class AgentPipe:
    """The agent's end, on the loop. Never blocks: what the socket does not take waits here."""

    def __init__(self, end: socket.socket, on_frame: Callable[[memoryview], None]) -> None:
        self._socket, self._on_frame = end, on_frame
        end.setblocking(False)
        self._splitter = Splitter(_LENGTH)
        self._out: deque[memoryview] = deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end, self._readable)

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send one frame. A worker that is gone is noticed elsewhere."""
        length = sum(map(len, parts))
        pieces: list[Buffer] = [framed(parts)] if length < _SMALL else [_LENGTH.pack(length), *parts]
        for piece in pieces:
            if len(piece):
                self._write(memoryview(piece))

    def _write(self, piece: memoryview) -> None:
        if not self._out:
            try:
                piece = piece[self._socket.send(piece):]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                return
            if not len(piece):
                return
            self._loop.add_writer(self._socket, self._writable)
        self._out.append(piece)

    def _writable(self) -> None:
        try:
            while self._out:
                sent = self._socket.send(self._out[0])
                if sent < len(self._out[0]):
                    self._out[0] = self._out[0][sent:]
                    return
                self._out.popleft()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._out.clear()
        self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        self._read_once()

    def _read_once(self) -> bool:
        try:
            data = self._socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._socket)
            return False
        for frame in self._splitter.feed(data):
            self._on_frame(frame)
        return True

    def drain_and_close(self) -> None:
        """Read what a dead worker left behind, then close."""
        if self._socket.fileno() < 0:
            return
        while self._read_once():
            pass
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()


class WorkerPipe:
    """The worker's end: blocking, one frame at a time."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._splitter = Splitter(_LENGTH)

    def frames(self) -> Iterator[memoryview]:
        """Frames until the agent is gone."""
        while data := self._socket.recv(_READ):
            yield from self._splitter.feed(data)

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send one frame."""
        length = sum(map(len, parts))
        if length < _SMALL:
            self._socket.sendall(framed(parts))
            return
        self._socket.sendall(_LENGTH.pack(length))
        for part in parts:
            self._socket.sendall(part)
