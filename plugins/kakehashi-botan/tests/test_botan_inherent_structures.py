"""Quenches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from kakehashi_botan.inherent_structures import FireSettings, inherent_structure
from kakehashi_botan.mixtures import cubic_box, kob_andersen
from kakehashi_botan.pair_potential import MixturePotential

DATA = Path(__file__).parents[3] / ".." / "shared" / "data" / "botan"
ALL = np.array([True, True, True])


def test_quench_ends_in_the_minimum_that_another_minimizer_finds():
    """Oracle: L-BFGS of scipy from a start near the minimum, where both have the same one below them."""
    mixture, cell, rng = kob_andersen(), cubic_box(60, 1.2), np.random.default_rng(2)
    types = (np.arange(60) % 5 == 0).astype(np.int64)
    first = inherent_structure(mixture, rng.random((60, 3)) @ cell, types, cell)
    start = first.positions + rng.normal(0.0, 0.02, (60, 3))
    kept = start.copy()
    quenched = inherent_structure(
        mixture, start, types, cell, settings=FireSettings(force_tolerance=1e-9)
    )
    potential = MixturePotential(mixture, skin=0.0)

    def target(x: np.ndarray):
        sums = potential.evaluate(x.reshape(-1, 3), types, cell, ALL)
        return sums.energy, -sums.forces.ravel()

    found = minimize(
        target, start.ravel(), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-8}
    )
    assert quenched.converged
    assert quenched.largest_force < 1e-9
    assert target(start.ravel())[0] - found.fun > 1.0
    assert quenched.energies.sum() == pytest.approx(found.fun, abs=1e-8)
    assert np.array_equal(start, kept)


def test_out_of_steps_is_said():
    mixture, cell, rng = kob_andersen(), cubic_box(60, 1.2), np.random.default_rng(2)
    types = (np.arange(60) % 5 == 0).astype(np.int64)
    quenched = inherent_structure(
        mixture, rng.random((60, 3)) @ cell, types, cell, settings=FireSettings(max_steps=10)
    )
    assert not quenched.converged
    assert quenched.n_steps == 10
    assert quenched.largest_force > 1e-3


@pytest.mark.skipif(not DATA.exists(), reason="the public configurations are not on this machine")
@pytest.mark.parametrize(("number", "energy"), [(401, -7.680637), (402, -7.678966)])
def test_public_configurations(number, energy):
    """Oracle: conjugate-gradient quenches of the same snapshots; minimizers agree to 5e-4 only."""
    with np.load(DATA / f"isoconfig_N4096T0.44_{number}_tc07.npz", allow_pickle=False) as file:
        positions, types = file["initial_positions"], file["types"].astype(np.int64)
    quenched = inherent_structure(kob_andersen(), positions, types, cubic_box(4096, 1.2))
    assert quenched.converged
    assert quenched.energy_per_particle == pytest.approx(energy, abs=5e-4)
