"""Fixed points and their gradients: contractions with known answers, maps that have none, batches."""

from __future__ import annotations

import pytest
import torch

from kakehashi_core.errors import InvalidInputError
from kakehashi_deqh.equilibrium import DeepEquilibrium, jacobian_norm
from kakehashi_deqh.fixed_points import METHODS, SolverSettings, solve

torch.manual_seed(0)
N = 20
MATRIX = torch.linalg.qr(torch.randn(N, N, dtype=torch.float64))[0]
BIAS = torch.randn(4, N, dtype=torch.float64)


def contraction(size, matrix=MATRIX, bias=BIAS):
    return lambda z: torch.tanh(size * z @ matrix.T + bias[: len(z)])


@pytest.mark.parametrize("method", METHODS)
def test_fixed_points_of_a_contraction(method):
    """Oracle: five hundred plain evaluations."""
    f = contraction(0.8)
    exact = torch.zeros(4, N, dtype=torch.float64)
    for _ in range(500):
        exact = f(exact)
    settings = SolverSettings(method=method, tolerance=1e-11, max_evaluations=200)
    found = solve(f, torch.zeros(4, N, dtype=torch.float64), settings)
    assert found.converged.all()
    assert found.reasons == ("converged",) * 4
    assert torch.allclose(found.state, exact, atol=1e-10)
    if method != "picard":
        plain = solve(
            f,
            torch.zeros_like(exact),
            SolverSettings(method="picard", tolerance=1e-11, max_evaluations=200),
        )
        assert (found.evaluations < plain.evaluations).all()


@pytest.mark.parametrize("method", METHODS)
def test_molecules_do_not_know_each_other(method):
    """Oracle: each of them alone, one of which has no fixed point and one of which is not finite."""

    def f(z):
        scale = torch.tensor([0.5, 3.0, 0.9, 1.0], dtype=torch.float64)[:, None]
        image = scale * z @ MATRIX.T + BIAS
        image[3] = torch.nan
        return image

    def alone(k):
        return lambda z: f(torch.cat([torch.zeros(k, N), z, torch.zeros(3 - k, N)]).double())[
            k : k + 1
        ]

    settings = SolverSettings(method=method, tolerance=1e-9, max_evaluations=400)
    start = torch.zeros(4, N, dtype=torch.float64)
    found = solve(f, start, settings)
    for k in (0, 2):
        one = solve(alone(k), start[:1], settings)
        assert torch.allclose(one.state[0], found.state[k], atol=1e-14)
        assert int(one.evaluations) == int(found.evaluations[k])
    assert found.reasons[3] == "diverged"
    assert torch.isfinite(found.state).all()
    if method == "picard":
        assert found.reasons[1] == "diverged"


def test_what_cannot_converge_is_reported():
    """Oracle: a map that turns by a right angle and doubles, without damping."""
    turn = torch.tensor([[0.0, -2.0], [2.0, 0.0]], dtype=torch.float64)
    start = torch.ones(1, 2, dtype=torch.float64)
    found = solve(
        lambda z: z @ turn + 1.0, start, SolverSettings(method="picard", max_evaluations=12)
    )
    assert found.reasons == ("evaluations",)
    assert not found.converged.any()
    assert found.residuals.shape == (12, 1)
    one = solve(
        contraction(0.8), torch.zeros(4, N, dtype=torch.float64), SolverSettings(max_evaluations=1)
    )
    assert not one.converged.any()


@pytest.mark.parametrize(("gradient", "error"), [("ift", 1e-7), ("phantom:40", 2e-3)])
def test_gradients_of_fixed_points(gradient, error):
    """Oracle: automatic differentiation of two hundred evaluations."""
    target = torch.randn(4, N, dtype=torch.float64)

    def loss_of(state):
        return ((state - target) ** 2).sum()

    results = []
    for unrolled in (True, False):
        matrix, bias = MATRIX.clone().requires_grad_(), BIAS.clone().requires_grad_()
        f = contraction(0.8, matrix, bias)
        z = torch.zeros(4, N, dtype=torch.float64)
        if unrolled:
            for _ in range(200):
                z = f(z)
        else:
            layer = DeepEquilibrium(
                gradient=gradient, forward=SolverSettings(tolerance=1e-12, max_evaluations=200)
            )
            z, found = layer(f, z)
            assert found.converged.all()
        results.append(torch.autograd.grad(loss_of(z), (matrix, bias)))
    for a, b in zip(*results, strict=True):
        assert float((a - b).abs().max() / a.abs().max()) < error


def test_the_radius_of_the_map():
    """Oracle: the largest singular value of a linear map with one that stands out."""
    values = torch.linspace(0.1, 0.5, N, dtype=torch.float64)
    values[-1] = 0.9
    matrix = MATRIX @ torch.diag(values) @ MATRIX.T
    found = jacobian_norm(lambda z: z @ matrix.T, torch.zeros(3, N, dtype=torch.float64), 60)
    assert torch.allclose(found, torch.full((3,), 0.9, dtype=torch.float64), atol=1e-6)


def test_bad_input():
    """Oracle: what messages say."""
    for options, message in (
        ({"method": "newton"}, "newton"),
        ({"max_evaluations": 0}, "max_evaluations"),
        ({"damping": 0.0}, "damping"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            SolverSettings(**options)
    for gradient in ("phantom", "phantom:0", "exact"):
        with pytest.raises(InvalidInputError, match="gradient"):
            DeepEquilibrium(gradient=gradient)
