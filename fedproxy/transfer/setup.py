"""A stager from configuration."""

from __future__ import annotations

import re
from pathlib import Path

from fedproxy.config.endpoint import Transfer
from fedproxy.errors import ConfigError
from fedproxy.store.connectors.globus_client import Globus, Pace
from fedproxy.transfer.guard import Guard
from fedproxy.transfer.plan import NAMES
from fedproxy.transfer.routes.base import Route
from fedproxy.transfer.routes.bucket import BucketRoute
from fedproxy.transfer.routes.direct import DirectRoute
from fedproxy.transfer.routes.globus import GlobusRoute
from fedproxy.transfer.routes.relay import RelayRoute
from fedproxy.transfer.routes.url import UrlRoute
from fedproxy.transfer.service_link import ServiceLink
from fedproxy.transfer.sites import GlobusOffer, Site
from fedproxy.transfer.space import Space
from fedproxy.transfer.speeds import Speeds
from fedproxy.transfer.stager import Here, Limits, Parts, Stager
from fedproxy.wire.rest import RestClient

_PUBLISHED = re.compile(r"(.+://.+)=([a-z][a-z0-9+.-]*://.+)")


def offers(site: str, config: Transfer) -> Site:
    """What this side has for routes."""
    return Site(
        site, buckets=config.buckets, published=published(config), globus=GlobusOffer(
            config.globus_collection, config.globus_base_path, config.globus_folder))


def published(config: Transfer) -> dict[str, str]:
    """Store URL → URL.

    Raises:
        ConfigError: an entry is not ``STORE_URL=URL``.
    """
    found = {}
    for entry in config.published:
        parts = _PUBLISHED.fullmatch(entry)
        if parts is None:
            raise ConfigError(f"transfer.published: not STORE_URL=URL: {entry!r}")
        found[parts[1]] = parts[2]
    return found


def routes(config: Transfer, link: ServiceLink, folder: Path) -> dict[str, Route]:
    """Those that the configuration allows; ``folder`` outlives the process.

    Raises:
        ConfigError: there is no such route.
    """
    made: dict[str, Route] = {
        "bucket": BucketRoute(link),
        "globus": GlobusRoute(link, Globus(pace=Pace.of(config.stall_s)), notes=folder / "globus.json"),
        "direct": DirectRoute(link, streams=config.streams, stall_s=config.stall_s),
        "url": UrlRoute(Guard(config.allowed_hosts), stall_s=config.stall_s),
        "relay": RelayRoute(link, stall_s=config.stall_s),
    }
    unknown = set(config.routes) - set(NAMES)
    if unknown:
        raise ConfigError(f"transfer.routes: unknown route {min(unknown)!r}", hint=f"known: {', '.join(NAMES)}")
    return {name: made[name] for name in config.routes if name in made}


def build_stager(rest: RestClient, folder: Path, here: Here, config: Transfer, space: Space | None = None) -> Stager:
    """A stager that works in ``folder``."""
    link = ServiceLink(rest)
    parts = Parts(link, space or Space(folder, config.space_bytes), routes(config, link, folder), Speeds(folder / "speeds.json"))
    return Stager(here, parts, Limits(config.parallel_batches, config.give_up_s))
