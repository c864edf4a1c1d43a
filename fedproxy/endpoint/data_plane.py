"""What an agent has of the data plane: room for copies, a data server, a stager. Opened before the endpoint registers, because its profile names them."""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define

from fedproxy.config.endpoint import EndpointConfig
from fedproxy.config.home import write_private
from fedproxy.protocol.messages import Export
from fedproxy.store.elsewhere import STAGER_VARIABLE, at_hand
from fedproxy.store.ref import Ref
from fedproxy.transfer.data_server import DataServer
from fedproxy.transfer.file_stager import FileStager
from fedproxy.transfer.objects import Replica, Wanted
from fedproxy.transfer.plan import is_loopback
from fedproxy.transfer.remote_file import is_file
from fedproxy.transfer.routes.base import Outgoing
from fedproxy.transfer.setup import build_stager, offers, published
from fedproxy.transfer.space import Space
from fedproxy.transfer.stager import Here, Stager
from fedproxy.wire.rest import RestClient

log = logging.getLogger(__name__)


@define
class DataPlane:
    """One agent's. ``stager`` is there once the endpoint is registered (`start`)."""

    config: EndpointConfig
    folder: Path
    space: Space
    server: DataServer
    token: str
    files: FileStager
    stager: Stager | None = None
    rest: RestClient | None = None

    def profile(self) -> dict[str, object]:
        """What the endpoint tells of it. Never a secret."""
        config = self.config.transfer
        return {
            "data_url": (config.data_url or self.server.url) if config.data_host else "", "replicas": self.space.url,
            "buckets": list(config.buckets), "published": published(config),
            "globus": {"collection": config.globus_collection, "base_path": config.globus_base_path, "folder": config.globus_folder}}

    def start(self, rest: RestClient, endpoint_id: str) -> None:
        """The endpoint is registered: begin to stage. Tickets are accepted once the service has proved itself."""
        site = self.config.site
        self.rest = rest
        self.stager = build_stager(rest, self.folder, Here(site, endpoint_id, offers(site, self.config.transfer)), self.config.transfer, self.space)
        self.stager.own_stores = self.stores
        self.server.stage = self.stage_now
        log.info("data server at %s%s", self.server.url, "" if is_loopback(self.server.url) else ", open to other machines with tickets")

    def stage_now(self, refs: Sequence[Ref]) -> None:
        """Fetch objects for a worker; returns when all are here. Raises what the first that failed raised."""
        for waiter in self.stage(refs):
            waiter.result()

    def stage(self, refs: Sequence[Ref]) -> list[Future[None]]:
        """Have objects brought here."""
        assert self.stager is not None
        objects = iter(self.stager.stage_all([Wanted.of(ref) for ref in refs if not is_file(ref)]))
        files = iter(self.files.stage([ref for ref in refs if is_file(ref)]))
        return [next(files if is_file(ref) else objects) for ref in refs]

    def pin(self, ref: Ref) -> None:
        """A task needs it: it stays until `unpin`."""
        self.files.pin(ref.object_id) if is_file(ref) else self.space.pin(ref.object_id)

    def unpin(self, name: str) -> None:
        """See `pin`."""
        self.files.unpin(name)
        self.space.unpin(name)

    def elsewhere(self, refs: Sequence[Ref]) -> list[Ref]:
        """Those that cannot be read in place. May take a second for a store that was not asked before."""
        return [ref for ref in refs if is_file(ref) or not at_hand(ref)]

    def export(self, message: Export) -> None:
        """Make objects available to another site, in the background."""
        assert self.stager is not None
        outgoing = []
        for each in message.objects:
            lies = Replica(self.config.site, each.store, each.key)
            outgoing.append(Outgoing(Wanted(each.object, lies, each.size, bytes.fromhex(each.digest)), lies))
        self.stager.export(message.route, outgoing, message.place)

    def stores(self) -> tuple[str, ...]:
        """URLs of this site's own stores, as refs name them. Opens them."""
        return (*self.config.store_urls(), *self.server.shelves.known(), self.space.url)

    def status(self) -> dict[str, Any]:
        """For people: what is on its way, what has come, and what others were sent."""
        entries = self.stager.transfers() if self.stager is not None else []
        moving = [entry for entry in entries if entry.state in ("queued", "moving")]
        return {
            "transfers": len(moving), "moving_bytes": sum(e.done for e in moving), "moving_of_bytes": sum(e.wanted.size for e in moving),
            "staged_bytes": self.stager.staged_bytes if self.stager is not None else 0, "served_bytes": self.server.served_bytes}

    def close(self) -> None:
        """Stop; idempotent."""
        self.server.close()
        self.files.close()
        if self.stager is not None:
            self.stager.close()
        if self.rest is not None:
            self.rest.close()


@contextmanager
def data_plane(config: EndpointConfig, directory: Path) -> Iterator[DataPlane]:
    """Open it; its workers find it by ``FEDPROXY_STAGER``.

    Raises:
        ConfigError: the data server's address cannot be had, or an option is wrong.
    """
    folder, token = Path(config.transfer.folder or directory / "data"), secrets.token_urlsafe(32)
    space = Space(folder, config.transfer.space_bytes)
    server = DataServer((config.transfer.data_host or "127.0.0.1", config.transfer.data_port), config.store_urls(), space, token)
    files = FileStager(folder / "files", config.transfer)
    plane = DataPlane(config, folder, space, server, token, files)
    path = folder / "stager.json"
    write_private(path, json.dumps({
        "url": server.url, "token": token, "replicas": space.url, "site": config.site, "stores": list(config.store_urls()),
        "files": str(files.folder.absolute())}).encode())
    os.environ[STAGER_VARIABLE] = str(path)
    os.environ |= _own_collection(config)
    try:
        yield plane
    finally:
        plane.close()
        path.unlink(missing_ok=True)


def _own_collection(config: EndpointConfig) -> dict[str, str]:
    """Tells workers which Globus collection is this site's, for stores in collections."""
    transfer = config.transfer
    if not transfer.globus_collection:
        return {}
    told = {"COLLECTION": transfer.globus_collection, "BASE_PATH": transfer.globus_base_path, "FOLDER": transfer.globus_folder}
    return {f"FEDPROXY_TRANSFER_GLOBUS_{name}": value for name, value in told.items()}
