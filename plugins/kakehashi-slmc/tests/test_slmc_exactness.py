"""Every kernel samples the exact distribution in detailed balance, whatever its effective model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import chi2

from kakehashi_core.chains import (
    EitherWay,
    ParallelTempering,
    Repeated,
    autocorrelation,
    run_chains,
)
from kakehashi_slmc.block_moves import BlockSweeps
from kakehashi_slmc.distance_shells import distance_shells
from kakehashi_slmc.heat_bath import PairSweeps
from kakehashi_slmc.local_updates import LocalUpdates
from kakehashi_slmc.self_learning import Nested, SelfLearning
from kakehashi_slmc.shared_spectrum import SharedSpectrum
from kakehashi_slmc.spin_fermion import SpinFermion
from kakehashi_slmc.spin_kernels import SphereHMC, SpinMetropolis
from kakehashi_slmc.unit_vectors import random_spins

DIMER = SpinFermion.from_matrix(
    [[0.0, -1.0], [-1.0, 0.0]], 3.0, temperature=0.2, chemical_potential=0.5
)
# No two sites alike.
TRIANGLE = SpinFermion.from_matrix(
    [[0.0, -1.0, -0.5], [-1.0, 0.0, -0.8j], [-0.5, 0.8j, 0.0]],
    [3.0, 2.0, -2.5],
    temperature=0.4,
    chemical_potential=0.3,
)
MODELS = {"dimer": DIMER, "triangle": TRIANGLE}
COUPLINGS = {
    "dimer": np.array([[0.0, -2.0], [-2.0, 0.0]]),
    "triangle": np.array([[0.0, -1.0, 1.2], [-1.0, 0.0, 0.4], [1.2, 0.4, 0.0]]),
}
UNEQUAL = SpinFermion.from_matrix(
    [[0.0, -1.0, -0.3], [-1.0, 0.0, -0.7], [-0.3, -0.7, 0.0]], 2.0, temperature=0.1
)
UNEQUAL_COUPLINGS = np.array([[0.0, -1.87, 0.38], [-1.87, 0.0, -0.79], [0.38, -0.79, 0.0]])
GROUPS = 120
EDGES = np.linspace(-1.0, 1.0, 11)


@dataclass
class PairWeight:
    """A pair model with its gradient."""

    couplings: np.ndarray

    def __call__(self, spins):
        return self.value_and_gradient(spins)[0]

    def value_and_gradient(self, spins, /):
        fields = self.couplings @ spins
        return 0.5 * np.einsum("bia,bia->b", spins, fields), fields


def kernels(model, couplings):
    """Return all kernels, frozen scales, by name."""
    n = model.n_sites
    ring = np.stack([np.arange(n), np.zeros(n), np.zeros(n)], axis=1)
    shells = distance_shells(ring, np.zeros((3, 3)))
    good = PairSweeps(couplings, n_sweeps=1)
    metropolis = SpinMetropolis(model, target_acceptance=None)
    learning = SelfLearning(model, good)
    shared = SharedSpectrum(model, (model.temperature, 2.0 * model.temperature))
    return {
        "metropolis": metropolis,
        "hmc": SphereHMC(model, n_steps=4, step_size=0.2, target_acceptance=None),
        "local updates": LocalUpdates(model, target_acceptance=None),
        "self-learning hmc": SphereHMC(
            PairWeight(couplings),
            n_steps=4,
            step_size=0.3,
            log_weight=model,
            target_acceptance=None,
        ),
        "blocks": SelfLearning(model, BlockSweeps(good, shells, 1)),
        "self-learning": learning,
        "wrong model": SelfLearning(model, PairSweeps(-0.5 * couplings, n_sweeps=1)),
        "nested": SelfLearning(
            model,
            Nested(PairWeight(1.2 * couplings), PairSweeps(0.5 * couplings, n_sweeps=1), times=3),
        ),
        "repeated": Repeated(learning, 2),
        "either way": EitherWay([metropolis, learning]),
        "tempering": ParallelTempering(
            [SpinMetropolis(shared.at(k), target_acceptance=None) for k in range(2)], shared
        ),
    }


NAMES = tuple(kernels(DIMER, COUPLINGS["dimer"]))


def starts(name, model, n_chains, seed):
    """Return where chains start; tempering has two temperatures."""
    rng = np.random.default_rng(seed)
    if name != "tempering":
        return random_spins(rng, n_chains, model.n_sites)
    return random_spins(rng, 2 * n_chains, model.n_sites).reshape(n_chains, 2, -1, 3)


def coldest(name, positions):
    return positions[:, 0] if name == "tempering" else positions


def bond(spins, i, j):
    return np.einsum("ba,ba->b", spins[:, i], spins[:, j])


def exact_histogram(model):
    """Return the probability of each bin of x = S_1 . S_2, by quadrature over all angles that matter."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    b, p = np.meshgrid(nodes, 2 * np.pi * np.arange(20) / 20, indexing="ij")
    rest = np.stack([np.sqrt(1 - b**2) * np.cos(p), np.sqrt(1 - b**2) * np.sin(p), b], axis=-1)
    logs, factors = [], []
    for low, high in itertools.pairwise(EDGES):
        x = 0.5 * (high - low) * nodes + 0.5 * (high + low)
        factor = 0.5 * (high - low) * weights
        shape = (16,) if model.n_sites == 2 else (16, *b.shape)
        spins = np.zeros((*shape, model.n_sites, 3))
        spins[..., 0, 2] = 1.0
        turned = np.stack([np.sqrt(1 - x**2), 0 * x, x], axis=-1)
        spins[..., 1, :] = turned.reshape(16, *(1,) * (len(shape) - 1), 3)
        if model.n_sites == 3:
            spins[..., 2, :] = rest
            factor = factor[:, None, None] * weights[:, None] * np.ones(20)
        logs.append(model(spins.reshape(-1, model.n_sites, 3)))
        factors.append(factor.ravel())
    largest = max(log.max() for log in logs)
    sums = [(f * np.exp(log - largest)).sum() for f, log in zip(factors, logs, strict=True)]
    return np.array(sums) / np.sum(sums)


