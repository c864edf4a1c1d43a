"""What a client knows of endpoints: id, state, and the stores that both sides reach."""

from __future__ import annotations

import sys
import threading
import time
import warnings
from typing import Any

from attrs import define, frozen

from fedproxy.config.home import default_site
from fedproxy.dispatch.connection import warn_offline
from fedproxy.dispatch.data import ClientData
from fedproxy.dispatch.payload import Policy
from fedproxy.errors import EndpointOfflineError, StoreError
from fedproxy.protocol.resources import Capacity
from fedproxy.store import Store, reachable
from fedproxy.store.elsewhere import own_sites_only
from fedproxy.wire.rest import RestClient

_FRESH_S = 5.0
_WARN_AGAIN_S = 60.0


@frozen
class EndpointInfo:
    """An endpoint as the service described it."""

    id: str
    name: str
    online: bool
    site: str
    stores: tuple[str, ...]
    """Store URLs that this client reaches too, fastest first."""
    python: str
    host: str = ""
    data_url: str = ""
    """Its data server."""
    replicas: str = ""
    """The store of what is pushed to it."""
    capacity: Capacity | None = None
    """What it has for tasks that ask for resources; None: it does not say."""
    workers: int = 1


@define
class _Known:
    info: EndpointInfo
    asked: float
    warned: float = -_WARN_AGAIN_S


class Endpoints:
    """Asks the service about endpoints and remembers the answers for a few seconds. Thread-safe."""

    def __init__(self, rest: RestClient) -> None:
        self._rest = rest
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def find(self, name_or_id: str, *, on_offline: str = "queue") -> EndpointInfo:
        """The endpoint of that name or id. Warns if it is offline or runs another Python.

        Raises:
            UnknownEndpointError: there is none.
            EndpointOfflineError: it is offline, and ``on_offline`` is ``fail``.
        """
        known = self._known.get(name_or_id)
        now = time.monotonic()
        if known is None or now - known.asked > _FRESH_S:
            info = _read(self._rest.json("GET", f"/v1/endpoints/{name_or_id}"))
            with self._lock:
                if known is None:
                    known = self._known[name_or_id] = _Known(info, now)
                    _warn_of_python(info)
                known.info, known.asked = info, now
        if not known.info.online:
            if on_offline == "fail":
                known.asked = -_FRESH_S
                raise EndpointOfflineError(f"endpoint {known.info.name!r} is offline", hint=f"start it with `fedproxy endpoint start {known.info.name}`")
            self._warn(known, now)
        return known.info

    def offline(self, name_or_id: str) -> None:
        """The service said that tasks wait for an offline endpoint."""
        known = self._known.get(name_or_id)
        if known is not None:
            self._warn(known, time.monotonic())

    @staticmethod
    def _warn(known: _Known, now: float) -> None:
        if now - known.warned >= _WARN_AGAIN_S:
            known.warned = now
            warn_offline(known.info.name)


def _read(answer: dict[str, Any]) -> EndpointInfo:
    profile = answer["profile"]
    elsewhere = own_sites_only() and profile.get("site", "") != default_site()
    stores = tuple(url for url in profile.get("stores", ()) if not elsewhere and reachable(url))
    return EndpointInfo(answer["id"], answer["name"], answer["online"], profile.get("site", ""), stores, profile.get("python", ""),
                        profile.get("host", ""), profile.get("data_url", ""), profile.get("replicas", ""),
                        Capacity(**profile["capacity"]) if "capacity" in profile else None,
                        int(answer.get("workers") or profile.get("workers") or 1))


def _warn_of_python(info: EndpointInfo) -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if info.python and not info.python.startswith(here + "."):
        warnings.warn(
            f"endpoint {info.name!r} runs Python {info.python}, this client {here}: functions may not load there; use the same minor version", stacklevel=4)


def policy_for(info: EndpointInfo, threshold_bytes: int, limit_bytes: int, data: ClientData | None = None) -> Policy:
    """How arguments travel to this endpoint: through the fastest store that opens, else pushed to its site."""
    for url in info.stores:
        try:
            return Policy(Store.from_url(url), threshold_bytes, limit_bytes)
        except StoreError as exc:
            warnings.warn(f"the store {url} of endpoint {info.name!r} cannot be used: {exc}", stacklevel=3)
    return Policy(data.pusher(info) if data is not None else None, threshold_bytes, limit_bytes)
