"""Heat bath, overrelaxation, hybrid Monte Carlo, self-learning: distributions and detailed balance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kakehashi_core.errors import ConvergenceError, InvalidInputError, NonFiniteError
from kakehashi_slmc import local_updates
from kakehashi_slmc.block_moves import BlockSweeps
from kakehashi_slmc.distance_shells import distance_shells
from kakehashi_slmc.heat_bath import PairSweeps, heat_bath_cosines
from kakehashi_slmc.lattices import lattice
from kakehashi_slmc.linear_model import LinearModel, shell_features
from kakehashi_slmc.local_updates import LocalUpdates, fermi_poles, needed_poles
from kakehashi_slmc.self_learning import Nested, SelfLearning
from kakehashi_slmc.spin_fermion import SpinFermion
from kakehashi_slmc.spin_kernels import SphereHMC, trajectory
from kakehashi_slmc.torch_sweeps import TorchSpins
from kakehashi_slmc.unit_vectors import random_rotations, random_spins, tangential

BOND = np.array([[0.0, 1.0], [1.0, 0.0]])


def pair_weight(coupling):
    return lambda spins: coupling * np.einsum("ba,ba->b", spins[:, 0], spins[:, 1])


def test_a_wrong_model_only_lowers_the_acceptance():
    """Oracle: the exact model, which is always accepted."""
    spins = random_spins(np.random.default_rng(0), 400, 2)
    rng = np.random.default_rng(1)

    def acceptance(coupling):
        kernel = SelfLearning(pair_weight(-2.0), PairSweeps(coupling * BOND))
        step = kernel.step(kernel.start(spins), rng)
        return step.accepted[step.moved].mean()

    assert acceptance(-2.0) == 1.0
    assert acceptance(-1.0) > acceptance(2.0)


@pytest.mark.parametrize("strength", [0.0, 1e-8, 1e-3, 1.0, 30.0, 1e3])
def test_cosines_of_the_heat_bath(strength):
    """Oracle: coth(k) - 1 / k, by integrating the inverse over its uniform number."""
    u, w = np.polynomial.legendre.leggauss(400)
    u, w = 0.5 * (u + 1), 0.5 * w
    expected = 1 / np.tanh(strength) - 1 / strength if strength > 1e-4 else strength / 3
    mean = float((w * heat_bath_cosines(np.full(400, strength), u)).sum())
    assert mean == pytest.approx(expected, abs=2e-5)
    edge = heat_bath_cosines(np.full(2, strength), np.array([1e-300, 1.0]))
    assert np.isfinite(edge).all()
    assert np.abs(edge).max() <= 1.0


def test_sweeps_keep_lengths_and_sample_the_pair_model():
    """Oracle: <S_1 . S_2> = coth(g) - 1 / g of one bond; energies that overrelaxation keeps."""
    spins = random_spins(np.random.default_rng(2), 20_000, 2)
    sweeps = PairSweeps(1.5 * BOND, n_sweeps=3)
    moved, change = sweeps(spins, np.random.default_rng(3))
    assert np.linalg.norm(moved, axis=-1) == pytest.approx(np.ones((20_000, 2)))
    x = np.einsum("ba,ba->b", moved[:, 0], moved[:, 1])
    assert change == pytest.approx(1.5 * (x - np.einsum("ba,ba->b", spins[:, 0], spins[:, 1])))
    assert x.mean() == pytest.approx(1 / np.tanh(1.5) - 1 / 1.5, abs=4 * x.std() / 141)
    for axis in range(3):  # every direction alike
        assert abs(moved[:, :, axis].mean()) < 0.02
    part, _ = sweeps(spins, np.random.default_rng(3), sites=np.array([1]))
    assert np.array_equal(part[:, 0], spins[:, 0])
    assert (part[:, 1] != spins[:, 1]).any()


def test_sweeps_are_reversible_and_a_fixed_order_is_not():
    """Oracle: transitions between two halves of a ring of three, there and back.

    The statistic is odd under time reversal, so its mean vanishes for reversible sequences. Control: one site
    after the other in a fixed order.
    """
    couplings = np.array([[0, 2.0, 0.5], [2.0, 0, 1.0], [0.5, 1.0, 0]])
    n = 60_000
    rng = np.random.default_rng(4)
    spins = random_spins(rng, n, 3)
    for _ in range(30):
        spins = PairSweeps(couplings).sweep(spins, rng)

    def oddness(before, after):
        a = np.einsum("ba,ba->b", before[:, 0], before[:, 1])
        b = np.einsum("ba,ba->b", after[:, 1], after[:, 2])
        c = np.einsum("ba,ba->b", after[:, 0], after[:, 1])
        d = np.einsum("ba,ba->b", before[:, 1], before[:, 2])
        odd = a * b - c * d
        return abs(odd.mean()) / (odd.std() / np.sqrt(n))

    # Order and coin are shared by all chains: groups of chains draw their own.
    after = np.concatenate(
        [
            PairSweeps(couplings, n_sweeps=1).sweep(part, np.random.default_rng(seed))
            for seed, part in enumerate(np.split(spins, 600))
        ]
    )
    assert oddness(spins, after) < 5
    fixed = spins.copy()
    for site in (0, 1, 2):
        fixed = PairSweeps(couplings, n_sweeps=1).sweep(fixed, rng, sites=np.array([site]))
    assert oddness(spins, fixed) > 6


def test_trajectories_are_reversible_and_of_second_order():
    """Oracle: the way back with reversed momenta; energy errors of two step sizes."""
    model = SpinFermion.from_matrix(lattice("square", (2, 3)).hopping, 1.0, temperature=0.2)
    rng = np.random.default_rng(5)
    spins = random_spins(rng, 4, 6)
    momenta = tangential(rng.normal(size=spins.shape), spins)
    there = trajectory(model, spins, momenta, step_size=0.2, n_steps=8)
    back = trajectory(model, there[0], -there[1], step_size=0.2, n_steps=8)
    assert back[0] == pytest.approx(spins, abs=1e-11)
    assert back[1] == pytest.approx(-momenta, abs=1e-11)

    def error(size, n):
        _, p, value = trajectory(model, spins, momenta, step_size=size, n_steps=n)
        return np.abs(0.5 * (p**2 - momenta**2).sum(axis=(1, 2)) - (value - model(spins))).mean()

    assert error(0.05, 16) / error(0.025, 32) == pytest.approx(4.0, rel=0.15)


def test_linear_models():
    """Oracle: couplings that made the weights; gradient by differences; symmetries to rounding."""
    found = lattice("square", (4, 4))
    shells = distance_shells(found.positions, found.cell)
    rng = np.random.default_rng(6)
    spins = random_spins(rng, 60, 16)
    truth = LinearModel(
        shells=shells, constant=3.0, coefficients=np.array([1.0, -0.5, 0.2, 0.1, 0.05])
    )
    fitted = LinearModel.fit(shells, spins, truth(spins))
    assert fitted.coefficients == pytest.approx(truth.coefficients, abs=1e-10)
    assert fitted.constant == pytest.approx(3.0)
    few = LinearModel.fit(shells, spins, truth(spins), n_shells=2)
    assert few.coefficients.shape == (2,)
    assert few(spins) == pytest.approx(
        few.constant + shell_features(shells, spins, n_shells=2) @ few.coefficients
    )
    value, gradient = truth.value_and_gradient(spins)
    step = np.zeros_like(spins)
    step[:, 5, 1] = 1e-6
    difference = (truth(spins + step) - truth(spins - step)) / 2e-6
    assert gradient[:, 5, 1] == pytest.approx(difference, rel=1e-6)
    assert value == pytest.approx(truth(spins))
    turned = np.einsum("bij,bnj->bni", random_rotations(rng, 60), spins)
    assert truth(turned) == pytest.approx(truth(spins), abs=1e-12)
    moved = spins.reshape(60, 4, 4, 3)[:, [1, 2, 3, 0]].reshape(60, 16, 3)
    assert truth(moved) == pytest.approx(truth(spins), abs=1e-12)
    with pytest.raises(InvalidInputError, match="5 samples cannot fix 6"):
        LinearModel.fit(shells, spins[:5], truth(spins[:5]))


def test_poles_of_the_fermi_function():
    """Oracle: the Fermi function; the first poles are odd multiples of pi with weight 1."""
    z, residues = fermi_poles(20)
    assert z[:3] == pytest.approx(np.pi * np.array([1, 3, 5]), rel=1e-12)
    assert residues[:3] == pytest.approx(np.ones(3), rel=1e-12)
    n = needed_poles(96.0)
    assert 12 < n <= 24
    with pytest.raises(InvalidInputError, match="poles"):
        needed_poles(1e6)


def test_local_updates_know_the_change_of_the_weight(monkeypatch):
    """Oracle: diagonalization after every sweep, more moves than are collected; fewer poles are worse."""
    model = SpinFermion.from_matrix(
        lattice("triangular", (4, 5), t_prime=0.3).hopping,
        np.linspace(0.5, 3.0, 20),
        temperature=0.1,
        chemical_potential=-0.7,
    )
    start = random_spins(np.random.default_rng(7), 2, 20)
    drifts = []
    for n_poles in (None, 6):
        if n_poles is not None:
            with pytest.raises(
                InvalidInputError, match="n_poles is 6; at this temperature at least"
            ):
                LocalUpdates(model, n_poles=n_poles)
            monkeypatch.setattr(local_updates, "needed_poles", lambda largest: 6)
            monkeypatch.setattr(local_updates, "LARGEST_DRIFT", np.inf)
        kernel = LocalUpdates(model, n_poles=n_poles, target_acceptance=None)
        state, rng = kernel.start(start), np.random.default_rng(8)
        for _ in range(3):
            state = kernel.step(state, rng).state
            assert kernel.site_acceptance > 0.5
        assert state.log_weights == pytest.approx(model(state.positions), abs=1e-10)
        drifts.append(kernel.drift)
    assert drifts[0] < 1e-9 < 1e-6 < drifts[1]
    monkeypatch.setattr(local_updates, "LARGEST_DRIFT", 1e-12)
    with pytest.raises(ConvergenceError, match="decisions are not exact"):
        kernel.step(state, rng)


def test_blocks_leave_the_rest_alone():
    """Oracle: which sites moved: one and its nearest neighbors."""
    found = lattice("square", (4, 4))
    shells = distance_shells(found.positions, found.cell)
    spins = random_spins(np.random.default_rng(9), 3, 16)
    couplings = 0.3 * (shells.labels == 1)
    inner = BlockSweeps(PairSweeps(couplings), shells, 5)
    moved, change = inner(spins, np.random.default_rng(10))
    sites = np.flatnonzero((moved != spins).any(axis=(0, 2)))
    assert len(sites) == 5
    assert sorted((shells.labels[sites][:, sites] == 1).sum(axis=1)) == [1, 1, 1, 1, 4]

    def weight(s):
        return 0.5 * np.einsum("bia,ij,bja->b", s, couplings, s)

    assert change == pytest.approx(weight(moved) - weight(spins))
    with pytest.raises(InvalidInputError, match="17 sites"):
        BlockSweeps(PairSweeps(couplings), shells, 17)


@pytest.mark.parametrize("device", ["torch on cpu", "cuda"])
def test_sweeps_on_a_device_are_those_of_the_cpu(device):
    """Oracle: the compiled sweeps with the same random numbers; a site without couplings."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    found = lattice("square", (4, 4))
    shells = distance_shells(found.positions, found.cell)
    couplings = 0.8 * (shells.labels == 1) - 0.2 * (shells.labels == 2)
    couplings[3] = couplings[:, 3] = 0.0
    spins = random_spins(np.random.default_rng(11), 5, 16)
    rng = np.random.default_rng(12)
    expected = PairSweeps(couplings).sweep(spins, rng)
    if device == "cuda":
        moved = PairSweeps(couplings, device=device).sweep(spins, np.random.default_rng(12))
    else:
        sweeps = PairSweeps(couplings)
        sweeps._moving = lambda s: TorchSpins(s, couplings, device="cpu")
        moved = sweeps.sweep(spins, np.random.default_rng(12))
    assert moved == pytest.approx(expected, abs=1e-11)
    assert (moved != spins).any()


