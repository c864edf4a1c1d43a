"""What tasks ask for, and whether it fits."""

from __future__ import annotations

import pytest
from attrs import asdict

from fedproxy.errors import ConfigError
from fedproxy.protocol.resources import NOTHING, Capacity, Resources, launch_prefix, resources, shortage


@pytest.mark.parametrize(("given", "ranks"), [
    ({"num_ranks": 4}, (1, 4, 4)), ({"num_nodes": 2, "ranks_per_node": 3}, (2, 3, 6)), ({"num_nodes": 2, "num_ranks": 6}, (2, 3, 6)),
    ({"ranks_per_node": 4, "num_ranks": 8}, (2, 4, 8)), ({"num_nodes": 3}, (3, 1, 3)), ({"num_nodes": 1, "ranks_per_node": 2, "num_ranks": 2}, (1, 2, 2)),
])
def test_two_numbers_of_ranks_give_the_third(given: dict, ranks: tuple[int, int, int]) -> None:
    found = resources(given)
    assert (found.num_nodes, found.ranks_per_node, found.num_ranks) == ranks
    assert found.mpi


@pytest.mark.parametrize(("given", "words"), [
    ({"num_rank": 4}, "did you mean num_ranks"), ({"banana": 4}, "keys are cores"), ({"num_ranks": 0}, "above zero, not 0"), ({"num_ranks": "4"}, "not '4'"),
    ({"num_ranks": True}, "not True"), ({"cores": -1}, "above zero, not -1"), ({"cores": float("nan")}, "cores is a number"), ({"memory_mb": 1.5}, "memory_mb"),
    ({"num_nodes": 2, "ranks_per_node": 2, "num_ranks": 5}, "num_ranks=5 is not num_nodes=2"), ({"num_nodes": 2, "num_ranks": 3}, "spread evenly"),
    ({"ranks_per_node": 2, "num_ranks": 3}, "spread evenly"), ({"launcher_options": "--x"}, "without ranks"),
    ({"num_ranks": 1, "launcher_options": "'open"}, "No closing quotation"), ({"num_ranks": 1, "launcher_options": 3}, "is a text"), ([1], "a mapping"),
])
def test_what_makes_no_sense_is_named(given: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resources(given)


def test_nothing_asked_for_is_nothing_kept() -> None:
    assert resources(None) == resources({}) == NOTHING
    assert shortage(NOTHING, Capacity(0, 0)) == ""
    assert set(asdict(NOTHING).values()) == {0, ""}


@pytest.mark.parametrize(("wanted", "words"), [
    (Resources(cores=3), "3 cores on a node, and there are 2"), (Resources(memory_mb=2000), "2000 MB of memory"), (Resources(gpus=1), "1 accelerators"),
    (resources({"num_nodes": 2}), "2 nodes, and there are 1"), (resources({"num_ranks": 3}), "3 cores on a node"),
    (Resources(cores=2, memory_mb=1000), ""), (resources({"num_ranks": 8, "cores": 1}), ""),
])
def test_what_can_never_fit_is_told_in_words(wanted: Resources, words: str) -> None:
    found = shortage(wanted, Capacity(2, 1000))
    assert words in found
    assert bool(words) == bool(found)


@pytest.mark.parametrize(("launcher", "line"), [
    ("mpirun", "mpirun -np 4 --map-by ppr:2:node --tag 'a b'"), ("mpiexec", "mpiexec -n 4 -ppn 2 --tag 'a b'"),
    ("srun", "srun --nodes=2 --ntasks=4 --ntasks-per-node=2 --tag 'a b'"), ("aprun", "aprun -n 4 -N 2 --tag 'a b'"), ("my -n {num_ranks}", "my -n 4"),
])
def test_each_launcher_has_its_words(launcher: str, line: str) -> None:
    assert launch_prefix(launcher, resources({"num_nodes": 2, "ranks_per_node": 2, "launcher_options": "--tag 'a b'"})) == line


def test_launcher_options_stay_options() -> None:
    assert "';'" in launch_prefix("mpirun", resources({"num_ranks": 1, "launcher_options": "-x ; rm"}))


@pytest.mark.parametrize("launcher", ["mpirunn", "", "x {num_ranks} {nonsense}", "x {num_ranks} {"])
def test_a_launcher_that_makes_no_sense_is_refused(launcher: str) -> None:
    with pytest.raises(ConfigError, match="mpi_launcher"):
        launch_prefix(launcher, NOTHING)
