"""Attention and four-spin models: symmetries, identity at zero, fits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kakehashi_core.errors import InvalidInputError, UnknownNameError
from kakehashi_slmc.attention_model import AttentionSettings, EquivariantAttention
from kakehashi_slmc.distance_shells import distance_shells
from kakehashi_slmc.effective_training import (
    AttentionTraining,
    TrainingSample,
    expected_acceptance,
    residual_variance,
    train_attention,
)
from kakehashi_slmc.lattices import lattice
from kakehashi_slmc.linear_model import LinearModel
from kakehashi_slmc.ridge_model import RidgeModel
from kakehashi_slmc.spin_features import FourSpinFeatures
from kakehashi_slmc.unit_vectors import random_rotations, random_spins

SITES = lattice("square", (4, 4))
SHELLS = distance_shells(SITES.positions, SITES.cell)
SPINS = random_spins(np.random.default_rng(0), 80, 16)
LINEAR = LinearModel(
    shells=SHELLS, constant=2.0, coefficients=np.array([-1.0, 0.5, 0.2, 0.1, 0.05])
)


def network(n_layers: int = 2, seed: int = 1) -> EquivariantAttention:
    """Return a network of random weights."""
    settings = AttentionSettings(n_layers=n_layers, n_shells=3, n_head=5)
    found = EquivariantAttention(SHELLS, settings, seed=seed)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        found.layers += torch.tensor(0.3 * rng.normal(size=found.layers.shape))
        found.coefficients.copy_(torch.tensor(rng.normal(size=5)))
    return found


def models():
    rng = np.random.default_rng(3)
    features = FourSpinFeatures(SHELLS, 3)
    n = features(SPINS[:1]).shape[1]
    four = RidgeModel(
        features=features,
        center=np.zeros(n),
        scale=np.ones(n),
        coefficients=rng.normal(size=n),
        constant=0.3,
    )
    return {"attention": network().log_weight, "four-spin": four, "linear": LINEAR}


@pytest.mark.parametrize("name", ["attention", "four-spin", "linear"])
def test_symmetries_to_rounding(name):
    """Oracle: rotations, inversion, translations, reflections and quarter turns of the lattice."""
    model = models()[name]
    expected = model(SPINS)
    assert expected.std() > 0.1
    turned = np.einsum("bij,bnj->bni", random_rotations(np.random.default_rng(1), 80), SPINS)
    grid = SPINS.reshape(80, 4, 4, 3)
    for changed in (
        turned,
        -SPINS,
        np.roll(grid, 1, axis=1).reshape(80, 16, 3),
        grid[:, ::-1].reshape(80, 16, 3),
        np.swapaxes(grid, 1, 2).reshape(80, 16, 3),
    ):
        assert model(changed) == pytest.approx(expected, rel=1e-12, abs=1e-11)


def test_without_values_the_network_is_the_linear_model():
    """Oracle: the linear model with the same coefficients; what was added does next to nothing."""
    found = network()
    with torch.no_grad():
        found.layers[:, 2] = 0.0
        found.coefficients.copy_(torch.tensor(LINEAR.coefficients))
        found.constant.fill_(2.0)
    assert found.log_weight(SPINS) == pytest.approx(LINEAR(SPINS), rel=1e-12)
    larger = found.grown(SHELLS, seed=5)
    assert larger.settings.n_layers == 3
    assert larger.settings.n_parameters == sum(p.numel() for p in larger.parameters())
    assert larger.log_weight(SPINS) == pytest.approx(LINEAR(SPINS), abs=0.05)
    assert not np.array_equal(larger.log_weight(SPINS), LINEAR(SPINS))


def test_the_block_by_hand():
    """Oracle: the formula in loops over sites."""
    found = network(n_layers=1)
    w = found.layers.detach().numpy()[0]
    a = [SHELLS.adjacency(n) for n in range(3)]
    for spins in SPINS[:2]:
        q, k, v = (sum(w[x, n] * a[n] @ spins for n in range(3)) for x in range(3))
        new = np.zeros_like(spins)
        for i in range(16):
            new[i] = spins[i] + sum(max(0.0, q[i] @ k[j] / np.sqrt(3)) * v[j] for j in range(16))
            new[i] /= np.linalg.norm(new[i])
        effective = found.effective_spins(torch.tensor(spins[None]))[0].detach().numpy()
        assert effective == pytest.approx(new, abs=1e-12)


def test_gradients_by_differences():
    """Oracle: central differences."""
    found = network()
    value, gradient = found.value_and_gradient(SPINS[:3])
    assert value == pytest.approx(found.log_weight(SPINS[:3]))
    step = np.zeros((3, 16, 3))
    step[:, 6, 2] = 1e-6
    difference = found.log_weight(SPINS[:3] + step) - found.log_weight(SPINS[:3] - step)
    assert gradient[:, 6, 2] == pytest.approx(difference / 2e-6, rel=1e-5, abs=1e-7)


def test_heads_are_fitted_exactly():
    """Oracle: the linear model that made the weights; a network made its own."""
    settings = AttentionSettings(n_layers=1, n_shells=2, n_head=5)
    found = EquivariantAttention(SHELLS, settings, seed=2)
    with torch.no_grad():
        found.layers[:, 2] = 0.0
    found.fit_head(torch.tensor(SPINS), torch.tensor(LINEAR(SPINS)))
    assert found.coefficients.detach().numpy() == pytest.approx(LINEAR.coefficients, abs=1e-9)


def test_four_spin_models_find_what_made_the_weights():
    """Oracle: a square of a local invariant; numbers of features as in the literature."""
    bond = np.einsum("bia,bia->bi", SPINS, np.matmul(SHELLS.adjacency(1), SPINS))
    truth = 1.0 + 0.7 * (bond**2).sum(axis=1)
    many = random_spins(np.random.default_rng(4), 400, 16)
    more = np.einsum("bia,bia->bi", many, np.matmul(SHELLS.adjacency(1), many))
    found = RidgeModel.fit(
        FourSpinFeatures(SHELLS, 3),
        many,
        1.0 + 0.7 * (more**2).sum(axis=1),
        validation=(SPINS, truth),
    )
    assert found(SPINS) == pytest.approx(truth, abs=1e-2 * truth.std())
    six = lattice("square", (6, 6))
    nine = distance_shells(six.positions, six.cell)
    spins = random_spins(np.random.default_rng(5), 1, 36)
    sizes = [FourSpinFeatures(nine, n)(spins).shape[1] for n in (3, 4, 5)]
    assert sizes == [24, 54, 114]


def test_attention_learns_what_a_network_made():
    """Oracle: the residual of the linear model, which training must beat; equal seeds, equal numbers."""
    truth = network(n_layers=1, seed=7)
    spins = random_spins(np.random.default_rng(8), 300, 16)
    value, gradient = truth.value_and_gradient(spins)
    sample = TrainingSample(spins=spins, log_weights=value, gradients=gradient)
    short = AttentionTraining(steps=120, batch_size=32)
    first, second = train_attention(SHELLS, sample, n_layers=2, n_shells=3, training=short, seed=1)
    unseen = random_spins(np.random.default_rng(9), 200, 16)
    exact = truth.log_weight(unseen)
    linear = LinearModel.fit(SHELLS, spins, value)
    errors = [residual_variance(exact, m(unseen)) for m in (linear, first.log_weight)]
    assert errors[1] < 0.6 * errors[0]
    assert second.settings.n_layers == 2
    again = train_attention(SHELLS, sample, n_layers=1, n_shells=3, training=short, seed=1)[0]
    assert torch.equal(again.layers, first.layers)
    assert expected_acceptance(0.0) == 1.0
    assert expected_acceptance(0.313) == pytest.approx(0.693, abs=1e-3)
    with pytest.raises(InvalidInputError, match="not finite"):
        TrainingSample(spins=spins, log_weights=np.full(300, np.nan))
    with pytest.raises(InvalidInputError, match="belong together"):
        TrainingSample(spins=spins, log_weights=value[:5])


def test_the_published_variant_has_a_short_head():
    """Oracle: numbers of parameters; the linear model with two shells at depth zero."""
    spins = random_spins(np.random.default_rng(10), 60, 16)
    sample = TrainingSample(spins=spins, log_weights=LINEAR(spins))
    one = AttentionTraining(steps=1)
    (paper,) = train_attention(SHELLS, sample, n_layers=1, variant="paper", training=one, seed=1)
    (full,) = train_attention(SHELLS, sample, n_layers=1, training=one, seed=1)
    assert (paper.settings.n_head, full.settings.n_head) == (2, 5)
    assert paper.settings.n_parameters == 3 * 6 + 3
    assert full.settings.n_parameters == 3 * 6 + 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_layers": 0}, "n_layers must be at least 1"),
        ({"n_shells": 99}, "n_shells must be between 1 and"),
        ({"variant": "papr"}, "variant 'papr'"),
    ],
)
def test_trainings_that_cannot_be(options, message):
    """Oracle: what messages say."""
    found = lattice("chain", (4,))
    shells = distance_shells(found.positions, found.cell)
    sample = TrainingSample(
        spins=random_spins(np.random.default_rng(0), 5, 4), log_weights=np.zeros(5)
    )
    with pytest.raises((InvalidInputError, UnknownNameError), match=message):
        train_attention(shells, sample, **{"n_layers": 1, "seed": 0, **options})
    with pytest.raises(InvalidInputError, match="gradient_weight must not be negative"):
        AttentionTraining(gradient_weight=-1.0)
    with pytest.raises(InvalidInputError, match="penalties"):
        RidgeModel.fit(
            FourSpinFeatures(shells, 2),
            sample.spins,
            sample.log_weights,
            validation=(sample.spins, sample.log_weights),
            penalties=(-1.0,),
        )
