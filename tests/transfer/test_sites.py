"""Functions at one site on data at another, by every route: forced once, chosen once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from tests.transfer.sites import Sites, at_site

MB = 1_000_000


def total(array: np.ndarray) -> float:
    return float(array.sum())


def doubled(array: np.ndarray) -> np.ndarray:
    return array * 2


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    with at_site("A", tmp_path), Sites(tmp_path) as made:
        yield made


@pytest.fixture
def client(sites: Sites) -> Iterator[Client]:
    with sites.client() as made:
        yield made


def test_client_at_a_function_at_b_on_data_at_a_result_used_at_c(sites: Sites, client: Client) -> None:
    for site in ("A", "B", "C"):
        sites.start(site)
    data = np.arange(MB, dtype=float)
    at_a = sites.store("A").proxy(data)
    made = Executor("B", client=client).submit(doubled, at_a)
    assert Executor("C", client=client).submit(total, made).result(60) == 2 * data.sum()
    assert made.result(60)[-1] == 2 * (MB - 1)
    moved = {(str(each["source"]), str(each["destination"]), str(each["route"])) for each in sites.wait_for_transfers(client, 3)}
    assert moved == {("A", "B", "direct"), ("B", "C", "direct"), ("B", "A", "direct")}


def test_many_tasks_on_one_object_cause_one_transfer(sites: Sites, client: Client) -> None:
    sites.start("A")
    sites.start("B", 2)
    at_a = sites.store("A").proxy(np.ones(MB))
    futures = [Executor("B", client=client).submit(total, at_a) for _ in range(20)]
    assert {future.result(60) for future in futures} == {MB}
    (moved,) = sites.wait_for_transfers(client, 1)
    assert moved["done"] == moved["size"]


def test_a_large_argument_of_a_client_that_nobody_can_reach_is_pushed(sites: Sites, client: Client) -> None:
    sites.start("B")
    executor = Executor("B", client=client)
    result = executor.submit(doubled, np.ones(MB))
    assert float(np.asarray(result.result(60)).sum()) == 2 * MB
    assert client.service_stats()["bytes_in"] < 100_000
    assert client.service_stats()["bytes_out"] < 100_000


def lengths(values: list[bytes]) -> int:
    return sum(len(value) for value in values)


def test_many_small_objects_are_brought_before_the_task_starts_also_when_their_proxies_are_a_large_argument(sites: Sites, client: Client) -> None:
    sites.start("A")
    sites.start("B")
    store = sites.store("A")
    proxies = [store.proxy(bytes([number % 256]) * 5_000) for number in range(600)]
    future = Executor("B", client=client).submit(lengths, proxies)
    assert future.result(60) == 600 * 5_000
    moved = [each for each in sites.wait_for_transfers(client, 600) if each["destination"] == "B"]
    assert len(moved) == 600
    line = future.timeline()
    assert max(float(str(each["ended"])) for each in moved) <= line["started"] + 0.05, "all of them by prefetch"
