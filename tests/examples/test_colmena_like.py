"""The steering examples as a newcomer runs them, with less of everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.programs import wait_for

pytest.importorskip("sklearn")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(*arguments: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEDPROXY_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode in (0, 2), done.stdout + done.stderr  # 2: chance was luckier, which with one seed and few simulations may be
    left = [line for line in Path("/proc").glob("[0-9]*/cmdline") if str(cwd).encode() in _read(line)]
    wait_for(lambda: not left, "every program of the example to be gone")
    return done.stdout


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_campaign_prints_what_each_way_found_and_draws_it(tmp_path: Path) -> None:
    out = run("examples.colmena_like", "--seeds", "1", "--budget", "20", "--candidates", "500", "--json", cwd=tmp_path)
    found = json.loads(out)
    assert set(found["ways"]) == {"steered", "in batches", "at random"}
    assert all(row["best_mean"] > 0 for row in found["ways"].values())
    assert (tmp_path / "colmena_like.png").stat().st_size > 20_000


def test_federated_learning_survives_the_loss_of_an_endpoint(tmp_path: Path) -> None:
    out = run("examples.colmena_like.federated", "--rounds", "6", "--kill-at", "2", cwd=tmp_path)
    assert "lost on the way: hospital-c" in " ".join(out.split())


def test_the_simulation_is_the_physics_that_it_says() -> None:
    from examples.colmena_like.polymer import HIGH, LOW, UNIT_SITES, UNITS, candidates, hamiltonian, simulate, ultimate_efficiency

    gaps = np.linspace(0.3, 3.0, 200)
    best = gaps[np.argmax([ultimate_efficiency(gap) for gap in gaps])]
    assert best == pytest.approx(1.1, abs=0.06)  # Shockley and Queisser 1961: 44 % at 1.1 eV
    assert ultimate_efficiency(float(best)) == pytest.approx(0.44, abs=0.005)
    polymer = candidates(1, 0)[0]
    assert ((polymer >= LOW) & (polymer <= HIGH)).all()
    matrix = hamiltonian(polymer, np.zeros(UNIT_SITES * UNITS))
    assert (matrix == matrix.T).all()
    assert simulate(polymer) == simulate(polymer)
