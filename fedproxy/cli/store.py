"""``fedproxy store``: what the stores of this home hold, what they may forget, and how fast they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

from attrs import asdict, frozen
from cyclopts import App, Parameter

from fedproxy.cli import exits, output
from fedproxy.config import files
from fedproxy.errors import ConfigError, FedproxyError

if TYPE_CHECKING:
    from fedproxy.store import Store
    from fedproxy.store.connectors.base import SupportsList

app = App(name="store", help="Stores: where the data is.")

Json = Annotated[bool, Parameter(name="--json")]
BENCH_SIZES = (1_000, 100_000, 1_000_000, 10_000_000, 100_000_000)


@frozen
class Holding:
    """What one store holds."""

    store: str
    objects: int
    size_bytes: int


@frozen
class Speed:
    """How long one object of a size takes (medians)."""

    size_bytes: int
    put_s: float
    get_s: float
    """Until the object, a `bytes`, is there."""
    repeats: int


@app.command(name="list")
def list_stores(url: str = "", *, json: Json = False) -> int:
    """The stores of this home's endpoints and how much each holds; with a URL, the objects in that store.

    Parameters
    ----------
    url
        Store URL.
    json
        One JSON document.
    """
    if url:
        return _list_objects(url, json=json)
    found = [holding for each in _urls() for holding in _holding(each)]
    if json:
        output.emit_json([asdict(each) for each in found])
    elif found:
        rows = [(each.store, each.objects, output.human_bytes(each.size_bytes)) for each in found]
        output.table("Stores", ("store", "objects", "bytes"), rows, right=("objects", "bytes"))
    else:
        output.say("no store is there yet; stores are made by their first use")
    return exits.OK


@app.command
def gc(url: str = "", *, json: Json = False) -> int:
    """Remove what has expired and what dead processes left behind.

    Parameters
    ----------
    url
        Store URL (default: every store of this home's endpoints).
    json
        One JSON document.
    """
    removed = {output.without_secrets(each): listed.gc() for each in _urls(url) for listed in _listed(each)}
    if json:
        output.emit_json(removed)
        return exits.OK
    for name, count in removed.items():
        output.say(f"{name}: {count} removed")
    return exits.OK


@app.command
def bench(url: str = "", *, max_bytes: int = BENCH_SIZES[-1], json: Json = False) -> int:
    """How long objects of growing sizes take to a store and back.

    Parameters
    ----------
    url
        Store URL (default: the first store of this home's endpoints).
    max_bytes
        Largest object.
    json
        One JSON document.
    """
    wanted = url or next(iter(_urls()), "")
    if not wanted:
        raise ConfigError("no store to measure", hint="name one: fedproxy store bench file:///tmp/store")
    with _open(wanted) as store:
        speeds = [_measure(store, size) for size in BENCH_SIZES if size <= max_bytes]
    if json:
        output.emit_json({"store": output.without_secrets(wanted), "speeds": [asdict(each) for each in speeds]})
        return exits.OK
    rows = [
        (output.human_bytes(each.size_bytes), f"{each.put_s * 1e3:.3f}", f"{each.get_s * 1e3:.3f}",
         _rate(each.size_bytes, each.put_s), _rate(each.size_bytes, each.get_s))
        for each in speeds
    ]
    columns = ("object", "put ms", "get ms", "put MB/s", "get MB/s")
    output.table(f"Store {output.without_secrets(wanted)}", columns, rows, right=columns)
    return exits.OK


def _measure(store: Store, size_bytes: int) -> Speed:
    """Put and get an object that no codec shrinks, a few times; nothing of it stays in the store."""
    import os

    repeats = 3 if size_bytes > 10_000_000 else 10
    data = os.urandom(size_bytes)
    puts, gets = [], []
    for _ in range(repeats):
        ref, seconds = _timed(partial(store.put, data))
        puts.append(seconds)
        back, seconds = _timed(partial(store.get, ref))
        gets.append(seconds)
        store.evict(ref)
        if back != data:
            raise FedproxyError(f"{store!r} gave back other bytes than it got")
    return Speed(size_bytes, median(puts), median(gets), repeats)


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    value = call()
    return value, time.perf_counter() - began


def _rate(size_bytes: int, seconds: float) -> str:
    return f"{size_bytes / seconds / 1e6:,.0f}" if seconds else ""


def _list_objects(url: str, *, json: bool) -> int:
    entries = sorted((each for listed in _listed(url) for each in listed.entries()), key=lambda each: each.key)
    if json:
        output.emit_json([asdict(each) for each in entries])
        return exits.OK
    rows = [
        (each.key, output.human_bytes(each.size_bytes), each.expires_in_s and output.human_seconds(each.expires_in_s))
        for each in entries
    ]
    output.table(output.without_secrets(url), ("key", "bytes", "expires in"), rows, right=("bytes", "expires in"))
    return exits.OK


def _urls(url: str = "") -> list[str]:
    """``url``, or the stores of all endpoints of this home that this process can use, each once."""
    if url:
        return [url]
    from fedproxy.store import reachable

    known = dict.fromkeys(
        each for name in files.endpoint_names() for each in files.load_endpoint(name).value.store_urls()
    )
    return [each for each in known if reachable(each)]


def _holding(url: str) -> Iterable[Holding]:
    for listed in _listed(url):
        sizes = [entry.size_bytes for entry in listed.entries()]
        yield Holding(output.without_secrets(url), len(sizes), sum(sizes))


def _listed(url: str) -> list[SupportsList]:
    """The store's connector, if it can say what it holds."""
    from fedproxy.store.connectors.base import SupportsList

    connector = _open(url).connector
    return [connector] if isinstance(connector, SupportsList) else []


def _open(url: str) -> Store:
    from fedproxy.store import Store

    return Store.from_url(url)
