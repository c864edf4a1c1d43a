"""The data server: objects of a site's stores over HTTP, to whoever has a ticket.

Strategy: a request names an object by its place in a ticket that the service signed, so there are no paths to go astray in; only the site's own
stores are looked into. Bytes go from the store's mapping to the socket. Every piece (`LEAF_BYTES`) goes with its digest, so that the other end
asks again for one piece only. One thread for each connection, no more than `MOST_CONNECTIONS`.

    GET    /v1/objects/N     with Range: bytes of the ticket's object N, the digest of each piece behind it
    HEAD   /v1/objects/N     its size; of a PUT ticket, what has arrived already
    PUT    /v1/objects/N     with Content-Range and Fedproxy-Leaves: pieces of an object that is pushed here
    DELETE /v1/objects/N
    POST   /v1/batch         many small objects in one answer
    POST   /v1/stage         for this site's own workers, with its private token: fetch these objects, answer when they are here
"""

from __future__ import annotations

import hmac
import logging
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from attrs import field, frozen
from xxhash import xxh3_64_digest

from fedproxy.errors import ConfigError, DataLostError, DigestMismatchError, FedproxyError, StagingFullError, TicketError, TransferError
from fedproxy.protocol.tickets import Gate, Grant, Ticket, granted
from fedproxy.store.ref import Ref
from fedproxy.transfer.partial import LEAF_BYTES
from fedproxy.transfer.shelves import Arrivals, Shelves
from fedproxy.transfer.space import Space

log = logging.getLogger(__name__)

SCHEME = "Fedproxy-Ticket"
SITE_SCHEME = "Fedproxy-Site"
LEAVES = "Fedproxy-Leaves"
MOST_CONNECTIONS = 256
DIGEST_BYTES = 8
BATCH_HEAD = struct.Struct("<BQ8s")
"""Of each object in the answer to a batch: 1 if it is there, its length, its digest (xxh3-64)."""
_MOST_BODY_BYTES = 8 * 1024 * 1024
_IDLE_S = 60.0
_OBJECT = re.compile(r"/v1/objects/(\d{1,5})")
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


@frozen
class BatchRequest:
    """The body of a batch: which objects of the ticket."""

    ticket: str = field(repr=False)
    objects: tuple[int, ...]


Stage = Callable[[Sequence[Ref]], None]
"""Fetches objects; returns when they are here. Raises ``FedproxyError``."""


