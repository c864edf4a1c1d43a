"""Blocks of sites whose stores cannot be read from where the reducers are: brought there whole, once, by the transfer layer.

Every reducer is at one site, so that all of such a block has to go there anyway. At its own site the block is offered as an object; the task
that takes it has a proxy of it, so that the endpoint fetches it by whatever route there is between the sites, while that task waits.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from fedproxy.patterns.mapreduce.peak import Peak
from fedproxy.patterns.mapreduce.plan import Made, Plan, Spent, resolved
from fedproxy.patterns.mapreduce.tasks import Stopwatch
from fedproxy.patterns.shuffle.manifest import Manifest, Source, block_key
from fedproxy.patterns.shuffle.reader import Account, whole_blocks
from fedproxy.patterns.shuffle.writer import Place, write
from fedproxy.store import Ref, Store
from fedproxy.store.elsewhere import at_hand

CARRIED = "c"


@frozen
class Offered:
    """A block as an object that other sites can ask for."""

    index: int
    ref: Ref
    offsets: bytes


def out_of_reach(stores: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of (store URL, site) that cannot be read here, or may not be. Runs where the reducers will."""
    return [(url, site) for url, site in stores if not at_hand(Ref(url, "any", 0, b"", site))]


def offer(plan: Plan, source: Source, ttl_s: float) -> Offered:
    """At the block's own site: put it where the site's other objects are."""
    plan = resolved(plan)
    account = Account()
    blocks = [block for _, block in whole_blocks(Manifest(plan.shuffle, [source]), plan.partitioner.reduces, account)]
    store = Store.from_url(source.store)
    ref = store.put(bytes(blocks[0]) if blocks else b"", ttl=ttl_s)
    return Offered(source.index, Ref(ref.store, ref.key, ref.size, ref.digest, source.site), source.offsets)


def take(plan: Plan, endpoint: str, block: Any, offsets: bytes, site: str, index: int, attempt: int) -> Made:
    """At the reducers' site: write a block that came from ``site`` into a store of this one."""
    peak = Peak()
    plan, watch = resolved(plan), Stopwatch()
    view = memoryview(resolved(block))
    watch.lap("intermediate read")
    sizes = Source(index, attempt, "", site, offsets).sizes()
    columns, at = [], 0
    for size in sizes:
        columns.append([view[at : at + size]] if size else [])
        at += size
    source = write(columns, Place(block_key(plan.shuffle, CARRIED, index, attempt), index, attempt, CARRIED), plan.targets[endpoint])
    watch.lap("intermediate write")
    return Made(source, Spent(watch.seconds, from_site={site: len(view)}, peak_rss_bytes=peak.nbytes()))


def evict_offered(refs: list[Ref]) -> None:
    """At the site of the offered objects: they have been taken."""
    for ref in refs:
        Store.from_url(ref.store).evict(ref)
