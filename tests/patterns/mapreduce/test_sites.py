"""Maps at two sites that share nothing but the service; what they made meets at one of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedproxy.patterns import mapreduce
from fedproxy.patterns.mapreduce import Options
from tests.transfer.sites import Sites, at_site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    made = Sites(tmp_path_factory.mktemp("sites"))
    with at_site("laptop", made.folder), made:
        made.start("home", allowed_hosts=("127.0.0.1",))
        made.start("far")
        yield made


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Each site has data of its own."""
    rng = random.Random(7)
    found = {}
    for site in ("home", "far"):
        path = tmp_path_factory.mktemp(site) / "text.txt"
        path.write_bytes(b"".join(b" ".join(b"%s%d" % (site.encode(), rng.randrange(3000)) for _ in range(8)) + b"\n" for _ in range(30_000)))
        found[site] = [str(path)]
    return found


def words_of(batch: mapreduce.Batch) -> Counter[bytes]:
    return Counter(batch.data.split())


@pytest.mark.parametrize("merge", [None, True])
def test_blocks_come_by_the_transfer_layer_and_are_fewer_bytes_than_the_input(sites: Sites, inputs: dict[str, list[str]], merge: bool | None) -> None:
    with sites.client() as client:
        before = len(sites.transfers(client))
        result = mapreduce.run(
            mapreduce.counts(words_of), inputs, endpoints=["home"], client=client, options=Options(maps=6, reduces=3, merge=merge, timeout_s=100))
        want = Counter(word for paths in inputs.values() for word in Path(paths[0]).read_bytes().split())
        assert dict(result.items()) == want
        assert len(sites.wait_for_transfers(client, before + (1 if merge else 3))) > before
    assert result.moved.input_elsewhere == Path(inputs["far"][0]).stat().st_size
    assert 0 < result.moved.across_sites < result.moved.input_elsewhere / 4
    for site in ("home", "far"):
        assert list(sites.store(site).connector.entries()) == []  # type: ignore[attr-defined]


def test_lines_of_two_sites_are_sorted_at_one(sites: Sites, inputs: dict[str, list[str]], tmp_path: Path) -> None:
    with sites.client() as client:
        result = mapreduce.run(
            mapreduce.sorted_lines(), inputs, endpoints=["home"], client=client, output=str(tmp_path / "out"),
            options=Options(maps=4, reduces=2, timeout_s=100))
    written = b"".join(path.read_bytes() for path in sorted((tmp_path / "out").iterdir()))
    assert written == b"".join(sorted(line for paths in inputs.values() for line in Path(paths[0]).read_bytes().splitlines(keepends=True)))
    assert result.moved.across_sites > 0
