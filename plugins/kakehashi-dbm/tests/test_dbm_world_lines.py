"""World lines of exchange models: weights of the machine, unbiased loops in all regimes of anisotropy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from quspin.basis import spin_basis_1d
from scipy.linalg import expm

from kakehashi_core.chains import run_chains
from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_dbm.exchange_model import ExchangeModel
from kakehashi_dbm.loop_updates import LoopUpdate, breakup_probabilities, straight_lines
from kakehashi_dbm.world_lines import WorldLines
from kakehashi_quspin.spin_model import SpinModel

CASES = {
    "plane": (0.4, 1.0),
    "isotropic": (1.0, 1.0),
    "axis": (1.8, 0.7),
    "ferromagnet": (-1.5, 0.6),
}


def chain(jz, jxy, n=3, h=0.0):
    bonds = [(i, i + 1) for i in range(n - 1)]
    static = [
        ["zz", [[jz * (1 + 0.2 * k), i, j] for k, (i, j) in enumerate(bonds)]],
        ["xx", [[jxy, i, j] for i, j in bonds]],
        ["yy", [[jxy, i, j] for i, j in bonds]],
    ]
    if h:
        static.append(["z", [[-h * (i + 1), i] for i in range(n)]])
    return static


def spin_model(static, n=3):
    return SpinModel.from_quspin(static, n)


def trotter(static, beta, n_steps, n=3):
    """Return the symmetric step that the lines are made of, to the power n_steps, in the rotated frame."""
    model = ExchangeModel.from_spin_model(spin_model(static, n))
    step = beta / n_steps
    product = np.eye(2**n)
    gates = []
    for (i, j), jz, jx in zip(model.bonds, model.along, model.across, strict=True):
        bond = [["zz", [[jz, i, j]]], ["xx", [[-jx, i, j]]], ["yy", [[-jx, i, j]]]]
        gates.append(spin_model(bond, n).matrix().real)
    field = spin_model([["z", [[h, i] for i, h in enumerate(model.longitudinal)]]], n).matrix().real
    order = [*range(len(gates)), *range(len(gates) - 1, -1, -1)]
    product = expm(step * field)
    for k in order:
        product = expm(-0.5 * step * gates[k]) @ product
    return np.linalg.matrix_power(product, n_steps)


@pytest.mark.parametrize("case", CASES)
def test_weights_are_the_trace_of_the_gates(case):
    """Oracle: the trace of the product of gates, and its diagonal, by enumeration of all lines."""
    jz, jxy = CASES[case]
    static = chain(jz, jxy, h=0.15)
    lines = WorldLines.thermal(ExchangeModel.from_spin_model(spin_model(static)), 0.9, 2)
    assert lines.n_pieces == 12
    every = np.array(list(itertools.product((1, -1), repeat=12)), dtype=np.int8)
    weights = np.exp(lines.log_weight(every))
    product = trotter(static, 0.9, 2)
    assert weights.sum() == pytest.approx(np.trace(product), rel=1e-12)
    rows = [
        int("".join("0" if s > 0 else "1" for s in spins), 2)
        for spins in lines.boundary_spins(every)[:, 0]
    ]
    diagonal = np.bincount(rows, weights=weights, minlength=8)
    assert diagonal == pytest.approx(np.diag(product), rel=1e-11)
    step = 1e-5
    slopes = [np.log(np.trace(trotter(static, 0.9 + s * step, 2))) for s in (1.0, -1.0)]
    energy = -(slopes[0] - slopes[1]) / (2 * step)
    allowed = weights > 0.0
    found = (weights[allowed] @ lines.energies(every[allowed])) / weights.sum()
    assert found == pytest.approx(energy, abs=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_breakups(case):
    """Oracle: probabilities sum to one; weights of breakups are the same from both states that allow them."""
    jz, jxy = CASES[case]
    static = chain(jz, jxy)
    lines = WorldLines.thermal(ExchangeModel.from_spin_model(spin_model(static)), 1.0, 2)
    weights = lines.gate_weights()
    p = breakup_probabilities(weights)
    assert p.min() >= 0.0
    assert p.sum(axis=2) == pytest.approx(np.ones(p.shape[:2]))
    joint = p * weights[:, :, None]
    for k, (first, second) in enumerate(((0, 1), (1, 2), (0, 2))):
        assert joint[:, first, k] == pytest.approx(joint[:, second, k])


@pytest.mark.parametrize("case", CASES)
def test_loops_sample_the_lines(case):
    """Oracle: the Trotter product: energy, correlations, magnetization in a field."""
    jz, jxy = CASES[case]
    static = chain(jz, jxy, h=0.15)
    beta, n_steps = 1.2, 4
    lines = WorldLines.thermal(ExchangeModel.from_spin_model(spin_model(static)), beta, n_steps)
    run = run_chains(
        LoopUpdate(lines),
        straight_lines(lines, np.random.default_rng(0).choice([-1, 1], size=(100, 3))),
        observables={
            "e": lambda s: lines.energies(s.positions),
            "zz": lambda s: (
                lines.boundary_spins(s.positions)[:, :, 0]
                * lines.boundary_spins(s.positions)[:, :, 2]
            ).mean(axis=1),
            "m": lambda s: lines.boundary_spins(s.positions).mean(axis=(1, 2)),
        },
        n_measurements=300,
        warmup=30,
        seed=1,
    )
    product = trotter(static, beta, n_steps)
    p = np.diag(product) / np.trace(product)
    states = np.array(list(itertools.product((1, -1), repeat=3)))
    # The field stands between steps, so spins there feel it half way.
    step = 1e-5
    slopes = [np.log(np.trace(trotter(static, beta + s * step, n_steps))) for s in (1.0, -1.0)]
    exact = {
        "e": -(slopes[0] - slopes[1]) / (2 * step),
        "zz": float(p @ (states[:, 0] * states[:, 2])),
        "m": float(p @ states.mean(axis=1)),
    }
    for name, value in exact.items():
        assert abs(run.estimate(name).z_score(value)) < 4
        assert run.estimate(name).stderr < 0.03


def test_fixed_magnetization():
    """Oracle: the Trotter product in the sector of two spins up; the number never changes."""
    n = 4
    static = chain(1.0, 1.0, n=n)
    model = ExchangeModel.from_spin_model(SpinModel.from_quspin(static, spin_basis_1d(n, Nup=2)))
    lines = WorldLines.thermal(model, 1.5, 6)
    start = np.tile([1, -1, 1, -1], (200, 1))
    run = run_chains(
        LoopUpdate(lines, conserve=True),
        straight_lines(lines, start),
        observables={
            "up": lambda s: lines.boundary_spins(s.positions)[:, 0].sum(axis=1),
            "zz": lambda s: (
                lines.boundary_spins(s.positions)[:, :, 0]
                * lines.boundary_spins(s.positions)[:, :, 1]
            ).mean(axis=1),
        },
        n_measurements=300,
        warmup=50,
        seed=2,
    )
    assert (run.series["up"] == 0.0).all()
    product = trotter(static, 1.5, 6, n=n)
    states = np.array(list(itertools.product((1, -1), repeat=n)))
    p = np.where(states.sum(axis=1) == 0, np.diag(product), 0.0)
    exact = float((p / p.sum()) @ (states[:, 0] * states[:, 1]))
    assert abs(run.estimate("zz").z_score(exact)) < 4


def test_what_is_refused():
    """Oracle: what messages say."""
    triangle = [[s, [[1.0, i, (i + 1) % 3] for i in range(3)]] for s in ("xx", "yy", "zz")]
    for static, message in (
        (triangle, "frustrated"),
        ([["xx", [[1.0, 0, 1]]], ["yy", [[0.5, 0, 1]]]], "different couplings"),
        ([["xx", [[1.0, 0, 1]]], ["yy", [[1.0, 0, 1]]], ["zz", [[1.0, 1, 2]]]], "without"),
        ([["x", [[1.0, 0]]]], "x_0"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            ExchangeModel.from_spin_model(spin_model(static))
    model = ExchangeModel.from_spin_model(spin_model(chain(1.0, 1.0)))
    with pytest.raises(InvalidInputError, match="even"):
        WorldLines.thermal(model, 1.0, 3)
    lonely = ExchangeModel.from_spin_model(spin_model(chain(1.0, 1.0, n=2)))
    with pytest.raises(InvalidInputError, match="site 2"):
        WorldLines.thermal(lonely, 1.0, 2)
