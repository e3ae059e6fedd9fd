"""The four-layer form: a written-out scalar evaluation and a small committed network are the oracles."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from kakehashi_core.contracts import NonlocalXCFunctional, XCFunctional
from kakehashi_nnxc.descriptors import DESCRIPTORS, log_descriptors
from kakehashi_nnxc.four_layer_form import FourLayerFunctional, parameter_shapes

SMALL_NETWORK = json.loads((Path(__file__).parent / "small_network.json").read_text())
ROWS = {"LDA": 2, "GGA": 5, "MGGA": 7, "NONLOCAL": 8}
POINTS = torch.tensor(
    [
        [0.3, 0.3, 0.04, 0.03, 0.05, 0.25, 0.30, 0.11],
        [0.02, 0.01, 1e-3, 5e-4, 4e-4, 8e-3, 5e-3, 6e-3],
        [0.7, 0.0, 0.2, 0.0, 0.0, 0.4, 0.0, 0.05],
    ],
    dtype=torch.float64,
).T


def seeded_functional(family: str, activation: str = "elu") -> FourLayerFunctional:
    generator = torch.Generator().manual_seed(5)
    parameters = {
        name: 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in parameter_shapes(family).items()
    }
    return FourLayerFunctional(
        name="seeded", family=family, parameters=parameters, activation=activation
    )


def small_functional(family: str) -> FourLayerFunctional:
    parameters = {
        name: torch.tensor(values, dtype=torch.float64)
        for name, values in SMALL_NETWORK[family]["parameters"].items()
    }
    return FourLayerFunctional(name="small", family=family, parameters=parameters)


def scalar_energy_density(parameters: dict[str, list], family: str, point: list[float]) -> float:
    """The published formulas with plain floats and loops, written independently of the module."""
    e = 1e-7
    na, nb, *rest = point
    n = na + nb
    z = (na - nb) / (n + e)
    u = (n + e) ** (1 / 3)
    phi = ((1 + z) ** (4 / 3) + (1 - z) ** (4 / 3)) / 2
    raw = [u, phi]
    if family != "LDA":
        raw.append((math.sqrt(rest[0] + rest[2] + 2 * rest[1] + 4 * e) + e) / u**4)
    if family in ("MGGA", "NONLOCAL"):
        ds = (1 + z) ** (5 / 3) + (1 - z) ** (5 / 3)
        raw.append((rest[3] + rest[4] + e) / (u**5 * ds))
    if family == "NONLOCAL":
        raw.append(max(rest[5], 0.0) + e)
    x = [math.log(value) for value in raw]
    for layer in range(1, 5):
        weight, bias = parameters[f"fc{layer}.weight"], parameters[f"fc{layer}.bias"]
        h = [
            sum(w * v for w, v in zip(row, x, strict=True)) + b
            for row, b in zip(weight, bias, strict=True)
        ]
        x = [value if value > 0 else math.expm1(value) for value in h]
    return -(x[0] + 1.0) * n ** (4 / 3) * phi


@pytest.mark.parametrize("family", list(DESCRIPTORS))
def test_small_network_reproduces_its_committed_values(family):
    """Oracle: values in small_network.json (energy density and its slopes), and scalar arithmetic."""
    stored = SMALL_NETWORK[family]
    variables = POINTS[: ROWS[family]].clone().requires_grad_(True)
    energy = small_functional(family).energy_density(variables, 1)
    (slope,) = torch.autograd.grad(energy.sum(), variables)
    assert energy.tolist() == pytest.approx(stored["energy_density"], rel=1e-13)
    assert torch.allclose(slope, torch.tensor(stored["slope"], dtype=torch.float64), rtol=1e-11)
    for index in range(POINTS.shape[1]):
        point = POINTS[: ROWS[family], index].tolist()
        expected = scalar_energy_density(stored["parameters"], family, point)
        assert energy[index].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("family", ["LDA", "GGA", "MGGA"])
def test_closed_shell_equals_equal_spins(family):
    """Oracle: the spin-resolved form with n_a = n_b, s_xy = sigma/4, tau_a = tau_b."""
    functional = seeded_functional(family)
    n, sigma, tau = (torch.tensor([v], dtype=torch.float64) for v in (0.4, 0.09, 0.5))
    closed = torch.stack([n, sigma, tau])[: {"LDA": 1, "GGA": 2, "MGGA": 3}[family]]
    open_ = torch.stack([n / 2, n / 2, sigma / 4, sigma / 4, sigma / 4, tau / 2, tau / 2])
    assert torch.allclose(
        functional.energy_density(closed, 0),
        functional.energy_density(open_[: ROWS[family]], 1),
        rtol=1e-13,
    )


def test_spin_flip_changes_nothing():
    functional = seeded_functional("MGGA")
    flipped = POINTS[[1, 0, 4, 3, 2, 6, 5]]
    energy = functional.energy_density(POINTS[:7], 1)
    assert torch.allclose(energy, functional.energy_density(flipped, 1), rtol=1e-13)
    assert not torch.allclose(energy[:1], energy[1:2])


@pytest.mark.parametrize("activation", ["elu", "silu"])
def test_energy_is_never_positive(activation):
    """The output layer keeps y >= 0, whatever the weights."""
    functional = seeded_functional("MGGA", activation)
    assert (functional.energy_density(POINTS[:7], 1) <= 0).all()


def test_smooth_variant_has_a_continuous_second_derivative_where_the_published_one_jumps():
    """Oracle: the definition. fc1 alone, with its pre-activation walked through zero."""
    jumps = {}
    for activation in ("elu", "silu"):
        shapes = parameter_shapes("LDA", n_hidden=1)
        parameters = {
            name: torch.full(shape, float(name.endswith("weight")), dtype=torch.float64)
            for name, shape in shapes.items()
        }
        functional = FourLayerFunctional(
            name="kink", family="LDA", parameters=parameters, activation=activation
        )

        def curvature(n: float, functional=functional) -> float:
            x = torch.tensor([[n]], dtype=torch.float64, requires_grad=True)
            (first,) = torch.autograd.grad(
                functional.energy_density(x, 0).sum(), x, create_graph=True
            )
            return torch.autograd.grad(first.sum(), x)[0].item()

        jumps[activation] = abs(curvature(1 - 1e-5) - curvature(1 + 1e-5))  # ln u = 0 at n = 1
    assert jumps["elu"] > 1e-2
    assert jumps["silu"] < 1e-3


def test_empty_points_are_finite():
    inputs, prefactor = log_descriptors(torch.zeros(7, 1, dtype=torch.float64), 1, "MGGA")
    assert torch.isfinite(inputs).all()
    assert prefactor.item() == 0.0


def test_it_satisfies_the_contract():
    assert isinstance(seeded_functional("GGA"), XCFunctional)
    assert not isinstance(seeded_functional("MGGA"), NonlocalXCFunctional)
    near_region = seeded_functional("NONLOCAL")
    assert isinstance(near_region, NonlocalXCFunctional)
    assert near_region.convolution(0.2) == pytest.approx(math.exp(-1), abs=1e-3)
    assert near_region.max_deriv == 2


def test_the_smooth_floor_of_the_convolved_density():
    """Oracle: max(R, 0) far from zero; in between, a slope that is nowhere discontinuous."""
    variables = POINTS[:, :1].repeat(1, 5)
    variables[-1] = torch.tensor([-1e-3, -1e-6, 0.0, 1e-6, 1e-2])
    leaf = variables.clone().requires_grad_(True)
    smooth, _ = log_descriptors(leaf, 1, "NONLOCAL", smooth=True)
    published, _ = log_descriptors(variables, 1, "NONLOCAL")
    assert smooth[-1, -1].item() == pytest.approx(published[-1, -1].item(), abs=1e-6)
    assert published[0, -1] == published[1, -1] == published[2, -1] == math.log(1e-7)
    (slope,) = torch.autograd.grad(smooth[:, -1].sum(), leaf)
    assert (slope[-1, :4] > 0).all()
    assert (smooth[1:, -1] > smooth[:-1, -1]).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_points_on_a_gpu_give_the_same_energy():
    """Oracle: the CPU, relative 1e-12."""
    functional = seeded_functional("MGGA")
    on_gpu = functional.energy_density(POINTS[:7].to("cuda"), 1).cpu()
    assert torch.allclose(on_gpu, functional.energy_density(POINTS[:7], 1), rtol=1e-12)
