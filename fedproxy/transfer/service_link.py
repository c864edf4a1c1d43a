"""What stagers ask of the service: sites, tickets, copies, exports, and whether anybody wants an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import asdict, frozen

from fedproxy.errors import FedproxyError
from fedproxy.protocol.tickets import Grant
from fedproxy.transfer.objects import Replica, Wanted
from fedproxy.transfer.sites import Site, sites_from
from fedproxy.wire.rest import RestClient

_FRESH_S = 5.0


@frozen
class Atlas:
    """All sites of this user as the service described them."""

    sites: Mapping[str, Site]
    relay: bool


class ServiceLink:
    """One service, as one user. Thread-safe. Every method may raise ``ServiceUnavailableError`` and other errors of the service."""

    def __init__(self, rest: RestClient) -> None:
        self.rest = rest
        self._lock = threading.Lock()
        self._atlas: Atlas | None = None
        self._asked = 0.0

    def atlas(self, *, fresh: bool = False) -> Atlas:
        """The sites; at most a few seconds old."""
        with self._lock:
            if self._atlas is None or fresh or time.monotonic() - self._asked > _FRESH_S:
                answer = self.rest.json("GET", "/v1/sites")
                self._atlas = Atlas(sites_from(answer["endpoints"]), bool(answer["relay"]))
                self._asked = time.monotonic()
            return self._atlas

    def ticket(self, endpoint: str, method: str, objects: Iterable[Grant]) -> str:
        """A ticket for one endpoint of the user's."""
        answer = self.rest.json("POST", "/v1/tickets", {"endpoint": endpoint, "method": method, "objects": [asdict(each) for each in objects]})
        return str(answer["ticket"])

    def copies(self, objects: Sequence[str]) -> dict[str, list[Replica]]:
        """Known copies by object."""
        found: dict[str, list[Replica]] = {}
        for each in self.rest.json("POST", "/v1/replicas/find", {"objects": list(objects), "route": "", "stores": []}):
            found.setdefault(each["object"], []).append(Replica(each["site"], each["store"], each["key"]))
        return found

    def add_copies(self, copies: Iterable[tuple[Wanted, Replica]]) -> None:
        """Tell of copies that were made."""
        rows = [{"object": w.id, "site": r.site, "store": r.store, "key": r.key, "size": w.size, "digest": w.digest.hex()} for w, r in copies]
        if rows:
            self.rest.tell("POST", "/v1/replicas", {"add": rows})

    def remove_copies(self, places: Iterable[tuple[str, str]]) -> None:
        """Tell of copies that are gone: (object, store)."""
        rows = list(places)
        if rows:
            self.rest.tell("POST", "/v1/replicas", {"remove": rows})

    def export_failed(self, objects: Iterable[str], route: str, error: Exception) -> None:
        """Tell those who wait for an export that it failed."""
        message = error.message if isinstance(error, FedproxyError) else str(error)
        rows = [{"object": name, "route": route, "error": type(error).__name__, "message": message} for name in objects]
        self.rest.tell("POST", "/v1/replicas", {"failed": rows})

    def ask_export(self, site: str, route: str, objects: Sequence[tuple[Wanted, Replica]], place: str = "") -> None:
        """Have a site make objects available by a route."""
        rows = [{"object": w.id, "store": r.store, "key": r.key, "size": w.size, "digest": w.digest.hex()} for w, r in objects]
        self.rest.json("POST", "/v1/exports", {"site": site, "route": route, "objects": rows, "place": place})

    def wait_for_copies(
        self, objects: Sequence[str], route: str, stores: Sequence[str], timeout_s: float
    ) -> tuple[dict[str, Replica], dict[str, tuple[str, str]]]:
        """Wait until each has a copy in one of ``stores`` or its export failed: copies by object, and (error, message) by object."""
        body = {"objects": list(objects), "route": route, "stores": list(stores), "timeout_s": timeout_s}
        answer = self.rest.json("POST", "/v1/replicas/wait", body, timeout_s=timeout_s + 30.0)
        copies = {c["object"]: Replica(c["site"], c["store"], c["key"]) for c in answer["copies"]}
        return copies, {f["object"]: (f["error"], f["message"]) for f in answer["failures"]}

    def report(self, reports: Sequence[Mapping[str, Any]]) -> list[str]:
        """Tell how transfers go; returns the ids of those that somebody wants to end."""
        answer = self.rest.json("POST", "/v1/transfers", list(reports))
        return list(answer["cancel"])
