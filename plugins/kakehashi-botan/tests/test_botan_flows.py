"""Transport fields and flows: divergence, determinant, inverse, symmetries, weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kakehashi_botan.mixtures import ternary_kob_andersen
from kakehashi_botan.sampling import Liquid
from kakehashi_botan.sampling.compiled_field import CompiledField
from kakehashi_botan.sampling.field_fitting import (
    bounded_energies,
    energy_loss,
    fit_continuity,
    matching_loss,
    paired,
    variance_loss,
)
from kakehashi_botan.sampling.flow import Flow, integrate
from kakehashi_botan.sampling.liquids import small_ternary_liquid
from kakehashi_botan.sampling.monte_carlo import equilibrated
from kakehashi_botan.sampling.reweighting import CollapsedWeightsWarning, WeightedSamples
from kakehashi_botan.sampling.transport_field import TransportField
from kakehashi_core.errors import InvalidInputError, NonFiniteError

RANGE = (1.0, 2.5)


def cube() -> Liquid:
    """Return eight particles in three dimensions."""
    return Liquid(
        mixture=ternary_kob_andersen(cutoff_ratio=1.0),
        composition=(4, 2, 2),
        density=1.0,
        dimension=3,
    )


def rough_field(liquid: Liquid) -> TransportField:
    """Return a field with random weights."""
    field = TransportField(liquid, RANGE, exponents=(3, 9))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights, size in ((field.pair_weights, 0.01), (field.vector_weights, 0.002)):
            weights.copy_(
                size * torch.randn(weights.shape, generator=generator, dtype=torch.float64)
            )
    return field


def samples(liquid: Liquid, n: int, temperature: float = 1.5) -> np.ndarray:
    state, _ = equilibrated(liquid, temperature, n, np.random.default_rng(2), n_sweeps=200)
    return np.asarray(state.positions)


@pytest.mark.parametrize("liquid", [small_ternary_liquid(), cube()], ids=["2d", "3d"])
def test_divergence_is_the_trace_of_the_jacobian(liquid):
    """Oracle: autograd, 1e-12 relative; the field is a gradient, its Jacobian symmetric."""
    field = rough_field(liquid)
    x = torch.as_tensor(samples(liquid, 2))
    _, divergence = field(x, 1.3)
    for sample, found in zip(x, divergence.detach(), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda y: field(y[None], 1.3)[0][0], sample)
        matrix = jacobian.reshape(sample.numel(), -1)
        torch.testing.assert_close(matrix, matrix.T, rtol=1e-10, atol=1e-10)
        assert float(found) == pytest.approx(float(matrix.trace()), rel=1e-12)


@pytest.mark.parametrize("liquid", [small_ternary_liquid(), cube()], ids=["2d", "3d"])
def test_residual_features_are_those_of_the_field(liquid):
    """Oracle: divergence and velocity of the field, and autograd of the energy."""
    field = rough_field(liquid)
    x = torch.as_tensor(samples(liquid, 3)).requires_grad_()
    velocity, divergence = field(x, 1.3)
    (gradient,) = torch.autograd.grad(bounded_energies(field, x).sum(), x)
    powers = field.powers(1.3)
    weights = torch.cat(
        [
            torch.einsum("d,d...->...", powers, part).reshape(-1)
            for part in (field.pair_weights, field.vector_weights)
        ]
    )
    features = field.residual_features(x.detach(), 1.3) @ weights
    wanted = divergence - (gradient * velocity).sum((1, 2)) / 1.3
    torch.testing.assert_close(features, wanted, rtol=1e-9, atol=1e-9)


def test_determinant_is_that_of_the_map():
    """Oracle: autograd Jacobian of the integrated map, 1e-8."""
    field = rough_field(small_ternary_liquid())
    sample = torch.as_tensor(samples(field.liquid, 1))[0]

    def end(y):
        return integrate(field, y[None], 2.5, 1.7, 16)[0][0]

    found = integrate(field, sample[None], 2.5, 1.7, 16)[1].detach()
    jacobian = torch.autograd.functional.jacobian(end, sample).reshape(sample.numel(), -1)
    assert float(found) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-8)
    assert abs(float(found)) > 0.05


@pytest.mark.parametrize("liquid", [small_ternary_liquid(), cube()], ids=["2d", "3d"])
def test_compiled_field_is_the_same(liquid):
    """Oracle: the field by tensors; and central differences of its own velocities for the divergence."""
    field = rough_field(liquid)
    compiled = CompiledField(field)
    x = samples(liquid, 3)
    with torch.no_grad():
        wanted, divergence = field(torch.as_tensor(x), 1.3)
    found, other = compiled(x, 1.3)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-8)
    np.testing.assert_allclose(other, divergence.numpy(), atol=1e-6)
    h, total = 1e-5, 0.0
    for i in range(liquid.n_particles):
        for k in range(liquid.dimension):
            both = np.repeat(x[:1], 2, axis=0)
            both[0, i, k] += h
            both[1, i, k] -= h
            velocity, _ = compiled(both, 1.3)
            total += (velocity[0, i, k] - velocity[1, i, k]) / (2.0 * h)
    assert other[0] == pytest.approx(total, abs=1e-6)


def test_the_way_back_is_the_inverse():
    """Oracle: where it started, 1e-6, and the opposite determinant."""
    flow = Flow(rough_field(small_ternary_liquid()))
    x = samples(flow.liquid, 5)
    there = flow(x, 2.5, 1.0)
    back = flow(there.positions, 1.0, 2.5)
    edge = flow.liquid.edge
    difference = back.positions - x
    assert np.abs(difference - edge * np.rint(difference / edge)).max() < 1e-6
    np.testing.assert_allclose(there.log_determinants, -back.log_determinants, atol=5e-6)


def test_symmetries():
    """Oracle: permuted, shifted and unwrapped samples are carried alike; the center of mass stays."""
    field = rough_field(small_ternary_liquid())
    edge = field.liquid.edge
    x = torch.as_tensor(samples(field.liquid, 3))
    end, determinant, _ = integrate(field, x, 2.5, 1.0, 8)
    order = torch.tensor([2, 0, 3, 1, 6, 4, 5, 8, 9, 7])  # within each species
    shift = torch.tensor([0.3, -0.7], dtype=torch.float64)
    cells = torch.randint(-1, 2, x.shape, generator=torch.Generator().manual_seed(0))
    images = edge * cells.to(torch.float64)
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    for changed, wanted in (
        (x[:, order], end[:, order]),
        (x + shift, end + shift),
        (x + images, end + images),
        (x @ quarter.T, end @ quarter.T),
    ):
        found, other, _ = integrate(field, changed, 2.5, 1.0, 8)
        torch.testing.assert_close(found, wanted, rtol=0.0, atol=1e-11)
        torch.testing.assert_close(other, determinant, rtol=0.0, atol=1e-11)
    torch.testing.assert_close(end.mean(1), x.mean(1), rtol=0.0, atol=1e-12)


@pytest.fixture(scope="module")
def trained():
    """A field of the small liquid, fitted between two temperatures, with fresh samples of both."""
    liquid = small_ternary_liquid()
    rng = np.random.default_rng(7)
    found = {}
    for temperature in np.geomspace(2.5, 1.0, 4):
        state, kernel = equilibrated(liquid, temperature, 100, rng, n_sweeps=300)
        parts = []
        for _ in range(10):
            state = kernel.step(state, rng).state
            parts.append(state.positions)
        found[float(temperature)] = np.concatenate(parts)
    field = TransportField(liquid, RANGE)
    fit = fit_continuity(field, found)
    return field, fit, found


def test_a_fitted_field_narrows_the_weights(trained):
    """Oracle: plain reweighting of the same samples; ln Z ratio by the samples of the other side."""
    field, fit, found = trained
    assert min(fit.explained_unseen) > 0.4
    hot, cold = found[2.5], found[1.0]
    middle = sorted(found)[2]
    liquid, flow = field.liquid, Flow(field)

    def weights(x, start, end, *, carried):
        if not carried:
            return WeightedSamples(x, liquid.energies(x) * (1.0 / start - 1.0 / end))
        there = flow(x, start, end)
        values = liquid.energies(x) / start - liquid.energies(there.positions) / end
        return WeightedSamples(there.positions, values + there.log_determinants)

    x = hot[-400:]
    plain = weights(x, 2.5, middle, carried=False)
    learned = weights(x, 2.5, middle, carried=True)
    assert learned.log_weights.var() < 0.6 * plain.log_weights.var()
    assert learned.effective_share > plain.effective_share
    forward = learned.log_mean_weight_estimate()
    backward = weights(found[middle][-400:], middle, 2.5, carried=True).log_mean_weight_estimate()
    assert abs(forward.z_score(-backward.mean, backward.stderr)) < 4.0
    energy = learned.expectation(liquid.energies(learned.positions))
    direct = liquid.energies(found[middle])
    # Ten samples of each of a hundred chains: count the chains.
    assert abs(energy.z_score(direct.mean(), direct.std() / 10.0)) < 4.0
    assert len(cold) == 1000


def test_losses_are_differentiable_and_agree(trained):
    """Oracle: the energy loss is above the free-energy difference; identical pairs leave nothing to match."""
    field, _, found = trained
    hot, cold = (torch.as_tensor(found[t][:16]) for t in (2.5, 1.0))
    loss = energy_loss(field, hot, 2.5, 1.0, n_steps=2)
    loss.backward()
    assert field.pair_weights.grad is not None
    assert float(field.pair_weights.grad.abs().max()) > 0.0
    assert float(variance_loss(field, hot, 2.5, 1.0, n_steps=2).detach()) > 0.0
    empty = TransportField(field.liquid, RANGE)
    assert float(matching_loss(empty, hot, hot, 2.5, 1.0, 0.3).detach()) == 0.0
    partners = paired(field.liquid, hot.numpy(), cold.numpy())
    close = float(matching_loss(empty, hot, torch.as_tensor(partners), 2.5, 1.0, 0.3).detach())
    far = float(matching_loss(empty, hot, cold, 2.5, 1.0, 0.3).detach())
    assert close < 0.3 * far


def test_bad_input_is_named(trained):
    field, _, found = trained
    flow = Flow(field)
    x = found[2.5][:3]
    with pytest.raises(
        InvalidInputError, match=r"end is 0\.5; this flow was trained between 1 and 2\.5"
    ):
        flow(x, 2.5, 0.5)
    with pytest.raises(InvalidInputError, match="shape"):
        flow(x[:, 1:], 2.5, 1.0)
    wrong = x.copy()
    wrong[2, 0, 0] = np.inf
    with pytest.raises(NonFiniteError, match="sample 2"):
        flow(wrong, 2.5, 1.0)
    wrong = x.copy()
    wrong[1, 0] = wrong[1, 1]
    with pytest.raises(InvalidInputError, match="sample 1: particles 0 and 1 overlap"):
        flow(wrong, 2.5, 1.0)
    collapsed = WeightedSamples(np.zeros((1000, 1)), np.r_[100.0, np.zeros(999)])
    with pytest.warns(CollapsedWeightsWarning, match="closer temperatures"):
        collapsed.expectation(np.zeros(1000))
