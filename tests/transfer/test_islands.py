"""Three sites that share nothing but a network: client and data at A, functions at B and C; between A and B each route forced once and chosen once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedproxy.config.service import RelayConfig
from fedproxy.endpoint.redis_node import free_port, redis_binary
from tests.transfer.islands import HUB, Islands, Program, islands

pytestmark = pytest.mark.slow


def test_client_at_a_function_at_b_on_data_at_a_result_used_at_c(tmp_path: Path) -> None:
    """A has shared memory, B a Redis on its loopback, C files."""
    sites = islands(tmp_path, "ABC")
    try:
        sites.start_service()
        port = free_port()
        redis = redis_binary()
        assert redis is not None
        sites.run("B", redis, "--port", str(port), "--bind", "127.0.0.1", "--save", "")
        at_a, at_b = "shm://localhost/A", f"redis://127.0.0.1:{port}"
        for site, store in (("A", at_a), ("B", at_b), ("C", f"file://{sites.here}/store")):
            sites.start(site, site, store)
        client = sites.program("A", "client", site="A")
        sites.wait()
        told = client.ask("story", url=at_a)
    finally:
        sites.stop()
    assert told["sum"] == told["expected"]
    assert told["last"] == 2 * 999_999
    assert told["stores"][0].startswith("shm://")
    assert told["stores"][1] == at_b
    assert {(each["source"] + each["destination"], each["route"]) for each in told["moved"]} == {("AB", "direct"), ("BC", "direct"), ("BA", "direct")}
    assert not [found for found in told["in_place"] if "bytes" in found], "the sites are not apart"


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Islands]:
    made = islands(tmp_path_factory.mktemp("islands"), "AB")
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def client(sites: Islands) -> Program:
    """At A sources: ``all`` offers every route, the others one each. At B destinations: ``only-…`` may use one route, ``any`` all of them."""
    collections = {site: sites.folder(island) / f"shown-{site}" for site, island in (("all", "A"), ("lab", "A"), ("only-globus", "B"), ("any", "B"))}
    clouds = sites.program("hub", "clouds", HUB, *map(str, collections.values())).told
    sites.extra = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1", **clouds["environment"]}
    shown = {
        site: {"globus_collection": collection, "globus_base_path": "/", "globus_folder": f"{sites.here}/shown-{site}"}
        for site, collection in zip(collections, clouds["collections"], strict=True)}
    bucket = {"buckets": (f"s3://bucket/shared?endpoint_url={clouds['s3']}",)}
    web = sites.program("A", "web", str(sites.here), sites.address["A"]).told
    sites.start_service(relay=RelayConfig(mode="always"))
    client = sites.program("A", "client", site="laptop")

    def published(site: str) -> dict[str, object]:
        return {"published": (f"{client.ask('store', url=store(sites, site))}={web}/store-{site}",)}

    nowhere = {"data_host": ""}
    for site, offer in {
        "all": {**bucket, **shown["all"], **published("all")}, "lab": {**nowhere, **shown["lab"]}, "web": {**nowhere, **published("web")},
        "cloud": {**nowhere, **bucket}, "hidden": nowhere,
    }.items():
        sites.start(site, "A", store(sites, site), **offer)
    here = {"allowed_hosts": (sites.address["A"],), **bucket}
    for route in ("bucket", "direct", "url", "relay"):
        sites.start(f"only-{route}", "B", store(sites, f"only-{route}"), routes=(route,), **here)
    sites.start("only-globus", "B", store(sites, "only-globus"), routes=("globus",), **shown["only-globus"])
    measured = sites.folder("B") / "any" / "endpoints" / "any" / "data" / "speeds.json"
    measured.parent.mkdir(parents=True)
    measured.write_text(json.dumps([{"source": "lab", "here": "any", "route": "globus", "setup_s": 0.01, "bytes_per_s": 1e9, "samples": 3}]))
    sites.start("any", "B", store(sites, "any"), **here, **shown["any"])
    sites.wait()
    return client


def store(sites: Islands, site: str) -> str:
    return f"file://{sites.here}/store-{site}"


@pytest.mark.parametrize("route", ["bucket", "globus", "direct", "url", "relay"])
def test_each_route_leads_from_a_to_b_where_it_is_the_only_one_allowed(sites: Islands, client: Program, route: str) -> None:
    told = client.ask("move", url=store(sites, "all"), source="all", destination=f"only-{route}")
    assert (told["route"], told["source"]) == (route, "all")


@pytest.mark.parametrize(("source", "route"), [("all", "direct"), ("lab", "globus"), ("web", "url"), ("cloud", "bucket"), ("hidden", "relay")])
def test_each_route_is_chosen_from_a_to_b_where_it_is_the_best_there_is(sites: Islands, client: Program, source: str, route: str) -> None:
    told = client.ask("move", url=store(sites, source), source=source, destination="any")
    assert told["route"] == route
    assert str(told["explain"]).startswith(f"{route} from {source}: ")
