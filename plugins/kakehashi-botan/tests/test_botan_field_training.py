"""Fields by gradient steps, and the score variant."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad

from kakehashi_botan.sampling import equilibrium_samples, small_ternary_liquid
from kakehashi_botan.sampling.diffusion import fit_denoising, generated, score_field
from kakehashi_botan.sampling.field_fitting import (
    data_loss,
    energy_loss,
    matching_loss,
    paired,
    variance_loss,
)
from kakehashi_botan.sampling.field_refinement import RefinementSettings, refine
from kakehashi_botan.sampling.reweighting import CollapsedWeightsWarning
from kakehashi_botan.sampling.transport_field import TransportField
from kakehashi_core.errors import InvalidInputError, UnknownNameError

DILUTE = dataclasses.replace(small_ternary_liquid(), composition=(2, 1, 1), density=0.4)
PAIR = dataclasses.replace(small_ternary_liquid(), composition=(2, 0, 0), density=0.2)


def test_velocity_features_are_those_of_the_field():
    """Oracle: the field itself, which is linear in its weights."""
    field = TransportField(DILUTE, (0.5, 2.0), exponents=(3, 9))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in (field.pair_weights, field.vector_weights):
            weights.copy_(torch.randn(weights.shape, generator=generator, dtype=torch.float64))
    x = torch.as_tensor(DILUTE.random_positions(3, np.random.default_rng(1)))
    x = x + 0.1 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    powers = field.powers(0.9)
    flat = torch.cat(
        [
            torch.einsum("d,d...->...", powers, part).reshape(-1)
            for part in (field.pair_weights, field.vector_weights)
        ]
    )
    found = field.velocity_features(x) @ flat
    torch.testing.assert_close(found, field(x, 0.9)[0], rtol=1e-10, atol=1e-12)


@pytest.mark.thorough
def test_a_score_field_generates_two_particles():
    """Oracle: quadrature of the Boltzmann weight of one pair over the box, for Z and <U>."""
    temperature, rng = 1.0, np.random.default_rng(2)
    field = score_field(PAIR, degree=4)
    fit_denoising(field, equilibrium_samples(PAIR, temperature, 4000, rng), rng)
    found = generated(field, temperature, 6000, rng, n_steps=32)
    assert found.effective_share > 0.2

    def energy(x, y):
        return float(PAIR.energies(np.array([[[0.0, 0.0], [x, y]]]))[0])

    half, reach = 0.5 * PAIR.edge, 1.4
    beta = 1.0 / temperature
    # Beyond the cutoff the weight is 1.
    inner = [
        dblquad(
            lambda a, r, f=f: r * f(energy(r * np.cos(a), r * np.sin(a))),
            0.4,
            reach,
            0.0,
            np.pi / 2.0,
            epsabs=1e-6,
        )[0]
        for f in (lambda u: np.exp(-beta * u) - 1.0, lambda u: u * np.exp(-beta * u))
    ]
    core = -0.25 * np.pi * 0.4**2
    ratio = 1.0 + (inner[0] + core) / half**2
    log_ratio = found.log_mean_weight_estimate()
    assert abs(log_ratio.mean - np.log(ratio)) < 4 * log_ratio.stderr
    assert log_ratio.stderr < 0.05
    average = found.expectation(PAIR.energies(found.positions))
    assert abs(average.mean - inner[1] / half**2 / ratio) < 4 * average.stderr


def test_a_score_field_of_a_dilute_mixture_agrees_with_swap_monte_carlo():
    """Oracle: swap Monte Carlo for <U>; without weights the samples are off."""
    rng = np.random.default_rng(3)
    x = equilibrium_samples(DILUTE, 1.2, 2000, rng)
    field = score_field(DILUTE, degree=4)
    fit_denoising(field, x, rng)
    found = generated(field, 1.2, 4000, rng, n_steps=32)
    exact = DILUTE.energies(x)
    average = found.expectation(DILUTE.energies(found.positions))
    error = np.hypot(average.stderr, exact.std() / np.sqrt(len(exact)))
    assert abs(average.mean - exact.mean()) < 4 * error
    with pytest.warns(CollapsedWeightsWarning):
        generated(score_field(DILUTE), 0.02, 400, rng, n_steps=2).expectation(np.ones(400))
    with pytest.raises(InvalidInputError, match="positive"):
        generated(field, 0.0, 10, rng)


@pytest.mark.thorough
@pytest.mark.parametrize("objective", ["energy", "data", "both", "variance", "matching"])
def test_gradient_steps_lower_what_they_minimize(tmp_path, objective):
    """Oracle: the same loss of a field of zero, on unseen samples; the same seed gives the same bits."""
    rng = np.random.default_rng(4)
    start, end = 2.0, 1.3
    liquid = small_ternary_liquid()
    hot, cold = (equilibrium_samples(liquid, t, 600, rng) for t in (start, end))
    settings = RefinementSettings(objective=objective, steps=30, learning_rate=2e-3, n_steps=2)
    fields = [TransportField(liquid, (end, start), exponents=(3, 9), degree=1) for _ in range(3)]
    for number, field in enumerate(fields[:2]):
        refine(field, hot[:400], cold[:400], start, end, tmp_path / str(number), settings=settings)
    assert torch.equal(fields[0].pair_weights, fields[1].pair_weights)
    losses = [_loss(objective, field, hot[400:], cold[400:], start, end) for field in fields[1:]]
    # Pairs of samples differ by much that no field of a temperature knows.
    gain = 0.001 if objective == "matching" else 0.02
    assert losses[0] < losses[1] - gain * abs(losses[1]), losses
    wrong = dataclasses.replace(settings, objective="likelihood")
    with pytest.raises(UnknownNameError, match="objective"):
        refine(fields[0], hot, cold, start, end, tmp_path / "wrong", settings=wrong)


def _loss(objective, field, hot, cold, start, end):
    x, y = torch.as_tensor(hot), torch.as_tensor(cold)
    with torch.no_grad():
        if objective == "matching":
            y = torch.as_tensor(paired(field.liquid, hot, cold))
            return float(matching_loss(field, x, y, start, end, 0.5))
        if objective == "variance":
            return float(variance_loss(field, x, start, end, n_steps=2))
        # Both are an average of U/T less a constant of the samples; its size says nothing.
        parts = []
        if objective in {"energy", "both"}:
            parts.append(float(energy_loss(field, x, start, end, n_steps=2)))
        if objective in {"data", "both"}:
            parts.append(float(data_loss(field, y, start, end, n_steps=2)))
        return sum(parts)
