from __future__ import annotations

import json

import pytest

from fedproxy.store import Store


@pytest.fixture
def folder(tmp_path):
    return f"file://{tmp_path / 'store'}"


def test_a_store_lists_its_objects(cli, folder):
    with Store.from_url(folder) as store:
        kept = store.put(b"x" * 5000)
        expiring = store.put(b"y" * 100, ttl=3600)
    told = {each["key"]: each for each in json.loads(cli("store", "list", folder, "--json").stdout)}
    assert set(told) == {kept.key, expiring.key}
    assert told[kept.key]["size_bytes"] == kept.size
    assert told[kept.key]["expires_in_s"] is None
    assert 3000 < told[expiring.key]["expires_in_s"] <= 3600
    assert kept.key in cli("store", "list", folder).stdout


def test_a_home_lists_its_endpoints_stores(cli, folder):
    cli("endpoint", "configure", "lab", "--store", folder)
    with Store.from_url(folder) as store:
        ref = store.put(b"x" * 5000)
    (told,) = json.loads(cli("store", "list", "--json").stdout)
    assert (told["store"], told["objects"], told["size_bytes"]) == (folder, 1, ref.size)
    assert json.loads(cli("store", "gc", "--json").stdout) == {folder: 0}


def test_a_home_without_stores_says_so(cli):
    assert "no store is there yet" in cli("store", "list").stdout
    assert cli("store", "bench").returncode == 1


def test_a_measured_store_is_as_empty_as_before(cli, folder):
    done = cli("store", "bench", folder, "--max-bytes", "100000", "--json")
    assert done.returncode == 0, done.stderr
    speeds = json.loads(done.stdout)["speeds"]
    assert [each["size_bytes"] for each in speeds] == [1_000, 100_000]
    assert all(each["put_s"] > 0 and each["get_s"] > 0 for each in speeds)
    assert json.loads(cli("store", "list", folder, "--json").stdout) == []


def test_a_wrong_url_is_one_line(cli):
    for command in ("list", "gc", "bench"):
        done = cli("store", command, "nonsense://x")
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr
