"""The Redis protocol (RESP2) over a connected socket, for values of any size.

Strategy: redis-py dials, authenticates and speaks TLS; from then on this class owns the socket. A value is sent from
the buffers it is in (scatter write) and received where it will stay (one preallocated buffer), because joining 64 kB
reads costs three quarters of the bandwidth. Time-outs are the kernel's (``SO_RCVTIMEO``), not the poll per call of
Python's.
"""

from __future__ import annotations

import mmap
import socket
import ssl
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeAlias

from fedproxy.store.connectors.base import Buffer, Parts

SCRATCH_BYTES = 64 * 1024
JOIN_BYTES = 32 * 1024
"""Below this, one copy is cheaper than a scatter write."""
HUGE_BYTES = 2 * 1024 * 1024
"""From here on buffers lie in huge pages: the first touch of small ones costs as much as receiving."""
HUGEST_BYTES = 256 * 1024 * 1024
"""Up to here. Beyond, a virtual machine may have to ask its host for so many of them, which costs more than it saves."""
IOV_MAX = 512
SPARE_BYTES = 256 * 1024
CRLF = b"\r\n"
OK = b"+OK\r\n"
_DOLLAR, _PLUS, _MINUS, _COLON, _STAR = b"$+-:*"
PEEK_BYTES = 1024
"""Taken first where large values are expected: little of them then passes through the scratch buffer."""

LOOKS = 100
"""How often to look for an answer before going to sleep: about 0.1 ms."""
MOST_VAIN = 8
"""After so many waits in vain, only every 256th answer is looked for."""


