"""``accelerate``: exact distributions on all manifolds, learning that ends, bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kakehashi_core.chains import autocorrelation
from kakehashi_core.errors import InvalidInputError, NonFiniteError, UnknownNameError
from kakehashi_slmc import pair_model
from kakehashi_slmc.acceleration import accelerate
from kakehashi_slmc.pair_model import pair_classes
from kakehashi_slmc.spin_fermion import SpinFermion
from kakehashi_slmc.unit_vectors import random_spins

RING = np.array([[0, 1], [1, 2], [2, 3], [3, 0]])


def ising_weight(state):
    """Return the log-weight of four spins with a field and a product of all four: no pair model."""
    s = np.asarray(state, dtype=float)
    bonds = sum(s[..., i] * s[..., j] for i, j in RING)
    return 0.4 * bonds + 0.3 * s.sum(axis=-1) + 0.5 * s.prod(axis=-1)


def run(kernel, state, logw, n, seed=1):
    rng, states = np.random.default_rng(seed), []
    for _ in range(n):
        state, logw, _ = kernel.step(state, logw, rng)
        states.append(state)
    return np.array(states)


@pytest.mark.parametrize("vectorized", [False, True])
def test_ising_spins_against_enumeration(vectorized):
    """Oracle: all sixteen states."""
    every = np.array(list(itertools.product((-1, 1), repeat=4)))
    weights = np.exp(ising_weight(every))
    exact = float((weights * every[:, 0] * every[:, 1]).sum() / weights.sum())
    kernel = accelerate(ising_weight, manifold="ising", neighbors=RING, vectorized=vectorized)
    start = np.ones((50, 4), dtype=int) if vectorized else np.ones(4, dtype=int)
    state, logw = kernel.warmup(start, np.random.default_rng(0))
    assert kernel.frozen
    assert kernel.acceptance > 0.5
    states = run(kernel, state, logw, 400 if vectorized else 8000)
    x = states[..., 0] * states[..., 1]
    found = autocorrelation(x.T if vectorized else x)
    assert abs(found.mean - exact) < 4 * found.stderr
    assert found.stderr < 0.02
    assert set(np.unique(states)) == {-1, 1}


def test_angles_against_quadrature():
    """Oracle: a grid over two of three angles; the third is free by symmetry."""

    def log_weight(a):
        d = [np.cos(a[..., i] - a[..., (i + 1) % 3]) for i in range(3)]
        return 1.5 * d[0] + 0.7 * d[1] - 0.5 * d[2] + 0.6 * d[0] * d[1]

    grid = 2 * np.pi * np.arange(80) / 80
    a, b = np.meshgrid(grid, grid)
    angles = np.stack([0 * a, a, b], axis=-1).reshape(-1, 3)
    weights = np.exp(log_weight(angles))
    exact = float((weights * np.cos(angles[:, 0] - angles[:, 1])).sum() / weights.sum())
    kernel = accelerate(log_weight, manifold="angle", vectorized=True)
    state, logw = kernel.warmup(np.zeros((40, 3)), np.random.default_rng(0))
    states = run(kernel, state, logw, 400)
    found = autocorrelation(np.cos(states[..., 0] - states[..., 1]).T)
    assert abs(found.mean - exact) < 4 * found.stderr
    assert found.stderr < 0.02


DIMER = SpinFermion.from_matrix(
    [[0.0, -1.0], [-1.0, 0.0]], 3.0, temperature=0.2, chemical_potential=0.5
)


@pytest.mark.parametrize("with_gradient", [False, True])
def test_spins_of_electrons(with_gradient):
    """Oracle: <S_1 . S_2> = -0.354262343 by quadrature."""
    kernel = accelerate(
        DIMER,
        grad=(lambda s: DIMER.value_and_gradient(s)[1]) if with_gradient else None,
        vectorized=True,
    )
    start = np.tile([0.0, 0.0, 1.0], (60, 2, 1))
    state, logw = kernel.warmup(start, np.random.default_rng(0))
    states = run(kernel, state, logw, 300)
    x = np.einsum("tba,tba->tb", states[:, :, 0], states[:, :, 1])
    found = autocorrelation(x.T)
    assert abs(found.mean + 0.354262343) < 4 * found.stderr
    assert found.stderr < 0.02


def test_plain_and_accelerated_agree_with_a_user_proposal():
    """Oracle: enumeration; the proposal of the user is what moves before the warm-up."""
    asked = []

    def flip_one(state, rng):
        asked.append(1)
        new = state.copy()
        new[rng.integers(4)] *= -1
        return new

    kernel = accelerate(ising_weight, proposal=flip_one, manifold="ising")
    start = np.ones(4, dtype=int)
    states = run(kernel, start, ising_weight(start), 6000)
    assert len(asked) == 6000
    every = np.array(list(itertools.product((-1, 1), repeat=4)))
    weights = np.exp(ising_weight(every))
    exact = float((weights * every[:, 0]).sum() / weights.sum())
    found = autocorrelation(states[:, 0].astype(float))
    assert abs(found.mean - exact) < 4 * found.stderr


def test_steps_never_adapt_and_seeds_repeat():
    """Oracle: the model and the numbers of the same seeds."""
    runs = []
    for _ in range(2):
        kernel = accelerate(ising_weight, manifold="ising", neighbors=RING, vectorized=True)
        state, logw = kernel.warmup(np.ones((5, 4), dtype=int), np.random.default_rng(0))
        before = kernel.model.couplings.copy()
        runs.append(run(kernel, state, logw, 50))
        assert np.array_equal(kernel.model.couplings, before)
    assert np.array_equal(runs[0], runs[1])


def test_a_lattice_shares_couplings():
    """Oracle: the couplings that made the weights."""
    ring = np.array([[i, (i + 1) % 8] for i in range(8)])
    assert pair_classes(8, ring).max() == 4
    assert np.array_equal(pair_classes(4, RING), pair_classes(4, pair_classes(4, RING) == 1))
    assert pair_classes(5, None).max() == 10

    def log_weight(s):
        return 0.4 * sum(s[:, i] * s[:, j] for i, j in ring).astype(float) - 0.2 * s.sum(axis=1)

    kernel = accelerate(log_weight, manifold="ising", neighbors=ring, vectorized=True)
    kernel.warmup(np.ones((20, 8), dtype=int), np.random.default_rng(1))
    assert kernel.model.couplings[0] == pytest.approx([0, 0.4, 0, 0, 0, 0, 0, 0.4], abs=1e-3)
    assert kernel.model.field == pytest.approx([-0.2], abs=1e-3)
    assert kernel.acceptance > 0.99


@pytest.mark.parametrize(
    ("log_weight", "options", "error", "message"),
    [
        (lambda s: np.nan, {}, NonFiniteError, "log_weight returned nan for chain 0"),
        (lambda s: np.random.default_rng().normal(), {}, InvalidInputError, "not deterministic"),
        (lambda s: -np.inf, {}, InvalidInputError, "weight zero"),
        (lambda s: 0.0, {"neighbors": [[0, 1]]}, InvalidInputError, "no path of neighbors"),
        (lambda s: 0.0, {"neighbors": [[0, 9]]}, InvalidInputError, "name site 9"),
        (lambda s: 0.0, {"grad": lambda s: s}, InvalidInputError, "on the sphere only"),
    ],
)
def test_functions_that_cannot_be(log_weight, options, error, message):
    kernel = accelerate(log_weight, manifold="ising", **options)
    with pytest.raises(error, match=message):
        kernel.warmup(np.ones(4, dtype=int), np.random.default_rng(0))


def test_other_things_that_cannot_be():
    with pytest.raises(UnknownNameError, match="torus"):
        accelerate(ising_weight, manifold="torus")
    kernel = accelerate(ising_weight, manifold="ising")
    with pytest.raises(InvalidInputError, match=r"\+1 and -1"):
        kernel.warmup(np.array([1, 0, 1, 1]), np.random.default_rng(0))
    wrong = accelerate(DIMER, grad=lambda s: -DIMER.value_and_gradient(s)[1], vectorized=True)
    start = np.tile([0.6, 0.0, 0.8], (2, 2, 1))
    start[:, 1] = [0.0, 1.0, 0.0]
    with pytest.raises(InvalidInputError, match="not the derivative"):
        wrong.warmup(start, np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match="one number for each"):
        wrong.step(start, 0.0, np.random.default_rng(0))


def test_functions_that_work_in_place_change_nothing():
    """Oracle: the same functions that do not; the state that was given."""

    def flip(state, rng):
        new = state.copy()
        new[rng.integers(4)] *= -1
        return new

    def flip_in_place(state, rng):
        state[rng.integers(4)] *= -1
        return state

    def weight_in_place(state):
        found = float(ising_weight(state))
        state[:] = 0
        return found

    runs = []
    for proposal, weight in ((flip, ising_weight), (flip_in_place, weight_in_place)):
        kernel = accelerate(weight, proposal=proposal, manifold="ising")
        start = np.ones(4, dtype=int)
        state, logw = kernel.warmup(start, np.random.default_rng(0), n_evaluations=30)
        assert start.tolist() == [1, 1, 1, 1]
        runs.append(run(kernel, state, logw, 20))
    assert np.array_equal(*runs)


@pytest.mark.parametrize(
    ("logw", "message"),
    [(None, "logw is None|logw is nan"), (np.nan, "logw is nan"), (3.0, "give what belongs")],
)
def test_log_weights_that_are_not_those_of_the_state(logw, message):
    """Oracle: what messages say."""
    kernel = accelerate(ising_weight, manifold="ising")
    with pytest.raises(InvalidInputError, match=message):
        kernel.step(np.ones(4, dtype=int), logw, np.random.default_rng(0))


def test_gradients_that_cannot_be():
    """Oracle: what messages say; a gradient that is wrong at one site of eight."""
    field = np.array([0.0, 0.0, 1.0])

    def weight(s):
        return (s @ field).sum()

    def without_last(s):
        return np.tile(field, (8, 1)) * (np.arange(8) < 7)[:, None]

    start = random_spins(np.random.default_rng(3), 1, 8)[0]
    for grad, error, message in (
        (without_last, InvalidInputError, "at all sites of chain 0|at site 7"),
        (lambda s: np.full(s.shape, np.nan), NonFiniteError, "grad returned .*nan"),
        (lambda s: s[0], InvalidInputError, r"grad returned shape \(3,\)"),
    ):
        with pytest.raises(error, match=message):
            accelerate(weight, grad).warmup(start, np.random.default_rng(0))


def test_arguments_that_cannot_be():
    """Oracle: what messages say."""
    with pytest.raises(InvalidInputError, match="log_weight is None"):
        accelerate(None)
    with pytest.raises(InvalidInputError, match="proposal is 3"):
        accelerate(ising_weight, proposal=3)
    with pytest.raises(InvalidInputError, match="manifold is None"):
        accelerate(ising_weight, manifold=None)
    start = np.ones(4, dtype=int)
    with pytest.raises(InvalidInputError, match="rng is int"):
        accelerate(ising_weight, manifold="ising").warmup(start, 0)
    with pytest.raises(InvalidInputError, match=r"log_weight returned shape \(4,\)"):
        accelerate(lambda s: s, manifold="ising").warmup(start, np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match=r"proposal returned shape \(3,\)"):
        accelerate(ising_weight, proposal=lambda s, r: s[:3], manifold="ising").warmup(
            start, np.random.default_rng(0)
        )
    with pytest.raises(InvalidInputError, match="2 pi larger"):
        accelerate(lambda a: -(a**2).sum(), manifold="angle").warmup(
            np.ones(4), np.random.default_rng(0)
        )


def test_acceptance_is_that_of_proposals_that_moved():
    """Oracle: a proposal that stays every second time; the rest goes where the weight is next to nothing."""
    turn = []

    def proposal(state, rng):
        turn.append(1)
        return -state if len(turn) % 2 else state

    kernel = accelerate(lambda s: 50.0 * s.sum(), proposal=proposal, manifold="ising")
    with pytest.warns(UserWarning, match=r"0\.0 %"):
        kernel.warmup(np.ones(4, dtype=int), np.random.default_rng(0), n_evaluations=12)


def test_features_in_blocks(monkeypatch):
    """Oracle: all samples at once."""
    vectors = random_spins(np.random.default_rng(4), 50, 8)
    labels = pair_classes(8, [[i, (i + 1) % 8] for i in range(8)])
    whole = pair_model._features(vectors, labels)
    monkeypatch.setattr(pair_model, "BLOCK", 600)
    assert pair_model._features(vectors, labels) == pytest.approx(whole, abs=1e-13)
    first = sum((vectors[:, i] * vectors[:, (i + 1) % 8]).sum(axis=1) for i in range(8))
    assert whole[:, 0] == pytest.approx(first, abs=1e-13)
