"""What runs inside the namespaces of `tests.transfer.islands`: ``python -m tests.transfer.islander WHAT ARGUMENTS``, ended by the end of standard input.

``client``: asked over pipes, one JSON object per line; ``web``: serves a folder; ``clouds``: S3, and the stand-in for Globus.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.errors import FedproxyError
from fedproxy.store import Store, ref_of
from fedproxy.store.ref import Ref

MB = 1_000_000


def doubled(array: np.ndarray) -> np.ndarray:
    return array * 2


def total(array: np.ndarray) -> float:
    return float(array.sum())


def read_in_place(ref: bytes) -> str:
    """What comes of reading another site's store without any transfer."""
    from fedproxy.store import Ref, Store

    told = Ref.from_bytes(ref)
    try:
        found = Store.from_url(told.store).connector.get(told.key)
    except Exception as exc:
        return type(exc).__name__
    return "nothing" if found is None else f"{len(found)} bytes"


class ClientAtA:
    """A client inside a namespace."""

    def __init__(self) -> None:
        self.client = Client()

    def do_store(self, url: str) -> str:
        """Make a store here; how refs name it."""
        return Store.from_url(url).url

    def do_story(self, url: str) -> dict[str, Any]:
        """Data here, doubled at B, summed at C, the doubled looked at here."""
        data = np.arange(MB, dtype=float)
        here = Store.from_url(url).proxy(data)
        ref = _ref(here)
        made = Executor("B", client=self.client).submit(doubled, here)
        summed = Executor("C", client=self.client).submit(total, made).result(60)
        second = _ref(made.result(60))
        return {
            "sum": summed, "expected": float(2 * data.sum()), "last": float(made.result(60)[-1]), "size": ref.size,
            "stores": [ref.store, second.store], "moved": self.moved(ref.object_id, 1) + self.moved(second.object_id, 2),
            "in_place": [Executor(site, client=self.client).submit(read_in_place, each.to_bytes()).result(60) for site, each in (
                ("B", ref), ("C", ref), ("C", second))]}

    def do_move(self, url: str, source: str, destination: str) -> dict[str, Any]:
        """A fresh object of one site at another; how it got there."""
        store = Store.from_url(url)
        store.site = source
        data = np.random.default_rng(7).random(MB)
        proxy = store.proxy(data)
        assert Executor(destination, client=self.client).submit(total, proxy).result(60) == data.sum()
        (told,) = self.moved(_ref(proxy).object_id, 1)
        return told

    def do_traffic(self) -> int:
        """Bytes that have passed the service's API."""
        told = self.client.service_stats()
        return int(told["bytes_in"] + told["bytes_out"])

    def moved(self, name: str, count: int) -> list[dict[str, Any]]:
        """Reports come within a second or so."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            told = [each for each in self.client.rest.json("GET", "/v1/transfers") if each["object"] == name and each["state"] == "done"]
            if len(told) >= count:
                return told
            time.sleep(0.05)
        raise AssertionError(f"waited in vain for {count} transfers of {name}")


def _ref(proxy: object) -> Ref:
    ref = ref_of(proxy)  # type: ignore[arg-type]
    assert ref is not None
    return ref


def client() -> None:
    made = ClientAtA()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"answer": getattr(made, f"do_{asked.pop('what')}")(**asked)}
        except (FedproxyError, AssertionError, OSError) as exc:
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), flush=True)


def web(folder: str, address: str) -> None:
    from tests.transfer.web import web_server

    with web_server(Path(folder), address) as url:
        print(json.dumps(url), flush=True)
        sys.stdin.read()


def clouds(address: str, *folders: str) -> None:
    from fedproxy.testing import servers
    from fedproxy.testing.globus import GlobusStandIn

    with servers.s3_server(address=address) as s3, GlobusStandIn(host=address) as globus:
        identity, secret = globus.confidential_client()
        environment = {**globus.environment, "FEDPROXY_GLOBUS_CLIENT_ID": identity, "FEDPROXY_GLOBUS_CLIENT_SECRET": secret}
        told = {"s3": s3, "environment": environment, "collections": [globus.collection(Path(folder)) for folder in folders]}
        print(json.dumps(told), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    {"client": client, "web": web, "clouds": clouds}[sys.argv[1]](*sys.argv[2:])
