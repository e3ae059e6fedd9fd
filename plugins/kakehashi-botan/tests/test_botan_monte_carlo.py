"""Monte Carlo of small liquids: energies, averages, resume."""

from __future__ import annotations

import numpy as np
import pytest

from kakehashi_botan.mixtures import kob_andersen, ternary_kob_andersen
from kakehashi_botan.pair_potential import MixturePotential
from kakehashi_botan.sampling import Liquid, ParticleMoves, small_ternary_liquid, ternary_liquid
from kakehashi_botan.sampling.monte_carlo import equilibrated
from kakehashi_core.chains import run_chains
from kakehashi_core.errors import InvalidInputError, NonFiniteError

SOLID = Liquid(
    mixture=kob_andersen(shift="energy", cutoff_ratio=1.5),
    composition=(27, 6),
    density=1.2,
    dimension=3,
)


@pytest.mark.parametrize("liquid", [ternary_liquid(), SOLID], ids=["2D, force shift", "3D"])
def test_energies_are_those_of_the_calculator(liquid):
    """Oracle: ``MixturePotential``, which sums over a pair list with images."""
    rng = np.random.default_rng(1)
    state, kernel = equilibrated(liquid, 0.8, 3, rng, n_sweeps=100)
    step = kernel.step(state, rng)
    planar = liquid.dimension == 2
    cell = np.diag([liquid.edge, liquid.edge, 1.0 if planar else liquid.edge])
    for x, log_weight in zip(step.state.positions, step.state.log_weights, strict=True):
        filled = np.column_stack([x, np.zeros(len(x))]) if planar else x
        sums = MixturePotential(liquid.mixture).evaluate(
            filled, liquid.types, cell, np.array([True, True, not planar])
        )
        # Kept up to date move by move: rounding adds up.
        assert -0.8 * log_weight == pytest.approx(sums.energy, abs=1e-9)
        assert liquid.energies(x[None])[0] == pytest.approx(sums.energy, abs=1e-10)


@pytest.mark.parametrize("swaps", [0.0, 0.3])
def test_average_energy_of_a_pair(swaps):
    """Oracle: quadrature over the distance vector of two unlike particles, |z| < 4."""
    liquid = Liquid(
        mixture=ternary_kob_andersen(cutoff_ratio=1.4), composition=(1, 1, 0), density=2 / 9
    )
    temperature = 0.7
    n = 2000
    axis = (np.arange(n) + 0.5) / n * liquid.edge / 2
    distance = np.hypot(axis[:, None], axis[None])
    energy = liquid.mixture.pair_energy(distance, 0, 1)
    weight = np.exp(-energy / temperature)
    expected = (weight * energy).sum() / weight.sum()
    run = run_chains(
        ParticleMoves(liquid, temperature, swaps=swaps),
        liquid.random_positions(20, np.random.default_rng(0)),
        observables={"energy": lambda state: -temperature * state.log_weights},
        n_measurements=3000,
        warmup=100,
        seed=3,
    )
    found = run.estimate("energy")
    assert found.stderr < 0.01
    assert abs(found.z_score(expected)) < 4.0


def test_exchanges_do_not_change_averages():
    """Oracle: chains without exchanges, hot enough for both to be ergodic, |z| < 4."""
    liquid = small_ternary_liquid()
    found = {}
    for swaps in (0.0, 0.3):
        kernel = ParticleMoves(liquid, 2.5, swaps=swaps)
        found[swaps] = run_chains(
            kernel,
            liquid.random_positions(20, np.random.default_rng(0)),
            observables={"energy": lambda state: -state.log_weights},
            n_measurements=800,
            warmup=300,
            seed=5,
        ).estimate("energy")
    first, second = found.values()
    assert abs(first.z_score(second.mean, second.stderr)) < 4.0
    assert first.stderr < 0.03 * first.mean


def test_a_killed_run_goes_on_bit_by_bit(tmp_path):
    """Oracle: the same run in one go."""
    liquid = small_ternary_liquid()
    start = liquid.random_positions(2, np.random.default_rng(0))

    class KilledError(Exception):
        pass

    def run(directory, limit):
        count = 0

        def energy(state):
            nonlocal count
            count += 1
            if count > limit:
                raise KilledError
            return -state.log_weights

        return run_chains(
            ParticleMoves(liquid, 0.6),
            start,
            observables={"energy": energy},
            n_measurements=30,
            warmup=10,
            seed=1,
            directory=directory,
            checkpoint_seconds=0.0,
        )

    whole = run(None, 1000)
    with pytest.raises(KilledError):
        run(tmp_path, 12)
    resumed = run(tmp_path, 1000)
    np.testing.assert_array_equal(resumed.series["energy"], whole.series["energy"])
    np.testing.assert_array_equal(resumed.state.positions, whole.state.positions)


def test_bad_input_is_named():
    liquid = ternary_liquid()
    good = liquid.random_positions(2, np.random.default_rng(0))
    kernel = ParticleMoves(liquid, 1.0)
    with pytest.raises(InvalidInputError, match="shape"):
        kernel.start(good[:, :-1])
    wrong = good.copy()
    wrong[1, 3, 0] = np.nan
    with pytest.raises(NonFiniteError, match="sample 1"):
        kernel.start(wrong)
    wrong = good.copy()
    wrong[1, 3] = wrong[1, 5] + 1e-3
    with pytest.raises(InvalidInputError, match="sample 1: particles 3 and 5 overlap"):
        kernel.start(wrong)
    for arguments in ({"temperature": 0.0}, {"swaps": 1.5}, {"n_sweeps": 0}):
        with pytest.raises(InvalidInputError, match=next(iter(arguments))):
            ParticleMoves(liquid, **{"temperature": 1.0, **arguments})
    with pytest.raises(InvalidInputError, match="exceeds half the box"):
        Liquid(mixture=ternary_kob_andersen(), composition=(4, 3, 3), density=1.19)
    with pytest.raises(InvalidInputError, match="3 species"):
        Liquid(mixture=ternary_kob_andersen(), composition=(20, 23), density=1.19)
