"""Ladders of temperatures, susceptibilities and the error of finite slices, against exact diagonalization."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_dbm.compact_network import CompactNetwork
from kakehashi_dbm.thermal_ladder import ThermalLadder
from kakehashi_dbm.thermal_sampler import ThermalDBM
from kakehashi_quspin.exact_thermal import exact_thermal
from kakehashi_quspin.spin_model import SpinModel

N = 5
FRUSTRATED = [
    ["zz", [[1.0, 0, 1], [0.8, 1, 2], [0.6, 0, 2], [-1.0, 2, 3], [0.5, 3, 4]]],
    ["z", [[0.2, 0]]],
    ["x", [[-0.5, i] for i in range(N)]],
]
HEISENBERG = [[s, [[0.25, i, (i + 1) % 6] for i in range(6)]] for s in ("xx", "yy", "zz")]


@pytest.mark.parametrize(("static", "n"), [(FRUSTRATED, N), (HEISENBERG, 6)])
def test_all_temperatures_of_a_ladder(static, n):
    """Oracle: exact diagonalization at every temperature; exchanges between all neighbors."""
    model = SpinModel.from_quspin(static, n)
    ladder = ThermalLadder(model, [0.5, 1.0, 2.0, 3.0], n_chains=16, trotter_step=0.1, seed=1)
    ladder.run(300)
    assert ladder.betas == (3.0, 2.0, 1.0, 0.5)
    assert (ladder.exchange_rates > 0.3).all()
    assert (ladder.exchange_rates < 1.0).all()
    for beta in ladder.betas:
        energy = ladder.at(beta).energy()
        exact = exact_thermal(static, n, beta=beta).energy.mean
        assert abs(energy.z_score(exact, 1e-3 * abs(exact))) < 4
    curve = ladder.curve()
    exact = exact_thermal(static, n, beta=1.5)
    assert abs(curve.entropy(1.5).z_score(exact.entropy, 2e-3)) < 4


def test_log_weights_are_linear_in_features():
    """Oracle: the log-weights of the kernels themselves, at every temperature, up to the scale of each."""
    for static, n in ((FRUSTRATED, N), (HEISENBERG, 6)):
        ladder = ThermalLadder(
            SpinModel.from_quspin(static, n), [0.5, 2.0], n_chains=3, warmup=5, seed=2
        )
        ladder.run(1)
        kernel, state = ladder._kernel, ladder._chains._state
        for k in range(2):
            own = state.positions[:, k]
            table = kernel._log_weights(own)
            assert table[:, k] == pytest.approx(kernel._kernels[k].start(own).log_weights, rel=1e-6)


def test_a_stopped_ladder_goes_on_to_the_last_bit():
    """Oracle: the ladder that was not stopped."""
    model = SpinModel.from_quspin(FRUSTRATED, N)
    first, second = (ThermalLadder(model, [0.5, 1.0], n_chains=2, seed=s) for s in (3, 4))
    first.run(5)
    second.load_state_dict(first.state_dict())
    first.run(5)
    second.run(5)
    assert first.at(1.0).energy() == second.at(1.0).energy()
    with pytest.raises(InvalidInputError, match="ladder"):
        ThermalLadder(model, [0.5, 2.0], n_chains=2, seed=3).load_state_dict(first.state_dict())


def test_susceptibilities():
    """Oracle: derivative of <M> by the field, by matrices."""
    model = SpinModel.from_quspin(FRUSTRATED, N)
    weights = np.array([1.0, -1.0, 1.0, -1.0, 0.5])
    h = model.matrix().real
    m = SpinModel.from_quspin([["z", [[w, i] for i, w in enumerate(weights)]]], N).matrix().real

    def mean(field):
        rho = expm(-1.5 * (h - field * m))
        return np.trace(rho @ m) / np.trace(rho)

    exact = (mean(1e-4) - mean(-1e-4)) / 2e-4
    thermal = ThermalDBM(model, beta=1.5, n_chains=20, seed=5)
    thermal.run(300)
    found = thermal.susceptibility(weights)
    assert abs(found.z_score(exact)) < 4
    assert found.stderr < 0.05 * exact
    pairs, errors = thermal.correlations()
    rho = expm(-1.5 * h)
    z = [SpinModel.from_quspin([["z", [[1.0, i]]]], N).matrix().real for i in range(N)]
    expected = np.array([[np.trace(rho @ a @ b) / np.trace(rho) for b in z] for a in z])
    off = ~np.eye(N, dtype=bool)
    assert (np.abs(pairs - expected)[off] < 4.5 * errors[off]).all()
    assert errors[off].max() < 0.05


def test_the_error_of_finite_slices_is_measured_and_taken_off():
    """Oracle: exact energies; a coarse step, whose error is several standard errors."""
    static = HEISENBERG
    exact = exact_thermal(static, 6, beta=4.0).energy.mean
    thermal = ThermalDBM(
        SpinModel.from_quspin(static, 6), beta=4.0, n_slices=8, n_chains=30, seed=6
    )
    thermal.run(2500)
    raw, bias = thermal.energy(), thermal.trotter_bias()
    assert abs(raw.z_score(exact)) > 4
    assert abs(bias.z_score(raw.mean - exact, raw.stderr)) < 4
    assert abs(thermal.extrapolated().z_score(exact)) < 4


def test_steps_are_found_for_a_tolerance():
    """Oracle: the tolerance; a tighter one needs a smaller step."""
    model = SpinModel.from_quspin(HEISENBERG, 6)
    loose, tight = (
        ThermalDBM(model, beta=2.0, trotter_step="auto", tolerance=t, n_chains=20, seed=7)
        for t in (1e-2, 1e-4)
    )
    assert tight.trotter_step < loose.trotter_step
    loose.run(300)
    energy = loose.energy()
    exact = exact_thermal(HEISENBERG, 6, beta=2.0).energy.mean
    assert abs(energy.mean - exact) < 6e-2 + 4 * energy.stderr


def test_bad_input():
    """Oracle: what messages say."""
    model = SpinModel.from_quspin(FRUSTRATED, N)
    for betas in ([1.0], [1.0, -1.0], [1.0, 1.0]):
        with pytest.raises(InvalidInputError, match="at least two"):
            ThermalLadder(model, betas)
    ladder = ThermalLadder(model, [0.5, 1.0], seed=1)
    with pytest.raises(InvalidInputError, match="not on the ladder"):
        ladder.at(0.7)
    with pytest.raises(InvalidInputError, match="run"):
        ladder.at(0.5).energy()
    thermal = ThermalDBM(model, beta=1.0, seed=1)
    with pytest.raises(InvalidInputError, match="weights"):
        thermal.susceptibility([1.0])
    with pytest.raises(InvalidInputError, match="tolerance"):
        ThermalDBM(model, beta=1.0, trotter_step="auto", tolerance=0.0)
    network = CompactNetwork.uniform(1.0, 3)
    with pytest.raises(InvalidInputError, match="learned for beta"):
        ThermalDBM(model, beta=1.5, network=network)
    learned = ThermalDBM(model, beta=1.0, network=network, seed=1)
    for call in (learned.susceptibility, learned.trotter_bias, lambda: learned.correlator(0, 1)):
        with pytest.raises(UnsupportedError, match="learned layers"):
            call()
