"""Copying a known functional: targets against libxc, steps against automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kakehashi_nnxc.descriptors import log_descriptors
from kakehashi_nnxc.four_layer_form import network, parameter_shapes
from kakehashi_nnxc.training import distillation
from kakehashi_nnxc.training.kernel_steps import Jacobian, regression_step
from kakehashi_nnxc.training.points import DensityPoints

pytest.importorskip("pyscf")
pytest.importorskip("kakehashi_pyscf")


def density(n_points: int = 300, *, spin: int = 1, seed: int = 2) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    variables = distillation._same_shape_in_both_channels(
        10 ** rng.uniform(-2, 1, n_points),
        rng.uniform(0, 0.9, n_points) if spin else np.zeros(n_points),
        rng.uniform(0.1, 3, n_points),
        rng.uniform(0.05, 3, n_points),
    )
    if spin == 0:
        n, sigma = variables[0] + variables[1], 4 * variables[2]
        variables = np.stack([n, sigma, 2 * variables[5]])
    return {"variables": variables, "weights": rng.random(n_points), "spin": spin}


@pytest.mark.parametrize("family", ["LDA", "GGA", "MGGA"])
@pytest.mark.parametrize("spin", [0, 1])
def test_slopes_of_the_targets(family, spin):
    """Oracle: central differences of libxc along common factors on densities, gradients, tau."""
    data = density(spin=spin)
    variables, weights = data["variables"], data["weights"]
    blocks = [slice(0, 1), slice(1, 2), slice(2, 3)]
    if spin:
        blocks = [slice(0, 2), slice(2, 5), slice(5, 7)]
    found = distillation.targets(variables, weights, spin, family)
    for column, powers in {0: (3, 8, 5), 2: (0, 2, 0), 3: (0, 0, 1)}.items():
        if column >= found.inputs.shape[1]:
            continue

        def moved(step: float, powers: tuple[int, ...] = powers) -> distillation.Targets:
            scaled = variables.copy()
            for block, power in zip(blocks, powers, strict=True):
                scaled[block] *= np.exp(power * step)
            return distillation.targets(scaled, weights, spin, family)

        difference = (moved(1e-5).outputs - moved(-1e-5).outputs) / 2e-5
        assert abs(difference).max() > 1e-2
        assert np.allclose(difference, found.slopes[:, column], atol=2e-5)


def test_scattered_points_are_new_and_physical():
    """Oracle: r2SCAN stays within its bounds; y <= 1.174 of exchange plus correlation."""
    rng = np.random.default_rng(0)
    around = distillation.scattered_targets({"x": density()}, "MGGA", rng, 2000)
    mesh = distillation.mesh_targets("MGGA", rng, 2000)
    for points in (around, mesh):
        assert len(points.outputs) > 1800
        assert points.outputs.min() > 0
        assert points.outputs.max() < 1.5
        assert points.inputs[:, 1].max() > 0.1  # polarized points are there
    own = distillation.density_targets({"x": density()}, "MGGA").inputs
    assert around.inputs[:, 0].min() < own[:, 0].min()


def test_distillation_and_polish_learn():
    """Oracle: the error each of them started from."""
    rng = np.random.default_rng(0)
    data = {"x": density(3000, spin=0)}
    points = distillation.density_targets(data, "MGGA")
    mesh = points.only(np.arange(100))
    start = distillation.initial_parameters(3, "MGGA")

    def error(parameters: dict[str, torch.Tensor]) -> float:
        dtype = parameters["fc1.weight"].dtype
        y = network(parameters, torch.as_tensor(points.inputs, dtype=dtype), "silu")
        return float(np.sqrt(np.mean((y.detach().numpy() - points.outputs) ** 2)))

    taught = distillation.distill(
        start, points, points, mesh, n_steps=200, rng=rng, batches=(128, 128, 16)
    )
    assert error(taught) < 0.5 * error(start)
    polished = distillation.polish(
        taught, points, points, mesh, n_steps=40, rng=rng, batches=(300, 100, 10)
    )
    assert error(polished) < 0.7 * error(taught)
    assert polished["fc1.weight"].dtype == torch.float64


@pytest.mark.parametrize("activation", ["silu", "elu"])
def test_the_factored_jacobian(activation):
    """Oracle: automatic differentiation with respect to all weights."""
    parameters = {
        name: tensor.double() for name, tensor in distillation.initial_parameters(1, "GGA").items()
    }
    inputs = torch.from_numpy(np.random.default_rng(1).standard_normal((7, 3)))
    rows = []
    for point in inputs:
        leaves = {k: v.clone().requires_grad_(True) for k, v in parameters.items()}
        network(leaves, point[None], activation).backward()
        rows.append(torch.cat([leaf.grad.reshape(-1) for leaf in leaves.values()]))
    dense = torch.stack(rows)
    factored = Jacobian.at(parameters, inputs, activation)
    assert torch.allclose(factored.gram(), dense @ dense.T, rtol=1e-11)
    values = torch.from_numpy(np.random.default_rng(2).standard_normal(7))
    transposed = factored.transposed(values)
    flat = torch.cat([transposed[name].reshape(-1) for name in parameters])
    assert torch.allclose(flat, dense.T @ values, rtol=1e-11)
    assert torch.allclose(factored.times(transposed), dense @ flat, rtol=1e-10)


def test_a_regression_step_is_the_damped_least_squares_step():
    """Oracle: the normal equations of a dense least-squares problem."""
    parameters = {
        name: tensor.double()
        for name, tensor in {
            n: torch.randn(s, generator=torch.Generator().manual_seed(4))
            for n, s in parameter_shapes("LDA", n_hidden=3).items()
        }.items()
    }
    inputs = torch.from_numpy(np.random.default_rng(1).standard_normal((9, 2)))
    goal = torch.full((9,), 0.4, dtype=torch.float64)
    step, rms = regression_step(parameters, inputs, goal, damping=0.1, momentum=0.0, previous=None)
    jacobian = Jacobian.at(parameters, inputs, "silu")
    units = torch.eye(9, dtype=torch.float64)
    rows = [jacobian.transposed(unit) for unit in units]
    dense = torch.stack([torch.cat([r[n].reshape(-1) for n in parameters]) for r in rows])
    error = goal - jacobian.outputs
    shift = 0.1 * (dense**2).sum(1).mean()
    expected = torch.linalg.solve(
        dense.T @ dense + shift * torch.eye(dense.shape[1], dtype=torch.float64), dense.T @ error
    )
    assert rms == pytest.approx(float(error.square().mean().sqrt()), rel=1e-12)
    flat = torch.cat([step[name].reshape(-1) for name in parameters])
    assert torch.allclose(flat, expected, rtol=1e-8)


def test_same_seed_same_weights():
    first, second = (distillation.initial_parameters(3, "MGGA") for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert {n: tuple(t.shape) for n, t in first.items()} == parameter_shapes("MGGA")


def test_points_drop_only_negligible_density():
    """Oracle: the factors of the points that remain, from the descriptors."""
    data = density(spin=0)
    variables = data["variables"].copy()
    variables[0, :3] = 1e-9
    points = DensityPoints.from_density({**data, "variables": variables}, "MGGA")
    assert len(points.factors) == variables.shape[1] - 3
    _, prefactor = log_descriptors(torch.from_numpy(variables[:, 3:]), 0, "MGGA")
    assert torch.allclose(points.factors, torch.from_numpy(data["weights"][3:]) * prefactor)
