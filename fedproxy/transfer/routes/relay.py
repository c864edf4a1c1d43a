"""Through the service's disk, where neither side can reach the other: the source uploads, the destination fetches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import requests

from fedproxy.errors import (
    ConflictError,
    DataLostError,
    FedproxyError,
    NotFoundError,
    RouteUnavailableError,
    SourceLostError,
    TransferError,
    TransferStalledError,
)
from fedproxy.store.connectors.base import Buffer
from fedproxy.store.registry import open_store
from fedproxy.transfer.objects import Replica
from fedproxy.transfer.partial import LEAF_BYTES, runs
from fedproxy.transfer.plan import RELAY, RELAY_STORE
from fedproxy.transfer.routes.base import Move, Outgoing, Trip, Watch
from fedproxy.transfer.routes.url import receive
from fedproxy.transfer.service_link import ServiceLink
from fedproxy.transfer.sites import Site

_RUN_BYTES = 32 * 1024 * 1024
_WAIT_S = 20.0
_AGAIN = 4


class RelayRoute:
    """Fetches from the relay, after it had the source upload what is not there."""

    name = RELAY

    def __init__(self, link: ServiceLink, *, stall_s: float = 30.0, give_up_s: float = 600.0) -> None:
        self._link, self._stall_s, self._give_up_s = link, stall_s, give_up_s

    def fetch(self, batch: Sequence[Move], trip: Trip, watch: Watch) -> None:
        """See `Route.fetch`."""
        waiting = [move for move in batch if not move.source.store.startswith(RELAY_STORE)]
        for move in batch:
            if move.source.store.startswith(RELAY_STORE):
                self._fetch(move, move.source.key, watch)
        if waiting:
            exported(self._link, RELAY, waiting, [RELAY_STORE], watch, lambda move, copy: self._fetch(move, copy.key, watch), self._give_up_s)

    def _fetch(self, move: Move, name: str, watch: Watch) -> None:
        if watch.cancelled(move):
            return
        try:
            if not move.wanted.size:
                move.partial.resize(int(self._link.rest.json("GET", f"/v1/relay/{name}/state")["received"]))
            receive(lambda start, end: self._read(name, start, end), move.partial, lambda count: watch.advanced(move, count))
        except NotFoundError as exc:
            watch.failed(move, DataLostError("the relay has it no more", key=name, hint=exc.message))
        except FedproxyError as exc:
            watch.failed(move, exc)
        else:
            watch.arrived(move)

    def _read(self, name: str, start: int, end: int) -> bytes:
        answer = self._link.rest.raw("GET", f"/v1/relay/{name}", headers={"Range": f"bytes={start}-{end - 1}"}, timeout_s=self._stall_s)
        try:
            return answer.content
        except requests.Timeout as exc:
            raise TransferStalledError("the relay has stalled") from exc
        except requests.RequestException as exc:
            raise SourceLostError("the connection to the relay broke") from exc

    def export(self, objects: Sequence[Outgoing], here: Site) -> list[Replica]:
        """See `SupportsExport.export`."""
        copies = []
        for each in objects:
            data = open_store(each.replica.store).connector.get(each.replica.key)
            if data is None:
                raise DataLostError("the object is not there any more", key=each.replica.key, store=each.replica.store)
            copies.append(upload(self._link, each.wanted.id, data))
        return copies

    def close(self) -> None:
        """Connections belong to threads."""


def upload(link: ServiceLink, name: str, data: Buffer, advanced: Callable[[int], Any] = lambda count: None) -> Replica:
    """Put an object into the relay, from where an earlier attempt broke off.

    Raises:
        TransferError: it does not go through.
        PayloadTooLargeError: over the quota.
    """
    view = memoryview(data).cast("B")
    problem: Exception | None = None
    for attempt in range(_AGAIN):
        try:
            start = _received(link, name)
            if start is None:
                return Replica("", RELAY_STORE, name)
            path = f"/v1/relay/{name}?start={start}&total={len(view)}"
            answer = link.rest.raw("PUT", path, data=_pieces(view, start, advanced), timeout_s=300.0).json()
            if answer["complete"]:
                return Replica("", RELAY_STORE, name)
        except ConflictError as exc:  # somebody else uploads it too, or an attempt of ours is not over yet
            problem = exc
        except (requests.RequestException, RouteUnavailableError) as exc:
            problem = exc
        time.sleep(0.2 * 2**attempt)
    raise TransferError(f"the upload to the relay breaks off: {problem}")


def _received(link: ServiceLink, name: str) -> int | None:
    """Bytes that the relay has; None for all."""
    try:
        state = link.rest.json("GET", f"/v1/relay/{name}/state")
    except NotFoundError as exc:
        if "no relay" in exc.message:
            raise RouteUnavailableError(exc.message) from exc
        return 0
    return None if state["complete"] else int(state["received"])


def _pieces(view: memoryview, start: int, advanced: Callable[[int], Any]) -> Iterator[bytes]:
    for at in range(start, len(view), LEAF_BYTES // 4):
        piece = bytes(view[at:at + LEAF_BYTES // 4])
        yield piece
        advanced(len(piece))
    if not view:
        yield b""


def exported(
    link: ServiceLink, route: str, moves: Sequence[Move], stores: Sequence[str], watch: Watch, take: Callable[[Move, Replica], None],
    give_up_s: float, place: str = "",
) -> None:
    """Have the source make objects available, and ``take`` each as soon as it is.

    Raises:
        TransferError: the source cannot be asked.
    """
    waiting = {move.id: move for move in moves}
    known, _ = link.wait_for_copies(list(waiting), route, stores, 0.0)
    missing = [move for move in moves if move.id not in known]
    if missing:
        try:
            link.ask_export(missing[0].source.site, route, [(move.wanted, move.source) for move in missing], place)
        except FedproxyError as exc:
            raise RouteUnavailableError(f"site {missing[0].source.site!r} cannot be asked to send: {exc.message}") from exc
    deadline = time.monotonic() + give_up_s
    while waiting:
        copies, failures = link.wait_for_copies(list(waiting), route, stores, _WAIT_S)
        for name, copy in copies.items():
            take(waiting.pop(name), copy)
        for name, (error, message) in failures.items():
            if name in waiting:
                watch.failed(waiting.pop(name), _told(error, message))
        waiting = {name: move for name, move in waiting.items() if not watch.cancelled(move)}
        if waiting and time.monotonic() > deadline:
            raise TransferStalledError(f"site {moves[0].source.site!r} has not sent it within {give_up_s:.0f} s")


def _told(error: str, message: str) -> FedproxyError:
    """What the source said of its failure."""
    return DataLostError(message) if error == "DataLostError" else TransferError(f"the source cannot send it: {message}")


__all__ = ["RelayRoute", "exported", "runs", "upload"]
