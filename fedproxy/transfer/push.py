"""Objects of a client that nobody can reach go to where they are needed: by PUT to the endpoint's data server, or into the relay.

Strategy: the bytes are written to a file first, so that the caller may change the object at once; threads upload it from there, whole pieces with
their digests, and go on where a connection broke.
"""

from __future__ import annotations

import mmap
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from attrs import frozen
from xxhash import xxh3_64_hexdigest

from fedproxy.config.home import PRIVATE_FILE, private_dir
from fedproxy.errors import FedproxyError, SourceLostError, StagingFullError, TransferError, TransferStalledError
from fedproxy.protocol.tickets import Grant
from fedproxy.serialize import Frame
from fedproxy.store.connectors.base import new_key
from fedproxy.store.connectors.posix import write_all
from fedproxy.store.ref import Ref
from fedproxy.transfer.data_server import LEAVES, SCHEME
from fedproxy.transfer.http import Connection
from fedproxy.transfer.partial import LEAF_BYTES, Range, leaves, runs
from fedproxy.transfer.plan import RELAY_STORE
from fedproxy.transfer.routes.relay import upload
from fedproxy.transfer.service_link import ServiceLink
from fedproxy.transfer.uploads import begin

_RUN_BYTES = 16 * 1024 * 1024
_AGAIN = 5


@frozen
class Target:
    """Where to push to: an endpoint's data server, or (without one) the relay."""

    site: str = ""
    endpoint: str = ""
    data_url: str = ""
    replicas: str = ""
    """The store that takes what is pushed."""


class Pusher:
    """Puts frames to another site; stands where a store would. Thread-safe."""

    def __init__(self, link: ServiceLink, target: Target, folder: Path, *, streams: int = 4, stall_s: float = 30.0) -> None:
        self._link, self._target, self._stall_s = link, target, stall_s
        self._folder = private_dir(folder)
        self._pool = ThreadPoolExecutor(max(2, streams), "fedproxy-push")
        self.url = target.replicas or RELAY_STORE

    def put_frame(self, frame: Frame, *, ttl: float | None = None) -> Ref:
        """Take a frame; it is under way when this returns. See `upload_of`.

        Raises:
            StagingFullError: no room for the copy that is sent.
        """
        direct = bool(self._target.data_url)
        key = new_key() if direct else secrets.token_hex(16)
        path = self._folder / key
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            write_all(descriptor, frame.parts)
        except OSError as exc:
            path.unlink(missing_ok=True)
            raise StagingFullError(f"cannot write {path}: {exc.strerror}", hint="free space there") from exc
        finally:
            os.close(descriptor)
        ref = Ref(self.url, key, frame.nbytes, frame.digest, self._target.site)
        begin(ref.object_id, self._pool.submit(self._send, ref, path))
        return ref

    def evict(self, ref: Ref) -> None:
        """Have it removed at the other side, some time soon."""
        with suppress(RuntimeError):  # the interpreter ends: its time to live ends it
            self._pool.submit(self._evict, ref)

    def _evict(self, ref: Ref) -> None:
        with suppress(FedproxyError, OSError):
            if not self._target.data_url:
                self._link.rest.tell("DELETE", f"/v1/relay/{ref.key}", None)
                return
            ticket = self._link.ticket(self._target.endpoint, "DELETE", [Grant(ref.store, ref.key)])
            with Connection(self._target.data_url, stall_s=self._stall_s) as connection:
                connection.ask("DELETE", "/v1/objects/0", {"Authorization": f"{SCHEME} {ticket}"})
                connection.answer()

    def _send(self, ref: Ref, path: Path) -> None:
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                view = memoryview(data)
                try:
                    self._direct(ref, view) if self._target.data_url else upload(self._link, ref.key, view)
                finally:
                    view.release()
        finally:
            path.unlink(missing_ok=True)

    def _direct(self, ref: Ref, view: memoryview) -> None:
        problem: Exception | None = None
        for attempt in range(_AGAIN):
            try:
                self._put(ref, view)
                return
            except (SourceLostError, TransferStalledError, OSError) as exc:
                problem = exc
                time.sleep(0.2 * 2**attempt)
        raise TransferError(f"the upload to site {self._target.site!r} breaks off: {problem}", site=self._target.site)

    def _put(self, ref: Ref, view: memoryview) -> None:
        ticket = self._link.ticket(self._target.endpoint, "PUT", [Grant(ref.store, ref.key)])
        headers = {"Authorization": f"{SCHEME} {ticket}"}
        with Connection(self._target.data_url, stall_s=self._stall_s) as connection:
            connection.ask("HEAD", "/v1/objects/0", headers)
            told = connection.answer().headers.get("fedproxy-missing", "")
            missing = [_range(part) for part in told.split(",")] if told else leaves(len(view))
            for start, end in runs(missing, _RUN_BYTES):
                digests = ",".join(xxh3_64_hexdigest(view[at:min(at + LEAF_BYTES, end)]) for at in range(start, end, LEAF_BYTES))
                given = {**headers, LEAVES: digests, "Content-Range": f"bytes {start}-{end - 1}/{len(view)}"}
                connection.ask("PUT", "/v1/objects/0", given, view[start:end])
                connection.answer()

    def close(self) -> None:
        """Stop when what is under way is done; idempotent."""
        self._pool.shutdown(wait=True)


def _range(text: str) -> Range:
    start, _, end = text.partition("-")
    return int(start), int(end)