class DataServer:
    """Listens from the start; answers once it knows whose tickets to accept (`trust`)."""

    def __init__(self, address: tuple[str, int], stores: Sequence[str], space: Space, site_token: str) -> None:
        """Raises ConfigError: the address cannot be had."""
        self.shelves = Shelves(stores, space)
        self.arrivals = Arrivals(space)
        self.site_token = site_token
        self.gate: Gate | None = None
        self.stage: Stage | None = None
        self.served_bytes = 0
        """Sent to others so far."""
        self._lock = threading.Lock()
        self._clock_ahead_s = 0.0
        try:
            self._server = _Server(address, self)
        except OSError as exc:
            raise ConfigError(f"the data server cannot listen on {address[0]}:{address[1]}: {exc.strerror}", hint="see transfer.data_host, data_port") from exc
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="fedproxy-data", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def trust(self, gate: Gate, clock_ahead_s: float) -> None:
        """Accept tickets from now on. ``clock_ahead_s``: how far the service's clock is ahead of this machine's."""
        self._clock_ahead_s = clock_ahead_s
        self.gate = gate

    def admit(self, text: str, method: str) -> Ticket:
        """The ticket. Raises TicketError."""
        if self.gate is None:
            raise TicketError("this data server is not ready yet")
        return self.gate.open(text, method, time.time() + self._clock_ahead_s)

    def count(self, nbytes: int) -> None:
        """So much more was sent."""
        with self._lock:
            self.served_bytes += nbytes

    def close(self) -> None:
        """Stop; idempotent."""
        self._server.shutdown()
        self._server.server_close()
        self._server.drop_all()
        self._thread.join(5)
        self.arrivals.close()
        self.shelves.clear()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], owner: DataServer) -> None:
        self.owner = owner
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._sockets: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._sockets.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._sockets.discard(request)
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a connection from %s broke", client_address, exc_info=True)

    def drop_all(self) -> None:
        for each in list(self._sockets):
            self.shutdown_request(each)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "fedproxy", ""
    timeout = _IDLE_S
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._answering(self._get)

    def do_HEAD(self) -> None:
        self._answering(self._head)

    def do_PUT(self) -> None:
        self._answering(self._put)

    def do_DELETE(self) -> None:
        self._answering(self._delete)

    def do_POST(self) -> None:
        routes = {"/v1/batch": self._batch, "/v1/stage": self._stage}
        self._answering(routes.get(self.path, self._unknown))

    def _answering(self, work: Callable[[], None]) -> None:
        try:
            work()
        except FedproxyError as exc:
            self._fail(exc)
        except (OSError, ValueError) as exc:
            self.close_connection = True
            log.debug("a request of %s broke: %s", self.client_address, exc)

    def _fail(self, exc: FedproxyError) -> None:
        status = {TicketError: HTTPStatus.FORBIDDEN, DataLostError: HTTPStatus.NOT_FOUND, StagingFullError: HTTPStatus.INSUFFICIENT_STORAGE}.get(
            type(exc), HTTPStatus.BAD_REQUEST)
        log.info("%s %s from %s: %s", self.command, self.path.partition("?")[0], self.client_address[0], exc)
        body = msgspec.json.encode({"error": type(exc).__name__, "message": str(exc)})
        self.close_connection = True  # a body may not have been read
        self._start(status, len(body), {"Connection": "close"})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _start(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _unknown(self) -> None:
        raise TransferError("no such path")

    # ------------------------------------------------------------ what was granted

    def _credentials(self, scheme: str) -> str:
        given, _, text = self.headers.get("Authorization", "").partition(" ")
        if given != scheme or not text:
            raise TicketError("no ticket came along")
        return text

    def _place(self) -> int:
        found = _OBJECT.fullmatch(self.path)
        if found is None:
            self._unknown()
        assert found is not None
        return int(found[1])

    def _grant(self, method: str, start: int = 0, end: int = 0) -> Grant:
        return granted(self.server.owner.admit(self._credentials(SCHEME), method), self._place(), start, end)

    def _get(self) -> None:
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        start, end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, 0)
        view = self.server.owner.shelves.read(self._grant("GET", start, end))
        end = min(end or len(view), len(view))
        if start > end or start % LEAF_BYTES:
            raise TransferError("a range begins at a multiple of 4 MiB within the object")
        pieces = [view[at:min(at + LEAF_BYTES, end)] for at in range(start, end, LEAF_BYTES)]
        length = end - start + DIGEST_BYTES * len(pieces)
        self._start(206 if asked else 200, length, {"Content-Range": f"bytes {start}-{end - 1}/{len(view)}", LEAVES: "behind"})
        self.wfile.flush()
        for piece in pieces:
            self.connection.sendall(piece)
            self.server.owner.count(len(piece))
            self.connection.sendall(xxh3_64_digest(piece))

    def _head(self) -> None:
        text, owner = self._credentials(SCHEME), self.server.owner
        try:
            grant = granted(owner.admit(text, "PUT"), self._place(), 0, 0)
        except TicketError:
            view = owner.shelves.read(self._grant("GET"))
            self._start(200, 0, {"Fedproxy-Size": str(len(view))})
            return
        size, missing = owner.arrivals.have(grant)
        self._start(200, 0, {"Fedproxy-Size": str(size), "Fedproxy-Missing": ",".join(f"{a}-{b}" for a, b in missing)})

    def _delete(self) -> None:
        self.server.owner.shelves.evict(self._grant("DELETE"))
        self._start(200, 0, {})

    def _put(self) -> None:
        asked = _CONTENT_RANGE.fullmatch(self.headers.get("Content-Range", ""))
        length = int(self.headers.get("Content-Length", "0"))
        if asked is None or int(asked[2]) + 1 - int(asked[1]) != length or int(asked[2]) >= int(asked[3]) or int(asked[1]) % LEAF_BYTES:
            raise TransferError("a PUT says which bytes of how many it brings, from a multiple of 4 MiB on")
        start, total, arrivals = int(asked[1]), int(asked[3]), self.server.owner.arrivals
        grant = self._grant("PUT", start, start + length)
        partial = arrivals.take(grant, total)
        digests = self.headers.get(LEAVES, "").split(",")
        pieces = [(at, min(at + LEAF_BYTES, start + length)) for at in range(start, start + length, LEAF_BYTES)]
        if len(digests) != len(pieces) or any(end - at < LEAF_BYTES and end != total for at, end in pieces):
            raise TransferError("a PUT brings whole pieces and a digest for each")
        for (at, end), digest in zip(pieces, digests, strict=True):
            if not hmac.compare_digest(partial.pour(at, end, self._receive).hex().encode(), digest.encode()):
                partial.spoil(at)
                raise DigestMismatchError(f"bytes {at} to {end} are not what was sent")
            partial.settle(at, end, digest)
        whole = arrivals.settled(grant, partial)
        self._start(201 if whole else 200, 0, {})

    def _receive(self, view: memoryview) -> None:
        done = 0
        while done < len(view):
            count = self.rfile.readinto(view[done:])
            if not count:
                raise OSError("the other end went away")
            done += count

    def _body(self) -> bytes:
        length = int(self.headers.get("Content-Length", "0"))
        if not 0 <= length <= _MOST_BODY_BYTES:
            raise TransferError("a request that is too long")
        return self.rfile.read(length)

    def _batch(self) -> None:
        try:
            asked = msgspec.msgpack.decode(self._body(), type=BatchRequest)
        except msgspec.MsgspecError as exc:
            raise TransferError("a batch that cannot be read") from exc
        owner = self.server.owner
        ticket = owner.admit(asked.ticket, "GET")
        found = [self._read_or_none(granted(ticket, place, 0, 0)) for place in asked.objects]
        self._start(200, sum(BATCH_HEAD.size + len(view or b"") for view in found), {})
        self.wfile.flush()
        for view in found:
            head = BATCH_HEAD.pack(0, 0, b"") if view is None else BATCH_HEAD.pack(1, len(view), xxh3_64_digest(view))
            self.connection.sendall(head)
            if view is not None:
                owner.count(len(view))
                self.connection.sendall(view)

    def _read_or_none(self, grant: Grant) -> memoryview | None:
        if grant.end:
            raise TicketError("a batch is of whole objects")
        try:
            return self.server.owner.shelves.read(grant)
        except DataLostError:
            return None

    def _stage(self) -> None:
        owner = self.server.owner
        if not hmac.compare_digest(self._credentials(SITE_SCHEME).encode(), owner.site_token.encode()) or owner.stage is None:
            raise TicketError("this is for the site's own workers")
        refs = [Ref.from_bytes(part) for part in msgspec.msgpack.decode(self._body(), type=list[bytes])]
        owner.stage(refs)
        self._start(200, 0, {})

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged; refusals are, without their credentials."""