@pytest.mark.parametrize(
    ("couplings", "message"),
    [
        (np.zeros((2, 3)), r"shape \(2, 3\)"),
        ([[0.0, 1.0], [2.0, 0.0]], r"not symmetric: \(0, 1\) is 1.0"),
        ([[0.0, 1.0], [1.0, 3.0]], r"coupling \(1, 1\) is 3.0"),
        ([[0.0, np.nan], [np.nan, 0.0]], r"coupling \(0, 1\) is nan"),
    ],
)
def test_couplings_that_cannot_be(couplings, message):
    """Oracle: what messages say."""
    with pytest.raises(InvalidInputError, match=message):
        PairSweeps(couplings)


def test_counts_and_sizes_that_cannot_be():
    """Oracle: what messages say."""
    with pytest.raises(InvalidInputError, match="n_sweeps must be at least 1"):
        PairSweeps(BOND, n_sweeps=0)
    with pytest.raises(InvalidInputError, match=r"\(n_chains, 2, 3\) is needed"):
        PairSweeps(BOND).sweep(np.zeros((1, 3, 3)), np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match="times must be at least 1"):
        Nested(lambda s: np.zeros(len(s)), PairSweeps(BOND), times=0)


class Broken:
    """A weight whose chain 1 is wrong away from the start."""

    def __init__(self, value, slope):
        self.value, self.slope, self.asked = value, slope, 0

    def value_and_gradient(self, spins):
        values, gradient = np.zeros(len(spins)), np.zeros(spins.shape)
        self.asked += 1
        if self.asked > 2:
            values[1], gradient[1, 0, 0] = self.value, self.slope
        return values, gradient


