from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cases import root_of
from benchmarks.catalogue import NAMES, PEERS, load, module_of
from benchmarks.cli import peers_of

REPOSITORY = Path(__file__).resolve().parents[2]
FIELDS = {"benchmark", "case", "system", "metric", "unit", "better", "median", "min", "max", "n", "params"}


def test_proxy_alone_prints_valid_rows_of_fedproxy_only(tmp_path):
    out = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "benchmarks", "proxy", "--quick", "--peers", "none", "--json", "--out", str(out)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert out.read_text() == done.stdout
    assert all(set(row) == FIELDS and row["min"] <= row["median"] <= row["max"] and row["n"] >= 1 for row in rows)
    assert {row["system"] for row in rows} == {"fedproxy"}
    assert {"getitem", "getattr", "call", "create", "pickle", "unpickle", "resolve", "pickled"} <= {row["case"] for row in rows}


def test_an_unknown_benchmark_names_those_there_are():
    done = subprocess.run([sys.executable, "-m", "benchmarks", "nonsense"], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "small-objects" in done.stderr


def test_peers_are_a_list_or_all_or_none():
    assert peers_of("dask,ray") == {"dask", "ray"}
    assert peers_of("none") == frozenset()
    assert peers_of("all") is None
    with pytest.raises(argparse.ArgumentTypeError, match="no peer spark"):
        peers_of("dask,spark")


@pytest.mark.parametrize("name", NAMES)
def test_every_system_is_fedproxy_or_a_peer_that_can_be_named(name):
    benchmark = load(module_of(name))
    assert benchmark.name == name
    assert {root_of(system) for system in benchmark.systems} <= {"fedproxy", *PEERS}
    for case in benchmark.cases(quick=True):
        assert set(case.systems) <= set(benchmark.systems)
