"""The simulation: what a donor-acceptor polymer would be worth in a solar cell, from a tight-binding model of its pi electrons.

A chain of repeat units, each of four donor and four acceptor sites, with nearest-neighbour hopping that alternates (Su, Schrieffer and Heeger 1979),
weaker second-neighbour hopping, and static disorder of the site energies. The Hamiltonian is diagonalized for a few samples of the disorder; its gap
gives the share of sunlight that could be used at best (the ultimate efficiency of Shockley and Queisser 1961, their equations 2.6 and 2.8, for a black
body at 6,000 K), and how far the frontier orbitals extend says how much of the charge would get out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any

PARAMETERS = ("donor_eV", "acceptor_eV", "donor_hop_eV", "acceptor_hop_eV", "link_hop_eV", "alternation", "second_hop", "disorder_eV")
LOW = np.array([-0.5, -2.5, 1.8, 1.8, 1.2, 0.00, 0.00, 0.05])
HIGH = np.array([2.5, 0.5, 3.2, 3.2, 3.0, 0.35, 0.15, 0.60])
UNIT_SITES, UNITS, SAMPLES = 8, 28, 5
SUN_EV = 6000.0 * 8.617333e-5
"""k T of the sun's surface."""


def candidates(count: int, seed: int) -> Array:
    """``count`` polymers as rows of ``PARAMETERS``, uniform between ``LOW`` and ``HIGH``."""
    return np.random.default_rng(seed).uniform(LOW, HIGH, (count, len(PARAMETERS)))


def hamiltonian(parameters: Array, energies: Array) -> Array:
    """The one-electron Hamiltonian in eV, sites x sites; ``energies`` are the disorder of each site."""
    donor, acceptor, donor_hop, acceptor_hop, link_hop, alternation, second, _ = parameters
    sites = UNIT_SITES * UNITS
    place = np.arange(sites) % UNIT_SITES
    is_donor = place < UNIT_SITES // 2
    bond = np.where(is_donor, donor_hop, acceptor_hop) * (1 + alternation * (-1.0) ** place)
    bond[(place == UNIT_SITES // 2 - 1) | (place == UNIT_SITES - 1)] = link_hop
    matrix = np.diag(np.where(is_donor, donor, acceptor) + energies)
    matrix -= np.diag(bond[:-1], 1) + np.diag(bond[:-1], -1)
    farther = second * np.sqrt(bond[:-2] * bond[1:-1])
    return matrix - np.diag(farther, 2) - np.diag(farther, -2)


def ultimate_efficiency(gap_eV: float) -> float:
    """Share of a black body's light (``SUN_EV``) that a gap can turn into work: x_g times the photons above it, over all energy."""
    x_gap = max(gap_eV, 1e-3) / SUN_EV
    x = np.linspace(x_gap, x_gap + 40.0, 4_000)
    photons = float(np.trapezoid(x**2 / np.expm1(x), x))
    return x_gap * photons / (np.pi**4 / 15.0)


def extent(orbital: Array) -> float:
    """Over what share of the chain an orbital extends: its participation ratio, 0 to 1."""
    return float(1.0 / (len(orbital) * np.sum(orbital**4)))


def simulate(parameters: Array, seed: int = 0) -> float:
    """What the polymer is worth, in percent: its ultimate efficiency times the fourth root of its frontier orbitals' extent, mean over the disorder.

    The same for the same arguments. Takes some 50 to 100 ms.
    """
    sites = UNIT_SITES * UNITS
    random, worth = np.random.default_rng(seed), []
    for _ in range(SAMPLES):
        energies, orbitals = np.linalg.eigh(hamiltonian(parameters, random.normal(0.0, parameters[-1], sites)))
        homo, lumo = sites // 2 - 1, sites // 2
        spread = extent(orbitals[:, homo]) * extent(orbitals[:, lumo])
        worth.append(ultimate_efficiency(energies[lumo] - energies[homo]) * spread**0.25)
    return 100.0 * float(np.mean(worth))