@pytest.mark.parametrize(
    ("value", "slope", "message"),
    [
        (np.nan, 0.0, "log-weight is nan for chain 1"),
        (np.inf, 0.0, "log-weight is inf for chain 1"),
        (0.0, np.nan, "gradient of the log-weight is not finite for chain 1"),
        (-np.inf, np.nan, None),
    ],
)
def test_trajectories_name_what_is_not_finite(value, slope, message):
    """Oracle: what messages say; where the weight is zero, a trajectory is rejected."""
    kernel = SphereHMC(Broken(value, slope), n_steps=3)
    rng = np.random.default_rng(0)
    state = kernel.start(random_spins(rng, 3, 2))
    if message is None:
        assert kernel.step(state, rng).accepted.tolist() == [True, False, True]
        return
    with pytest.raises(NonFiniteError, match=message):
        kernel.step(state, rng)


def test_samples_that_cannot_be_fitted():
    """Oracle: what messages say."""
    found = lattice("chain", (4,))
    shells = distance_shells(found.positions, found.cell)
    spins = random_spins(np.random.default_rng(0), 9, 4)
    weights = np.zeros(9)
    with pytest.raises(InvalidInputError, match=r"log-weights \(8,\)"):
        LinearModel.fit(shells, spins, weights[1:])
    weights[3] = np.nan
    with pytest.raises(InvalidInputError, match="log-weight of sample 3"):
        LinearModel.fit(shells, spins, weights)
