"""Magnetization, structure factor, correlations."""

from __future__ import annotations

import numpy as np
import pytest

from kakehashi_slmc.distance_shells import distance_shells
from kakehashi_slmc.lattices import lattice
from kakehashi_slmc.spin_observables import (
    magnetization,
    shell_correlations,
    spin_structure_factor,
)
from kakehashi_slmc.unit_vectors import random_spins

SITES = lattice("square", (4, 4))


def test_an_antiferromagnet_and_a_ferromagnet():
    """Oracle: moments of one, one wave vector, correlations of plus and minus one."""
    up = np.zeros((1, 16, 3))
    up[..., 2] = 1.0
    down = up * SITES.sublattice[None, :, None]
    assert magnetization(up) == pytest.approx([1.0])
    assert magnetization(down) == pytest.approx([0.0], abs=1e-15)
    assert magnetization(down, SITES.sublattice) == pytest.approx([1.0])
    q = np.array([[0.0, 0, 0], [np.pi, np.pi, 0], [np.pi, 0, 0]])
    found = spin_structure_factor(np.concatenate([up, down]), SITES.positions, q)
    assert found == pytest.approx(np.array([[16.0, 0, 0], [0, 16.0, 0]]), abs=1e-12)
    shells = distance_shells(SITES.positions, SITES.cell)
    assert shell_correlations(shells, down)[0] == pytest.approx([-1, 1, 1, -1, 1])


def test_sums_over_wave_vectors():
    """Oracle: Parseval, the mean of S(q) over all q is 1; S(0) = N m^2."""
    spins = random_spins(np.random.default_rng(0), 3, 16)
    k = 2 * np.pi * np.indices((4, 4)).reshape(2, -1).T / 4
    q = np.column_stack([k, np.zeros(16)])
    found = spin_structure_factor(spins, SITES.positions, q)
    assert found.mean(axis=1) == pytest.approx(np.ones(3))
    assert found[:, 0] == pytest.approx(16 * magnetization(spins) ** 2)
