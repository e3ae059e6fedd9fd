"""Networks that follow imaginary time, against exact diagonalization and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from quspin.basis import spin_basis_1d
from scipy.linalg import expm
from scipy.stats import chi2

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_dbm.gate_network import GateNetwork
from kakehashi_dbm.purified_nqs import PurifiedNQS
from kakehashi_dbm.purified_rbm import PurifiedRBM, ring_translations
from kakehashi_dbm.stochastic_reconfiguration import WeightedStates, velocity
from kakehashi_quspin.exact_thermal import exact_thermal
from kakehashi_quspin.lookup import sampler
from kakehashi_quspin.spin_model import SpinModel

RNG = np.random.default_rng(0)


def ising_ring(n):
    return [
        ["zz", [[-1.0, i, (i + 1) % n] for i in range(n)]],
        ["x", [[-1.0, i] for i in range(n)]],
    ]


def heisenberg_ring(n, second=0.0):
    bonds = [[1.0, i, (i + 1) % n] for i in range(n)]
    if second:
        bonds += [[second, i, (i + 2) % n] for i in range(n)]
    return [[s, bonds] for s in ("xx", "yy", "zz")]


@pytest.mark.parametrize("complex_weights", [False, True])
def test_derivatives_and_symmetries_of_the_machine(complex_weights):
    """Oracle: finite differences; amplitudes of translated and of exchanged spins are equal."""
    n = 4
    model = SpinModel.from_quspin(ising_ring(n), n)
    group = ring_translations(model)
    assert len(group) == n
    network = PurifiedRBM(n, 3, symmetries=group, complex_weights=complex_weights)
    theta = 0.3 * RNG.normal(size=network.n_parameters)
    s, t = (RNG.choice(np.array([-1, 1], dtype=np.int8), size=(6, n)) for _ in range(2))
    found = network.derivatives(theta, s, t)
    assert found.shape == (6, network.n_parameters)
    for k in RNG.choice(network.n_parameters, size=8, replace=False):
        step = np.zeros_like(theta)
        step[k] = 1e-5
        high, low = (network.log_psi(theta + x, s, t) for x in (step, -step))
        assert found[:, k] == pytest.approx((high - low) / 2e-5, abs=1e-7)
    here = network.log_psi(theta, s, t)
    assert network.log_psi(theta, t, s) == pytest.approx(here)
    assert network.log_psi(theta, np.roll(s, 1, axis=1), np.roll(t, 1, axis=1)) == pytest.approx(
        here
    )


def test_derivatives_of_gates():
    """Oracle: finite differences, and the exact exponential for many layers."""
    static = [*heisenberg_ring(4, 0.5), ["z", [[0.3, 1]]], ["x", [[0.2, 0]]]]
    model = SpinModel.from_quspin(static, 4)
    network = GateNetwork(model, 3)
    theta = network.start(1.0) * RNG.uniform(0.5, 1.5, size=network.n_parameters)
    vectors = RNG.normal(size=(16, 3))
    psi, slopes = network.apply_with_derivatives(theta, vectors)
    assert psi == pytest.approx(network.apply(theta, vectors))
    for k in range(network.n_parameters):
        step = np.zeros_like(theta)
        step[k] = 1e-5
        high, low = (network.apply(theta + x, vectors) for x in (step, -step))
        assert slopes[k] == pytest.approx((high - low) / 2e-5, rel=1e-7, abs=1e-7)
    fine = GateNetwork(model, 60)
    exact = expm(-0.5 * model.matrix().real)
    assert fine.apply(fine.start(1.0), np.eye(16)) == pytest.approx(exact, rel=2e-3, abs=2e-3)
    own = network.apply(theta, np.eye(16))
    assert own == pytest.approx(own.T, abs=1e-12)


def test_velocities_are_projections():
    """Oracle: least squares; the form among states where there are fewer of them than parameters."""
    for n_states, n_parameters in ((40, 6), (6, 40)):
        weights = RNG.uniform(size=n_states)
        weights /= weights.sum()
        o, e = RNG.normal(size=(n_states, n_parameters)), RNG.normal(size=n_states)
        states = WeightedStates(weights=weights, derivatives=o, local_energies=e)
        root = np.sqrt(weights)
        a, b = (o - weights @ o) * root[:, None], (e - weights @ e) * root
        expected = -np.linalg.lstsq(a, b, rcond=1e-8)[0]
        assert velocity(states, 1e-12) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_an_ising_ring_in_imaginary_time():
    """Oracle: exact energies on the way, one in a thousand at low temperature; states and correlations."""
    n = 4
    static = ising_ring(n)
    thermal = PurifiedNQS(SpinModel.from_quspin(static, n), beta=2.0, ansatz="rbm", seed=1)
    thermal.evolve()
    for beta, energy in thermal.path:
        exact = exact_thermal(static, n, beta=beta).energy.mean
        assert energy.mean == pytest.approx(exact, rel=2e-3 if beta > 1.0 else 2e-2)
    rho = expm(-2.0 * SpinModel.from_quspin(static, n).matrix().real)
    operator = [["zz", [[1.0, 0, 2]]], ["x", [[0.5, 1]]]]
    matrix = SpinModel.from_quspin(operator, n).matrix().real
    exact = np.trace(rho @ matrix) / np.trace(rho)
    assert thermal.expt_value(operator).mean == pytest.approx(exact, rel=5e-3)
    states = thermal.sample(8000)
    expected = 8000 * np.diag(rho)[::-1] / np.trace(rho)
    counts = np.bincount(states, minlength=2**n)
    assert chi2.sf(((counts - expected) ** 2 / expected).sum(), 2**n - 1) > 1e-4


def test_sampled_steps_follow_the_sums():
    """Oracle: exact energy; samples instead of sums over all states."""
    n = 4
    static = ising_ring(n)
    thermal = PurifiedNQS(
        SpinModel.from_quspin(static, n),
        beta=1.0,
        ansatz="rbm",
        n_samples=1500,
        n_filters=1,
        seed=2,
    )
    thermal.evolve()
    exact = exact_thermal(static, n, beta=1.0).energy.mean
    assert thermal.energy().mean == pytest.approx(exact, rel=0.03)
    assert thermal.expt_value(static).mean == pytest.approx(exact, rel=0.03)
    assert 0.05 < thermal.diagnostics()["acceptance"] < 0.95
    assert thermal.sample_spins(2000).shape == (2000, n)


@pytest.mark.parametrize("second", [0.0, 0.5])
def test_heisenberg_rings_by_gates(second):
    """Oracle: exact energies, also where exchange is frustrated and no positive network exists."""
    n = 6
    static, basis = heisenberg_ring(n, second), spin_basis_1d(n, pauli=0)
    thermal = sampler("purified-nqs", static, basis, beta=3.0, n_layers=4, seed=3)
    for beta, energy in [(3.0, thermal.energy()), *thermal.path[::5]]:
        exact = exact_thermal(static, basis, beta=beta).energy.mean
        assert energy.mean == pytest.approx(exact, rel=5e-3)
    same = thermal.expt_value(static)
    assert same.mean == pytest.approx(thermal.energy().mean, rel=1e-10)
    again = sampler("purified-nqs", static, basis, beta=3.0, n_layers=4, seed=4)
    again.load_state_dict(thermal.state_dict())
    assert again.energy() == thermal.energy()


def test_random_vectors_stand_for_ancillas(monkeypatch):
    """Oracle: sums over all ancilla states, within the error that random vectors report."""
    n = 6
    model = SpinModel.from_quspin(heisenberg_ring(n), spin_basis_1d(n, pauli=0))
    exact = PurifiedNQS(model, beta=2.0, n_layers=2, growth=0.3, seed=1).energy()
    monkeypatch.setattr("kakehashi_dbm.gate_state.MOST_COLUMNS", 4)
    found = PurifiedNQS(model, beta=2.0, n_layers=2, growth=0.3, n_vectors=40, seed=1).energy()
    assert 0.0 < found.stderr < 0.05 * abs(exact.mean)
    assert abs(found.z_score(exact.mean)) < 4


def test_bad_input():
    """Oracle: what messages say."""
    frustrated = SpinModel.from_quspin(heisenberg_ring(5), 5)
    with pytest.raises(UnsupportedError, match="sign problem"):
        PurifiedNQS(frustrated, beta=1.0, ansatz="rbm")
    with pytest.raises(InvalidInputError, match="transverse field"):
        PurifiedNQS(SpinModel.from_quspin(heisenberg_ring(4), 4), beta=1.0, ansatz="rbm").evolve()
    model = SpinModel.from_quspin(ising_ring(4), 4)
    for options, message in (
        ({"beta": 0.0}, "beta"),
        ({"beta": 1.0, "ansatz": "cnn"}, "ansatz"),
        ({"beta": 1.0, "growth": 0.0}, "growth"),
        ({"beta": 1.0, "n_filters": 0}, "n_filters"),
        ({"beta": 1.0, "n_layers": 0, "ansatz": "gates"}, "n_layers"),
        ({"beta": 1.0, "symmetries": [[0, 1, 3, 2]]}, "no symmetry"),
        ({"beta": 1.0, "symmetries": [[0, 1, 1, 2]]}, "no permutation"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            PurifiedNQS(model, **options)
    with pytest.raises(UnsupportedError, match="21 sites"):
        PurifiedNQS(SpinModel.from_quspin(heisenberg_ring(21), 21), beta=1.0)
    three = SpinModel.from_quspin([["zzz", [[1.0, 0, 1, 2]]]], 3)
    with pytest.raises(UnsupportedError, match="z_0 z_1 z_2"):
        PurifiedNQS(three, beta=1.0)
    fixed = SpinModel.from_quspin(heisenberg_ring(4), spin_basis_1d(4, Nup=2))
    with pytest.raises(UnsupportedError, match="Nup"):
        PurifiedNQS(fixed, beta=1.0)
