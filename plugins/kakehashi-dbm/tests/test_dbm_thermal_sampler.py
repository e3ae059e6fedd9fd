"""The sampler of thermal states against exact diagonalization, free fermions, and itself after a stop."""

from __future__ import annotations

import numpy as np
import pytest
from quspin.basis import spin_basis_1d, spin_basis_general
from scipy.linalg import expm
from scipy.stats import chi2

from kakehashi_core.contracts import Sampler
from kakehashi_core.errors import InvalidInputError, UnknownNameError, UnsupportedError
from kakehashi_dbm.free_fermions import chain_thermodynamics, ring_thermodynamics
from kakehashi_dbm.thermal_sampler import ThermalDBM
from kakehashi_quspin.exact_thermal import exact_thermal
from kakehashi_quspin.lookup import sampler
from kakehashi_quspin.spin_model import SpinModel

N = 6
STATIC = [
    ["zz", [[-1.0, i, (i + 1) % N] for i in range(N)]],
    ["zz", [[0.3, 0, 3]]],
    ["x", [[-0.9, i] for i in range(N - 1)] + [[0.7, N - 1]]],
    ["z", [[-0.2, 0]]],
    ["I", [[0.5, 0]]],
]


def exact_average(static, operator, beta, *, pauli=1):
    h = SpinModel.from_quspin(static, N, pauli=pauli).matrix()
    o = SpinModel.from_quspin(operator, N, pauli=pauli)
    rho = expm(-beta * h)
    matrix = o.matrix()
    return float((np.trace(rho @ matrix) / np.trace(rho)).real)


@pytest.mark.parametrize("pauli", [1, 0])
def test_averages_against_diagonalization(pauli):
    """Oracle: dense matrices; a turned spin, both conventions, operators that flip up to two spins."""
    basis = spin_basis_1d(N, pauli=pauli)
    scale = 1.0 if pauli else 4.0
    static = [[s, [[scale ** (len(s) / 2) * c[0], *c[1:]] for c in cs]] for s, cs in STATIC]
    model = SpinModel.from_quspin(static, basis)
    thermal = ThermalDBM(model, beta=1.1, n_chains=20, seed=1)
    assert isinstance(thermal, Sampler)
    thermal.run(400)
    energy = thermal.energy()
    exact = exact_thermal(static, basis, beta=1.1)
    assert abs(energy.z_score(exact.energy.mean)) < 4
    assert energy.stderr < 0.01 * N
    for operator in (
        [["zz", [[1.0, 0, 2]]]],
        [["x", [[1.0, N - 1]]]],
        [["z", [[1.0, 0]]]],
        [["xx", [[1.0, N - 1, 0]]], ["yy", [[1.0, 1, 2]]]],
        [["+-", [[0.5, 0, 1]]], ["-+", [[0.5, 0, 1]]]],
    ):
        found = thermal.expt_value(operator)
        assert abs(found.z_score(exact_average(static, operator, 1.1, pauli=pauli))) < 4
    same = thermal.expt_value(static)
    assert abs(same.z_score(exact.energy.mean)) < 4
    diagnostics = thermal.diagnostics()
    assert diagnostics["R-hat"] < 1.05


def test_states_are_basis_integers():
    """Oracle: diag(exp(-beta H)) in QuSpin's order; chi-square of thinned states."""
    basis = spin_basis_general(N)
    model = SpinModel.from_quspin(STATIC, basis)
    thermal = ThermalDBM(model, beta=0.8, n_chains=40, thin=4, seed=2)
    states = thermal.sample(12_000)
    assert states.dtype == np.uint32
    rows = np.array([basis.index(int(s)) for s in states])
    p = np.diag(expm(-0.8 * SpinModel.from_quspin(STATIC, N).matrix())).real
    expected = len(states) * p / p.sum()
    counts = np.bincount(rows, minlength=2**N)
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert chi2.sf(statistic, 2**N - 1) > 1e-4
    spins = thermal.sample_spins(5)
    assert spins.shape == (5, N)
    assert spins.dtype == np.int8


