"""Loops and their cluster updates: weights of the machine, unbiased averages, identities by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.linalg import expm

from kakehashi_core.chains import autocorrelation, run_chains
from kakehashi_core.errors import InvalidInputError
from kakehashi_dbm.cluster_updates import ClusterUpdate, random_loops
from kakehashi_dbm.free_fermions import ring_thermodynamics
from kakehashi_dbm.ising_loop import IsingLoop, transverse_values
from kakehashi_dbm.ising_model import IsingModel
from kakehashi_dbm.line_averages import line_averages
from kakehashi_dbm.loop_operators import operator_values
from kakehashi_quspin.spin_model import SpinModel

STATIC = [
    ["zz", [[-1.0, 0, 1], [0.6, 1, 2], [-0.4, 0, 2]]],
    ["z", [[0.3, 0], [-0.5, 2]]],
    ["x", [[-0.9, 0], [-0.4, 1], [-1.2, 2]]],
]
MODEL = IsingModel.from_spin_model(SpinModel.from_quspin(STATIC, 3))
BETA, N_SLICES = 1.1, 4
LOOP = IsingLoop.thermal(MODEL, BETA, N_SLICES)


def trotter_state():
    """Return Psi of the symmetric product, (8, 8)."""
    v = SpinModel.from_quspin(STATIC[:2], 3).matrix().real
    t = SpinModel.from_quspin(STATIC[2:], 3).matrix().real
    step = BETA / N_SLICES
    half = expm(-0.5 * step * v)
    return np.linalg.matrix_power(half @ expm(-step * t) @ half, N_SLICES // 2)


def every_loop():
    states = np.array(list(itertools.product((1, -1), repeat=3 * N_SLICES)), dtype=np.int8)
    return states.reshape(-1, N_SLICES, 3)


def test_weights_are_the_square_of_the_machine():
    """Oracle: |Psi(s, s')|^2 of the Trotter product, from sums over the other slices."""
    loops = every_loop()
    weights = np.exp(LOOP.log_weight(loops))
    psi = trotter_state()
    rows = [int("".join("0" if x > 0 else "1" for x in s), 2) for s in loops[:, 0]]
    columns = [int("".join("0" if x > 0 else "1" for x in s), 2) for s in loops[:, N_SLICES // 2]]
    found = np.zeros((8, 8))
    np.add.at(found, (rows, columns), weights)
    expected = psi**2
    assert found / found.sum() == pytest.approx(expected / expected.sum(), rel=1e-10)


def test_purified_estimates_by_enumeration():
    """Oracle: <Psi| O |Psi> of each x and of the diagonal, over all loops."""
    loops = every_loop()
    weights = np.exp(LOOP.log_weight(loops))
    weights /= weights.sum()
    psi = trotter_state()
    norm = (psi**2).sum()
    values = transverse_values(LOOP, loops)
    for site in range(3):
        x = SpinModel.from_quspin([["x", [[1.0, site]]]], 3).matrix().real
        exact = np.trace(psi.T @ x @ psi) / norm
        for t in range(N_SLICES):
            assert weights @ values[:, t, site] == pytest.approx(exact, rel=1e-11)
    v = SpinModel.from_quspin(STATIC[:2], 3).matrix().real
    exact = np.trace(psi.T @ v @ psi) / norm
    for t in range(N_SLICES):
        assert weights @ MODEL.diagonal(loops[:, t]) == pytest.approx(exact, rel=1e-11)


def test_averages_over_lines():
    """Oracle: conditional averages of one spin's history over all of its histories, by enumeration."""
    loops = every_loop()
    logs = LOOP.log_weight(loops)
    z, x = line_averages(LOOP, loops)
    plain = transverse_values(LOOP, loops)
    for site in range(3):
        others = np.delete(loops, site, axis=2).reshape(len(loops), -1)
        groups = np.unique(others, axis=0, return_inverse=True)[1].ravel()
        for chosen in (0, 17, 200):
            same = groups == chosen
            w = np.exp(logs[same] - logs[same].max())
            w /= w.sum()
            assert z[same][:, :, site] == pytest.approx(
                np.tile(w @ loops[same][:, :, site], (same.sum(), 1)), abs=1e-12
            )
            assert x[same][:, :, site] == pytest.approx(
                np.tile(w @ plain[same][:, :, site], (same.sum(), 1)), abs=1e-12
            )


def test_averages_over_long_lines():
    """Oracle: the plain estimates in the mean, with less noise; strong couplings do not overflow."""
    n = 6
    static = [
        ["zz", [[-1.0, i, (i + 1) % n] for i in range(n)]],
        ["x", [[-1.0, i] for i in range(n)]],
    ]
    model = IsingModel.from_spin_model(SpinModel.from_quspin(static, n))
    loop = IsingLoop.thermal(model, 20.0, 80)

    def lines(state):
        return line_averages(loop, state.positions)[1].mean(axis=(1, 2))

    run = run_chains(
        ClusterUpdate(loop),
        random_loops(loop, np.random.default_rng(4), 20),
        observables={
            "plain": lambda s: transverse_values(loop, s.positions).mean(axis=(1, 2)),
            "lines": lines,
            "difference": lambda s: (
                transverse_values(loop, s.positions).mean(axis=(1, 2)) - lines(s)
            ),
        },
        n_measurements=200,
        warmup=20,
        seed=5,
    )
    assert abs(run.estimate("difference").z_score(0.0)) < 4
    assert run.series["lines"].std() < 0.8 * run.series["plain"].std()
    for beta in (1e-4, 2e3):
        extreme = IsingLoop.thermal(model, beta, 10)
        for values in line_averages(extreme, np.ones((1, 10, n), dtype=np.int8)):
            assert np.isfinite(values).all()


@pytest.mark.parametrize(
    "operator",
    [
        [["x", [[0.7, 1]]]],
        [["xx", [[1.0, 0, 1]]], ["zz", [[0.5, 1, 2]]]],
        [["yy", [[1.0, 1, 2]]]],
        [["+-", [[0.3, 0, 2]]], ["-+", [[0.3, 0, 2]]]],
        [["xz", [[1.0, 0, 2]]], ["xxx", [[0.4, 0, 1, 2]]]],
        [["yzy", [[1.0, 0, 1, 2]]], ["I", [[0.3, 0]]]],
        [["y", [[1.0, 1]]]],
    ],
)
def test_any_operator_by_enumeration(operator):
    """Oracle: <Psi| O |Psi> / <Psi|Psi> of the Trotter state, over all loops, at every slice."""
    loops = every_loop()
    weights = np.exp(LOOP.log_weight(loops))
    weights /= weights.sum()
    psi = trotter_state()
    model = SpinModel.from_quspin(operator, 3)
    exact = np.trace(psi.T @ model.matrix() @ psi).real / (psi**2).sum()
    values = operator_values(LOOP, loops, {**model.terms, (): model.constant})
    for t in range(N_SLICES):
        assert weights @ values[:, t] == pytest.approx(exact, rel=1e-10, abs=1e-12)


def test_cluster_updates_sample_the_loop():
    """Oracle: enumeration of all loops; fields through the ghost spin, couplings of both signs."""
    loops = every_loop()
    weights = np.exp(LOOP.log_weight(loops))
    weights /= weights.sum()
    rng = np.random.default_rng(0)
    run = run_chains(
        ClusterUpdate(LOOP),
        random_loops(LOOP, rng, 50),
        observables={
            "diagonal": lambda s: MODEL.diagonal(s.positions).mean(axis=1),
            "x": lambda s: transverse_values(LOOP, s.positions).mean(axis=(1, 2)),
            "m": lambda s: s.positions[:, 0].mean(axis=1),
            "log_weight": lambda s: s.log_weights,
        },
        n_measurements=800,
        warmup=30,
        seed=1,
    )
    exact = {
        "diagonal": weights @ MODEL.diagonal(loops).mean(axis=1),
        "x": weights @ transverse_values(LOOP, loops).mean(axis=(1, 2)),
        "m": weights @ loops[:, 0].mean(axis=1),
        "log_weight": weights @ LOOP.log_weight(loops),
    }
    for name, value in exact.items():
        found = run.estimate(name)
        assert abs(found.z_score(value)) < 4
        assert 0.0 < found.stderr < 0.03


def test_spins_without_transverse_field_stay_the_same_in_time():
    """Oracle: a classical spin in a field, tanh(beta h)."""
    static = [["z", [[-0.4, 0]]], ["x", [[-1.0, 1]]]]
    model = IsingModel.from_spin_model(SpinModel.from_quspin(static, 2))
    loop = IsingLoop.thermal(model, 2.0, 10)
    run = run_chains(
        ClusterUpdate(loop),
        random_loops(loop, np.random.default_rng(2), 100),
        observables={
            "z": lambda s: s.positions[:, :, 0].mean(axis=1),
            "same": lambda s: (s.positions[:, :, 0] == s.positions[:, :1, 0]).all(axis=1),
            "x": lambda s: transverse_values(loop, s.positions)[:, :, 1].mean(axis=1),
        },
        n_measurements=200,
        warmup=10,
        seed=3,
    )
    assert abs(run.estimate("z").z_score(np.tanh(0.8))) < 4
    assert run.series["same"].all()
    assert abs(run.estimate("x").z_score(np.tanh(2.0))) < 4


def test_bad_input():
    """Oracle: what messages say."""
    with pytest.raises(InvalidInputError, match="even"):
        IsingLoop.thermal(MODEL, 1.0, 5)
    with pytest.raises(InvalidInputError, match="positive"):
        IsingLoop.thermal(MODEL, 0.0, 4)


DEVICES = ["cpu", "cuda"]


@pytest.mark.parametrize("device", DEVICES)
def test_many_loops_at_once_flip_as_one(device):
    """Oracle: the compiled update with the same numbers; bonds of both signs, fields, a frozen spin."""
    torch = pytest.importorskip("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    from kakehashi_dbm.cluster_updates import _update
    from kakehashi_dbm.torch_clusters import TorchClusterUpdate

    static = [
        ["zz", [[-1.0, 0, 1], [0.7, 1, 2], [0.4, 0, 3], [-0.8, 2, 3]]],
        ["z", [[-0.5, 0], [0.3, 2]]],
        ["x", [[-0.9, 0], [-0.4, 1], [-0.7, 3]]],
    ]
    loop = IsingLoop.thermal(IsingModel.from_spin_model(SpinModel.from_quspin(static, 4)), 2.0, 10)
    rng = np.random.default_rng(3)
    spins = rng.choice(np.array([-1, 1], dtype=np.int8), size=(7, 10, 4))
    kernel = TorchClusterUpdate(loop, device=device)
    numbers = rng.random((7, kernel.n_numbers))
    found = kernel.updated(
        torch.as_tensor(spins.reshape(7, -1), device=device),
        torch.as_tensor(numbers, device=device),
    )
    links = [-np.expm1(-2.0 * np.abs(c)) for c in (loop.spatial, loop.temporal, loop.fields)]
    for chain in range(7):
        _update(
            spins[chain],
            loop.bonds,
            loop.spatial,
            links[0],
            loop.temporal,
            links[1],
            loop.fields,
            links[2],
            numbers[chain],
        )
    assert np.array_equal(found.cpu().numpy().reshape(spins.shape), spins)


@pytest.mark.parametrize("device", DEVICES)
def test_energies_from_many_loops_at_once(device):
    """Oracle: free fermions; one seed gives the same states twice."""
    torch = pytest.importorskip("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    from kakehashi_dbm.torch_clusters import TorchClusterUpdate

    n = 8
    static = [
        ["zz", [[-1.0, i, (i + 1) % n] for i in range(n)]],
        ["x", [[-1.0, i] for i in range(n)]],
    ]
    model = IsingModel.from_spin_model(SpinModel.from_quspin(static, n))
    loop = IsingLoop.thermal(model, 1.5, 30)
    kernel = TorchClusterUpdate(loop, device=device)

    def energies(seed):
        rng = np.random.default_rng(seed)
        state, found = kernel.start(random_loops(loop, rng, 60)), []
        for number in range(60):
            state = kernel.step(state, rng).state
            if number >= 20:
                z, x = line_averages(loop, state.positions)
                s = state.positions
                found.append(-(z * np.roll(s, -1, axis=2) + x).sum(axis=2).mean(axis=1))
        return np.array(found).T

    first = energies(1)
    assert np.array_equal(first, energies(1))
    exact = ring_thermodynamics(n, 1.0, 1.0, 1.5).energy
    assert abs(autocorrelation(first).estimate().z_score(exact)) < 4.5
