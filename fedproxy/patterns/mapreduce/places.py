"""Where a job runs and where its intermediate data goes: endpoints, their sites, their stores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

from attrs import field, frozen

from fedproxy import Client, Executor, Store
from fedproxy.errors import ConfigError, FedproxyError, StoreError
from fedproxy.store import proxy_from_ref, reachable
from fedproxy.store.ref import Ref
from fedproxy.store.urls import StoreUrl

T = TypeVar("T")
KINDS = {
    "redis": ("redis", "rediss", "redis+unix", "rediscluster", "redisscluster"), "file": ("file",), "shm": ("shm",), "s3": ("s3", "s3a"),
}
_PLAIN = ("shm", "memory", "file")
"""Media that are as fast as LZ4."""


@frozen
class Place:
    """One endpoint."""

    name: str
    site: str
    workers: int
    stores: tuple[str, ...]
    """Where it writes intermediate data: the first that takes it."""
    shared: tuple[str, ...]
    """Its stores that this process reaches too."""
    executor: Executor = field(repr=False)

    def hand_out(self, value: T, ttl_s: float) -> tuple[T, Ref | None]:
        """``value`` as a proxy in a store that both sides reach, and the ref to evict; or itself where there is none."""
        for url in self.shared:
            with suppress(StoreError):
                ref = Store.from_url(url).put(value, ttl=ttl_s)
                return proxy_from_ref(ref), ref
        return value, None


def find_places(client: Client, endpoints: Sequence[str], store: str | Sequence[str] | None) -> list[Place]:
    """The endpoints, each with the stores that ``store`` chooses.

    Raises:
        UnknownEndpointError: there is no such endpoint.
        ConfigError: an endpoint has no store of that kind.
    """
    if not endpoints:
        raise ConfigError("a job needs an endpoint", hint="endpoints=['local']")
    return [_place(client, name, store) for name in dict.fromkeys(endpoints)]


def _place(client: Client, name: str, store: str | Sequence[str] | None) -> Place:
    status = client.get_endpoint_status(name)
    profile: dict[str, Any] = status["profile"]
    known = tuple(profile.get("stores", ()))
    workers = int(status.get("workers") or profile.get("workers") or 1)
    chosen = choose_stores(name, known, store)
    shared = tuple(url for url in known if reachable(url))
    return Place(name, str(profile.get("site", "")), workers, chosen, shared, Executor(name, client=client))


def choose_stores(endpoint: str, known: Sequence[str], wanted: str | Sequence[str] | None) -> tuple[str, ...]:
    """Where intermediate data goes, first choice first; files are the last resort. Pure.

    Args:
        known: the endpoint's stores.
        wanted: None (its stores as they are), a kind (``redis``, ``file``, ``shm``, ``s3``), or store URLs.

    Raises:
        ConfigError: it has no store of that kind.
    """
    known = [bare(url) for url in known]
    files = [url for url in known if url.startswith("file:")]
    if wanted is None:
        first = known
    elif isinstance(wanted, str) and "://" not in wanted:
        first = [url for url in known if StoreUrl.parse(url).scheme in KINDS.get(wanted, (wanted,))]
        if not first:
            raise ConfigError(f"endpoint {endpoint!r} has no {wanted} store", hint=f"it has {', '.join(known) or 'none'}; or give a store's URL")
    else:
        first = [wanted] if isinstance(wanted, str) else list(wanted)
    return tuple(dict.fromkeys([*map(bare, first), *files]))


def bare(url: str) -> str:
    """The URL without secrets, which tasks must not carry, without a store's own options, which mean nothing for blocks, and of the store itself
    where a cache for the node is before it: each segment is read once.
    """
    inner = StoreUrl.parse(url)
    if inner.scheme == "nodecache" and "store" in inner.options:
        return bare(inner.options["store"])
    return StoreUrl.parse(StoreUrl.parse(url).connector_url()).public()


def pays_to_compress(stores: Sequence[str], *, across_sites: bool) -> bool:
    """Whether blocks are compressed unless told otherwise: not where the medium is memory or the page cache."""
    return across_sites or StoreUrl.parse(stores[0]).scheme not in _PLAIN


def evict_all(urls: Sequence[str], keys: Sequence[str]) -> None:
    """Remove ``keys`` from each of the stores; what is gone or cannot be reached is passed over. Runs here or at an endpoint."""
    for url in urls:
        with suppress(FedproxyError):
            Store.from_url(url).evict_batch(list(keys))
