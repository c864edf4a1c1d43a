"""A client's own data plane: it fetches what lies at other sites, and pushes what no endpoint could fetch from it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fedproxy.config.home import default_site, home, host_id
from fedproxy.dispatch.bars import shown
from fedproxy.errors import DataLostError
from fedproxy.store import Ref
from fedproxy.store.connectors.base import Buffer
from fedproxy.store.elsewhere import drop_finder, use_finder
from fedproxy.wire.rest import RestClient

if TYPE_CHECKING:
    from fedproxy.dispatch.endpoints import EndpointInfo
    from fedproxy.transfer.push import Pusher
    from fedproxy.transfer.stager import Stager

_PROBE_S = 3.0


class ClientData:
    """One for each client; nothing is made before it is needed. Thread-safe."""

    def __init__(self, rest: RestClient) -> None:
        self._rest = rest
        self._lock = threading.Lock()
        self._stager: Stager | None = None
        self._pushers: dict[str, Pusher | None] = {}
        self._pid = os.getpid()
        use_finder(self.find)

    @property
    def stager(self) -> Stager:
        """Brings objects to this machine."""
        with self._lock:
            if self._stager is None or self._pid != os.getpid():
                from fedproxy.config.files import load_transfer
                from fedproxy.transfer.setup import build_stager, offers
                from fedproxy.transfer.stager import Here

                config, site = load_transfer(), default_site()
                self._pid = os.getpid()
                self._stager = build_stager(self._rest, _folder(), Here(site, "", offers(site, config)), config)
            return self._stager

    def find(self, refs: Sequence[Ref]) -> list[Buffer]:
        """The bytes of objects at other sites; fetched if they are not here. Raises what a proxy's resolution raises."""
        from fedproxy.transfer.objects import Wanted

        stager = self.stager
        wanted = [Wanted.of(ref) for ref in refs]
        waiters = stager.stage_all(wanted)
        try:
            with shown(stager, sum(ref.size for ref in refs)):
                for waiter in waiters:
                    waiter.result()
        except BaseException:
            for waiter in waiters:
                waiter.cancel()
            raise
        return [_present(stager.parts.space.find(each), ref) for each, ref in zip(wanted, refs, strict=True)]

    def pusher(self, info: EndpointInfo) -> Pusher | None:
        """What takes large arguments for an endpoint that shares no store with this machine; None where nothing does."""
        with self._lock:
            if info.id not in self._pushers:
                self._pushers[info.id] = self._make_pusher(info)
            return self._pushers[info.id]

    def _make_pusher(self, info: EndpointInfo) -> Pusher | None:
        from fedproxy.config.files import load_transfer
        from fedproxy.transfer.push import Pusher, Target
        from fedproxy.transfer.service_link import ServiceLink

        config, link = load_transfer(), ServiceLink(self._rest)
        if "direct" in config.routes and info.data_url and _answers(info):
            target = Target(info.site, info.id, info.data_url, info.replicas)
        elif "relay" in config.routes and link.atlas().relay:
            target = Target()
        else:
            return None
        return Pusher(link, target, _folder() / "outbox", streams=config.streams, stall_s=config.stall_s)

    def close(self) -> None:
        """Stop fetching and pushing. Idempotent."""
        drop_finder(self.find)
        with self._lock:
            stager, self._stager = self._stager, None
            pushers, self._pushers = self._pushers, {}
        for pusher in pushers.values():
            if pusher is not None:
                pusher.close()
        if stager is not None and self._pid == os.getpid():
            stager.close()


def _present(data: Buffer | None, ref: Ref) -> Buffer:
    if data is None:
        raise DataLostError("the object was fetched, but its copy is gone", key=ref.key, store=ref.store, site=ref.site)
    return data


def _folder() -> Path:
    return home() / "client"


def _answers(info: EndpointInfo) -> bool:
    """Whether the endpoint's data server can be reached from here."""
    split = urlsplit(info.data_url)
    if split.hostname in ("127.0.0.1", "::1", "localhost") and info.host != host_id():
        return False
    try:
        socket.create_connection((split.hostname or "", split.port or 80), timeout=_PROBE_S).close()
    except OSError:
        return False
    return True