class ReplyError(Exception):
    """An error reply. ``code`` is its first word (``OOM``, ``MOVED``, ...)."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.code = text.partition(" ")[0]


class BrokenReplyError(Exception):
    """What came is not RESP: another kind of server, or a connection out of step."""


Reply: TypeAlias = int | bytearray | memoryview | ReplyError | list["Reply"] | None


def encode(*words: bytes) -> bytes:
    """One command as RESP."""
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


def allocate(size: int) -> memoryview:
    """A writable buffer to receive into. Large ones are not zeroed beforehand, and lie in huge pages where there are any."""
    if size < HUGE_BYTES:
        return memoryview(bytearray(size))
    whole = mmap.mmap(-1, -(-size // HUGE_BYTES) * HUGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size <= HUGEST_BYTES:
        with suppress(OSError, AttributeError):  # slower without, not wrong
            whole.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(whole)[:size]


class Wire:
    """One connection. Not thread-safe; after any exception but ``ReplyError`` it can only be closed."""

    __slots__ = ("_buffer", "_end", "_pause", "_sock", "_spare", "_start", "_take", "_vain", "_view")

    def __init__(self, sock: socket.socket, *, timeout_s: float) -> None:
        self._sock = sock
        self._buffer = bytearray(SCRATCH_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._take = SCRATCH_BYTES
        self._spare = bytearray()
        self._vain = self._pause = 0
        self.set_timeout(timeout_s)

    def set_timeout(self, timeout_s: float) -> None:
        """Longest silence of the peer before an ``OSError``."""
        self._sock.settimeout(None)
        wait = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)

    # writing

    def send(self, data: bytes) -> None:
        """Send bytes that are RESP already."""
        self._sock.sendall(data)

    def send_value(self, head: bytes, parts: Parts, nbytes: int, tail: bytes = CRLF) -> None:
        """Send ``head``, the value from the buffers where it lies, and ``tail``."""
        if nbytes <= JOIN_BYTES:
            self._sock.sendall(b"".join((head, *parts, tail)))
        else:
            self._scatter([head, *parts, tail])

    def _scatter(self, buffers: Sequence[Buffer]) -> None:
        """``sendmsg`` until all is gone; in blocking mode that is one call per ``IOV_MAX`` buffers."""
        for first in range(0, len(buffers), IOV_MAX):
            group = [memoryview(buffer).cast("B") for buffer in buffers[first : first + IOV_MAX]]
            rest = sum([len(view) for view in group])
            while rest:
                sent = self._sock.sendmsg(group)
                rest -= sent
                if rest:
                    group = _after(group, sent)

    # reading

    def read(self) -> Reply:
        """The next reply. Error replies are returned, not raised: inside a pipeline each command has its own."""
        kind, rest = self._line()
        if kind == _DOLLAR:
            return self._bulk(_number(rest))
        if kind == _PLUS:
            return rest
        if kind == _COLON:
            return _number(rest)
        if kind == _MINUS:
            return ReplyError(rest.decode("utf-8", "replace"))
        if kind == _STAR:
            count = _number(rest)
            return None if count < 0 else self.read_many(count)
        raise BrokenReplyError(f"not a Redis reply: {bytes([kind, *rest[:40]])!r}")

    def read_many(self, count: int) -> list[Reply]:
        """``count`` replies, quick for small bulk strings."""
        self._take = SCRATCH_BYTES
        replies: list[Reply] = []
        add, buffer, find = replies.append, self._buffer, self._buffer.find
        start, end = self._start, self._end
        for _ in range(count):
            stop = find(CRLF, start, end)
            if stop > 0 and buffer[start] == _DOLLAR:
                last = stop + 2 + _number(buffer[start + 1 : stop])
                if stop + 2 <= last <= end - 2:
                    add(buffer[stop + 2 : last])
                    start = last + 2
                    continue
            self._start = start
            add(self.read())
            start, end = self._start, self._end
        self._start = start
        return replies

    def read_accepted(self, count: int) -> bool:
        """Take ``count`` replies if each is ``+OK``; else leave them all. For so few that they fit the scratch buffer."""
        wanted = OK * count
        while self._end - self._start < len(wanted):  # no reply is shorter than that one
            self._more()
        stop = self._start + len(wanted)
        if self._buffer[self._start : stop] != wanted:
            return False
        self._start = stop
        return True

    def read_into(self, dest: memoryview) -> Reply:
        """A bulk string of exactly ``len(dest)`` bytes into ``dest``.

        Returns:
            Its length; None for a missing key; an error reply; or the whole value where its length is another.
        """
        kind, rest = self._line()
        if kind == _DOLLAR:
            size = _number(rest)
            if size == len(dest):
                self._fill(dest)
                return size
            return self._bulk(size)
        if kind == _MINUS:
            return ReplyError(rest.decode("utf-8", "replace"))
        raise BrokenReplyError(f"not a bulk string: {bytes([kind, *rest[:40]])!r}")

    def _bulk(self, size: int) -> bytearray | memoryview | None:
        if size < 0:
            return None
        start = self._start
        if self._end - start >= size + 2:
            self._start = start + size + 2
            self._take = SCRATCH_BYTES
            return self._buffer[start : start + size]
        if size > SCRATCH_BYTES // 2:
            self._take = PEEK_BYTES
        dest = self._buffer_for(size)
        self._fill(dest)
        return dest

    def _buffer_for(self, size: int) -> memoryview:
        """A buffer to receive into. A middling one that nobody looks at any more is used again: its pages are there."""
        if not SPARE_BYTES <= size < HUGE_BYTES:
            return allocate(size)
        spare = self._spare
        if not size <= len(spare) <= 2 * size or not _unseen(spare):
            self._spare = spare = bytearray(size)
        return memoryview(spare)[:size]

    def _fill(self, dest: memoryview) -> None:
        have = min(self._end - self._start, len(dest))
        dest[:have] = self._view[self._start : self._start + have]
        self._start += have
        if have < len(dest):
            self._receive(dest, have)
        while self._end - self._start < 2:
            self._more()
        if self._buffer[self._start : self._start + 2] != CRLF:
            raise BrokenReplyError("a value longer than was announced")
        self._start += 2

    def _receive(self, dest: memoryview, have: int) -> None:
        """Fill ``dest`` from ``have`` on, in as few calls as the kernel allows. The scratch buffer is empty here."""
        size, tail = len(dest), self._view[:2]
        while have < size:
            got = self._sock.recvmsg_into([dest[have:], tail], 0, socket.MSG_WAITALL)[0]
            if not got:
                raise ConnectionResetError("the server closed the connection")
            have += got
        self._start, self._end = 0, have - size

    def _line(self) -> tuple[int, bytearray]:
        """The first byte of the next line, and what follows it."""
        buffer = self._buffer
        while (stop := buffer.find(CRLF, self._start, self._end)) < 0:
            self._more()
        start = self._start
        self._start = stop + 2
        if start == stop:
            raise BrokenReplyError("an empty line where a reply should begin")
        return buffer[start], buffer[start + 1 : stop]

    def _more(self) -> None:
        """Receive at least one more byte into the scratch buffer."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == SCRATCH_BYTES:
            if not self._start:
                raise BrokenReplyError("a reply line without an end")
            rest = self._buffer[self._start : self._end]
            self._start, self._end = 0, len(rest)
            self._view[: len(rest)] = rest
        room = self._view[self._end : self._end + self._take] if self._end else self._view
        got = self._arrived(room, min(self._take, len(room)))
        if not got:
            raise ConnectionResetError("the server closed the connection")
        self._end += got

    def _arrived(self, room: memoryview, limit: int) -> int:
        """Receive up to ``limit`` bytes. Looks a while before it sleeps (spin, then park): where the server is near and on
        another core, being woken costs twice as much as the answer. Where looking does not pay it is done ever less often.
        """
        if self._pause:
            self._pause -= 1
            return self._sock.recv_into(room, limit)
        for _ in range(LOOKS):
            try:
                got = self._sock.recv_into(room, limit, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            self._vain = 0
            return got
        self._vain = min(self._vain + 1, MOST_VAIN)
        self._pause = (1 << self._vain) - 1
        return self._sock.recv_into(room, limit)

    # whole exchanges

    def exchange(self, command: bytes) -> Reply:
        """Send one command, give its reply, be it an error."""
        self._sock.sendall(command)
        return self.read()

    def call(self, *words: bytes) -> Reply:
        """Send one command, give its reply.

        Raises:
            ReplyError: the server refused it.
        """
        reply = self.exchange(encode(*words))
        if isinstance(reply, ReplyError):
            raise reply
        return reply


class TlsWire(Wire):
    """The same over TLS, where there is neither scatter/gather nor a kernel time-out, nor a look without waiting."""

    __slots__ = ()

    def _arrived(self, room: memoryview, limit: int) -> int:
        return self._sock.recv_into(room, limit)

    def set_timeout(self, timeout_s: float) -> None:
        """Longest silence of the peer before an ``OSError``."""
        self._sock.settimeout(timeout_s)

    def _scatter(self, buffers: Sequence[Buffer]) -> None:
        for buffer in buffers:
            self._sock.sendall(buffer)

    def _receive(self, dest: memoryview, have: int) -> None:
        size = len(dest)
        while have < size:
            got = self._sock.recv_into(dest[have:])
            if not got:
                raise ConnectionResetError("the server closed the connection")
            have += got
        self._start = self._end = 0


def wire_for(sock: socket.socket, *, timeout_s: float) -> Wire:
    """The wire for a connected, authenticated socket."""
    kind = TlsWire if isinstance(sock, ssl.SSLSocket) else Wire
    return kind(sock, timeout_s=timeout_s)


def _unseen(buffer: bytearray) -> bool:
    """Whether no view of ``buffer`` is alive: only then can its length change."""
    try:
        buffer.append(buffer.pop())
    except BufferError:
        return False
    return True


def _number(text: bytearray) -> int:
    try:
        return int(text)
    except ValueError:
        raise BrokenReplyError(f"not a number: {bytes(text[:40])!r}") from None


def _after(group: list[memoryview], sent: int) -> list[memoryview]:
    """What is left of ``group`` after ``sent`` bytes."""
    for index, view in enumerate(group):
        if sent < len(view):
            return [view[sent:], *group[index + 1 :]]
        sent -= len(view)
    return []
