"""What a site offers, as its endpoints tell the service. Never a secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, field, frozen


@frozen
class GlobusOffer:
    """A Globus collection that holds files of the site's stores."""

    collection: str = ""
    """Its UUID; empty: none."""
    base_path: str = "/"
    """The collection's path of ``folder``."""
    folder: str = ""
    """The same folder as the site's machines see it."""


@frozen
class Endpoint:
    """One endpoint of a site: who can be asked to send."""

    id: str
    name: str
    online: bool
    seen: float | None = None
    """When it was last heard of, seconds since the epoch."""
    host: str = ""
    data_url: str = ""
    """Its data server; empty: none."""
    replicas: str = ""
    """The store of the copies it has staged."""


@frozen
class Site:
    """All that the endpoints of one site offer together."""

    name: str
    endpoints: tuple[Endpoint, ...] = ()
    stores: frozenset[str] = frozenset()
    buckets: tuple[str, ...] = ()
    """Shared object storage that the site can read and write: fsspec URLs of folders."""
    published: Mapping[str, str] = field(factory=dict)
    """Store URL → fsspec URL under which everybody who may can read its objects: URL/KEY."""
    globus: GlobusOffer = GlobusOffer()

    @property
    def online(self) -> bool:
        """Whether anybody there can be asked for anything."""
        return any(endpoint.online for endpoint in self.endpoints)


def sites_from(descriptions: Iterable[Mapping[str, Any]]) -> dict[str, Site]:
    """Sites by name, from the endpoints as the service describes them."""
    found: dict[str, Site] = {}
    for described in descriptions:
        profile = described.get("profile", {})
        name = str(profile.get("site", ""))
        found[name] = _with(found.get(name, Site(name)), described, profile)
    return found


def _with(site: Site, described: Mapping[str, Any], profile: Mapping[str, Any]) -> Site:
    endpoint = Endpoint(
        str(described["id"]), str(described["name"]), bool(described["online"]), described.get("last_seen"), str(profile.get("host", "")),
        str(profile.get("data_url", "")), str(profile.get("replicas", "")))
    globus = site.globus if site.globus.collection else GlobusOffer(**profile.get("globus", {}))
    return evolve(
        site, endpoints=(*site.endpoints, endpoint), globus=globus,
        stores=site.stores | frozenset(profile.get("stores", ())) | ({endpoint.replicas} if endpoint.replicas else frozenset()),
        buckets=tuple(dict.fromkeys((*site.buckets, *profile.get("buckets", ())))),
        published={**site.published, **profile.get("published", {})})