def test_correlators_in_imaginary_time():
    """Oracle: Tr exp(-(beta - tau) H) z_i exp(-tau H) z_j / Z."""
    model = SpinModel.from_quspin(STATIC, N)
    thermal = ThermalDBM(model, beta=1.5, n_chains=20, seed=3)
    thermal.run(300)
    tau, found = thermal.correlator(0, 2)
    h = model.matrix()
    zi, zj = (SpinModel.from_quspin([["z", [[1.0, i]]]], N).matrix() for i in (0, 2))
    z = np.trace(expm(-1.5 * h))
    assert tau[-1] == pytest.approx(0.75)
    for k in (0, len(tau) // 2, -1):
        exact = np.trace(expm(-(1.5 - tau[k]) * h) @ zi @ expm(-tau[k] * h) @ zj) / z
        assert abs(found[k].z_score(float(exact.real))) < 4


def test_large_systems_against_free_fermions():
    """Oracle: closed forms of a ring of 64 and of a disordered chain of 40."""
    n = 64
    ring = [
        ["zz", [[-1.0, i, (i + 1) % n] for i in range(n)]],
        ["x", [[-1.0, i] for i in range(n)]],
    ]
    thermal = ThermalDBM(SpinModel.from_quspin(ring, n), beta=2.0, n_chains=4, seed=4)
    thermal.run(150)
    exact = ring_thermodynamics(n, 1.0, 1.0, 2.0).energy
    assert abs(thermal.energy().z_score(exact)) < 4
    assert thermal.energy().stderr < 0.003 * n
    rng = np.random.default_rng(5)
    j, g = rng.normal(size=39), rng.uniform(0.5, 1.5, size=40)
    chain = [
        ["zz", [[-c, i, i + 1] for i, c in enumerate(j)]],
        ["x", [[-c, i] for i, c in enumerate(g)]],
    ]
    thermal = ThermalDBM(SpinModel.from_quspin(chain, 40), beta=1.5, n_chains=4, seed=6)
    thermal.run(150)
    assert abs(thermal.energy().z_score(chain_thermodynamics(j, g, 1.5).energy)) < 4


def test_a_stopped_sampler_goes_on_to_the_last_bit():
    """Oracle: the sampler that was not stopped."""
    model = SpinModel.from_quspin(STATIC, N)
    first, second = (ThermalDBM(model, beta=1.0, n_chains=3, seed=s) for s in (7, 8))
    first.run(5)
    second.load_state_dict(first.state_dict())
    assert np.array_equal(first.sample(10), second.sample(10))
    assert first.energy() == second.energy()
    with pytest.raises(InvalidInputError, match="beta"):
        ThermalDBM(model, beta=1.01, n_chains=3, seed=1).load_state_dict(first.state_dict())


def test_infinite_temperature():
    """Oracle: the trace of H; all states alike."""
    thermal = ThermalDBM(SpinModel.from_quspin(STATIC, N), beta=0.0, n_chains=20, seed=9)
    thermal.run(100)
    assert thermal.energy().mean == pytest.approx(0.5, abs=1e-6)
    assert abs(thermal.expt_value([["z", [[1.0, 0]]]]).z_score(0.0)) < 4


def test_bad_input():
    """Oracle: what messages say."""
    model = SpinModel.from_quspin(STATIC, N)
    for options, message in (
        ({"beta": -1.0}, "beta"),
        ({"beta": 1.0, "trotter_step": 0.0}, "trotter_step"),
        ({"beta": 1.0, "n_chains": 0}, "n_chains"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            ThermalDBM(model, **options)
    mixed = SpinModel.from_quspin([["xx", [[1.0, 0, 1]]], ["x", [[1.0, 0]]]], N)
    with pytest.raises(UnsupportedError, match=r"x_0 x_1.*exchange model"):
        ThermalDBM(mixed, beta=1.0)
    triangle = [[s, [[1.0, i, (i + 1) % 3] for i in range(3)]] for s in ("xx", "yy", "zz")]
    with pytest.raises(UnsupportedError, match="sign problem"):
        ThermalDBM(SpinModel.from_quspin(triangle, 3), beta=1.0)
    with pytest.raises(UnsupportedError, match="CPU only"):
        pair = [[s, [[1.0, 0, 1]]] for s in ("xx", "yy")]
        ThermalDBM(SpinModel.from_quspin(pair, 2), beta=1.0, device="cuda")
    fixed = SpinModel.from_quspin([["zz", [[1.0, 0, 1]]]], spin_basis_1d(N, Nup=3))
    with pytest.raises(UnsupportedError, match="Nup"):
        ThermalDBM(fixed, beta=1.0)
    thermal = ThermalDBM(model, beta=1.0, n_chains=2, seed=1)
    thermal.run(2)
    with pytest.raises(InvalidInputError, match="Hermitian"):
        thermal.expt_value([["+-", [[1.0, 0, 1]]]])
    with pytest.raises(InvalidInputError, match="sites"):
        thermal.correlator(0, N)
    with pytest.raises(InvalidInputError, match="at least 1"):
        thermal.sample(0)


def test_by_name_from_quspin():
    """Oracle: exact thermal states; names and options that do not exist."""
    static = [["zz", [[-1.0, i, i + 1] for i in range(5)]], ["x", [[-1.0, i] for i in range(6)]]]
    basis = spin_basis_1d(6)
    found = sampler("thermal-dbm", static, basis, beta=2.0, seed=7, n_chains=20)
    exact = exact_thermal(static, basis, beta=2.0)
    assert abs(found.expt_value(static).z_score(exact.energy.mean)) < 4
    assert set(found.sample(100)) <= {int(s) for s in basis.states}
    with pytest.raises(UnknownNameError, match="thermal-dbm"):
        sampler("thermal-dmb", static, basis, beta=2.0)
    with pytest.raises(InvalidInputError, match="n_chains"):
        sampler("thermal-dbm", static, basis, beta=2.0, n_chain=3)


@pytest.mark.parametrize("n_up", [None, 3])
def test_heisenberg_rings(n_up):
    """Oracle: exact diagonalization, also at fixed magnetization; exchange as ladder operators."""
    bonds = [[0.5, i, (i + 1) % N] for i in range(N)]
    static = [["+-", bonds], ["-+", bonds], ["zz", [[1.0, *b[1:]] for b in bonds]]]
    basis = spin_basis_1d(N, Nup=n_up, pauli=0)
    thermal = sampler("thermal-dbm", static, basis, beta=2.0, seed=3, n_chains=20)
    thermal.run(400)
    exact = exact_thermal(static, basis, beta=2.0)
    energy = thermal.energy()
    # The Trotter error at this step is below a tenth of a percent.
    assert abs(energy.z_score(exact.energy.mean, 1e-3 * abs(exact.energy.mean))) < 4
    assert energy.stderr < 0.02 * abs(exact.energy.mean)
    pair = thermal.expt_value([["zz", [[1.0, 0, 1]]]])
    assert abs(thermal.expt_value(static).z_score(energy.mean, energy.stderr)) < 4
    across = thermal.expt_value([["xx", [[1.0, 0, 1]]]])
    if n_up is None:
        assert abs(across.z_score(pair.mean, pair.stderr)) < 4
    states = thermal.sample_spins(50)
    if n_up is not None:
        assert ((states > 0).sum(axis=1) == n_up).all()
    with pytest.raises(UnsupportedError, match="x_0 x_2"):
        thermal.expt_value([["xx", [[1.0, 0, 2]]]])