def check_histogram(name, system, *, n_chains, n_measurements, seed):
    """Compare with quadrature; return the effective number of samples and the acceptance."""
    model = MODELS[system]
    run = run_chains(
        kernels(model, COUPLINGS[system])[name],
        starts(name, model, n_chains, seed),
        observables={"x": lambda s: bond(coldest(name, s.positions), 0, 1)},
        n_measurements=n_measurements,
        warmup=40,
        seed=seed,
    )
    x = run.series["x"]
    counts, _ = np.histogram(x, EDGES)
    effective = min(autocorrelation(x).n_effective, x.size)
    expected = effective * exact_histogram(model)
    statistic = ((counts * effective / x.size - expected) ** 2 / expected).sum()
    assert chi2.sf(statistic, len(expected) - 1) > 1e-4
    return effective, float(run.acceptance.mean())


@pytest.mark.thorough
@pytest.mark.parametrize("system", MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_distributions(name, system):
    """Oracle: quadrature; chi-square with the effective number of samples, seed fixed beforehand."""
    _, acceptance = check_histogram(name, system, n_chains=200, n_measurements=60, seed=11)
    if name == "wrong model":
        assert acceptance < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("system", MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_distributions_at_a_hundred_thousand_samples(name, system):
    """Oracle: quadrature; the same with at least 1e5 effective samples."""
    steps = 5000 if name == "wrong model" else 1600
    effective, _ = check_histogram(name, system, n_chains=400, n_measurements=steps, seed=12)
    assert effective >= 1e5


def test_the_dimer_of_the_literature():
    """Oracle: the known average of this dimer, from 60 nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    spins = np.zeros((60, 2, 3))
    spins[:, 0, 2] = 1.0
    spins[:, 1] = np.stack([np.sqrt(1 - nodes**2), 0 * nodes, nodes], axis=1)
    w = weights * np.exp(DIMER(spins) - 20.0)
    assert (w @ nodes) / w.sum() == pytest.approx(-0.354262343, abs=1e-9)


def exact_samples(model, n, seed):
    """Return independent samples by rejection."""
    rng = np.random.default_rng(seed)
    found = []
    probe = model(random_spins(rng, 20_000, model.n_sites)).max() + 0.3
    while sum(map(len, found)) < n:
        spins = random_spins(rng, 20_000, model.n_sites)
        log = model(spins)
        assert log.max() < probe
        found.append(spins[np.log(rng.random(len(log))) < log - probe])
    return np.concatenate(found)[:n]


def oddness(before, after, groups):
    """Return the mean of f(before) g(after) - g(before) f(after) over its error; zero if reversible."""
    odd = bond(before, 0, 1) * bond(after, 1, 2) - bond(before, 1, 2) * bond(after, 0, 1)
    means = odd.reshape(groups, -1).mean(axis=1)
    return abs(means.mean()) / (means.std(ddof=1) / np.sqrt(groups))


@pytest.fixture(scope="module")
def equilibrium():
    """Independent samples of a triangle whose bonds differ."""
    return exact_samples(UNEQUAL, 48_000, 3)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "tempering"])
def test_detailed_balance(name, equilibrium):
    """Oracle: a statistic that is odd under time reversal, on exact samples; groups draw their own order."""
    kernel = kernels(UNEQUAL, UNEQUAL_COUPLINGS)[name]
    before = equilibrium[: 6000 if name == "local updates" else None]
    after = one_step(kernel, before)
    assert (after != before).any(axis=(1, 2)).mean() > 0.1
    assert oddness(before, after, GROUPS) < 4


def test_a_fixed_order_fails_the_same_test(equilibrium):
    """Control: self-learning whose inner moves visit the sites always in the same order."""
    sweeps = PairSweeps(UNEQUAL_COUPLINGS, n_sweeps=1)

    def inner(spins, rng):
        moved, total = spins, np.zeros(len(spins))
        for site in range(3):
            moved, change = sweeps(moved, rng, sites=np.array([site]))
            total += change
        return moved, total

    after = one_step(SelfLearning(UNEQUAL, inner), equilibrium)
    assert oddness(equilibrium, after, GROUPS) > 5


def one_step(kernel, before):
    """Return where one step leads; each group of chains draws its own orders and coins."""
    return np.concatenate(
        [
            kernel.step(kernel.start(part), np.random.default_rng([5, k])).state.positions
            for k, part in enumerate(np.split(before, GROUPS))
        ]
    )
