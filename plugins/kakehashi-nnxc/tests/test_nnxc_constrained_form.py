"""The constrained form: exact conditions hold whatever the weights are."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from kakehashi_core.checkpoints import save_checkpoint
from kakehashi_core.contracts import NonlocalXCFunctional, XCFunctional
from kakehashi_core.errors import CheckpointError
from kakehashi_nnxc import r2scan
from kakehashi_nnxc.constrained_form import (
    KERNEL,
    SMALLEST_DENSITY,
    ConstrainedFunctional,
    load_functional,
    near_region,
    network,
    parameter_shapes,
    terms,
)
from kakehashi_nnxc.four_layer_form import FourLayerFunctional
from kakehashi_nnxc.four_layer_form import parameter_shapes as four_layer_shapes

FAMILIES = ("MGGA", "NONLOCAL")
ENOUGH = 300


def drawn_parameters(family, last=1.5, bias=0.0):
    """Random weights; N swings through (-1, 1) for ``last`` = 1.5 and is +-1 for a large bias."""
    generator = torch.Generator().manual_seed(7)
    parameters = {}
    for name, shape in parameter_shapes(family).items():
        _, layer, kind = name.split(".")
        scale = 0.1 if kind == "bias" else {"0": 2.0, "3": last}.get(layer, 1.4 / shape[-1] ** 0.5)
        parameters[name] = scale * torch.randn(shape, generator=generator)
        if kind == "bias" and layer == "3":
            parameters[name] = torch.full(shape, bias)
    return parameters


def functional(family="MGGA", **options):
    return ConstrainedFunctional(
        name="drawn", family=family, parameters=drawn_parameters(family, **options)
    )


def closed_points(family="MGGA", n=ENOUGH):
    rng = np.random.default_rng(8)
    density = 10 ** rng.uniform(-4, 1, n)
    p = 10 ** rng.uniform(-2, 1, n)
    sigma = p * 4 * r2scan.FERMI_SQUARED * density ** (8 / 3)
    tau = sigma / (8 * density) + rng.uniform(0, 4, n) * r2scan.UNIFORM_KINETIC * density ** (5 / 3)
    rows = [density, sigma, tau]
    if family == "NONLOCAL":
        rows.append(density * KERNEL.integral() * 10 ** rng.uniform(-0.5, 0.5, n))
    return torch.from_numpy(np.stack(rows))


def open_points(family="MGGA", n=ENOUGH):
    a, b = (closed_points(n=2 * n)[:, k * n : (k + 1) * n] for k in (0, 1))
    b = b.clone()
    scale = a[0] / b[0] * torch.linspace(0.05, 3.0, n, dtype=torch.float64)
    b[0], b[1], b[2] = b[0] * scale, b[1] * scale ** (8 / 3), b[2] * scale ** (5 / 3)
    mixed = (a[1] * b[1]).sqrt() * torch.linspace(-0.9, 0.9, n, dtype=torch.float64)
    rows = [a[0], b[0], a[1], mixed, b[1], a[2], b[2]]
    if family == "NONLOCAL":
        rows.append((a[0] + b[0]) * KERNEL.integral() * torch.linspace(0.3, 3.0, n))
    return torch.stack(rows)


def exchange_energy(form, variables, spin):
    return sum(
        t.base + t.amplitude * network(form._parameters, "exchange", t.inputs)
        for t in terms(variables, spin)[0]
    )


def slowly_varying(p, n=0.3):
    """alpha along the gradient expansion after integration by parts: alpha - 1 = -(20/27 + 5 eta/3) p."""
    density = torch.full_like(p, n)
    sigma = p * 4 * r2scan.FERMI_SQUARED * density ** (8 / 3)
    weizsaecker, uniform = sigma / (8 * density), r2scan.UNIFORM_KINETIC * density ** (5 / 3)
    alpha = 1 - (20 / 27 + 5 * r2scan.ETA / 3) * p
    tau = weizsaecker + alpha * (uniform + r2scan.ETA * weizsaecker)
    return torch.stack([density, sigma, tau])


def test_the_drawn_networks_reach_both_signs():
    """Without this the other tests would prove nothing."""
    form = functional()
    exchange, correlation = terms(open_points(), 1)
    for net, term in (("exchange", exchange[0]), ("correlation", correlation)):
        value = network(form._parameters, net, term.inputs)
        assert value.min() < -0.3
        assert value.max() > 0.3
        assert (term.amplitude * value).abs().max() > 1e-2 * term.base.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("spin", [0, 1])
def test_it_is_r2scan_when_the_networks_are_zero(family, spin):
    """Oracle: libxc."""
    libxc = pytest.importorskip("pyscf.dft.libxc")
    convert = pytest.importorskip("kakehashi_pyscf.density_variables").rho_from_variables
    points = (closed_points, open_points)[spin](family)
    energy = functional(family, last=0.0).energy_density(points, spin)
    rows = (3, 7)[spin]
    expected = libxc.eval_xc1("r2scan", convert(points[:rows].numpy(), spin), spin, 0)[0]
    total = points[: spin + 1].sum(0)
    assert (energy / total).numpy() == pytest.approx(expected, rel=1e-12)
    assert not torch.allclose(energy, functional(family).energy_density(points, spin), rtol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_uniform_gas(family):
    """Oracle: Slater exchange and Perdew-Wang correlation, at every density and polarization."""
    density = torch.logspace(-6, 3, 40, dtype=torch.float64).repeat(5)
    zeta = torch.tensor([0.0, 0.3, -0.6, 0.9, 0.999]).to(torch.float64).repeat_interleave(40)
    shares = [density * (1 + z) / 2 for z in (zeta, -zeta)]
    tau = [2 ** (2 / 3) * r2scan.UNIFORM_KINETIC * n ** (5 / 3) for n in shares]
    rows = [*shares, *[torch.zeros_like(density)] * 3, *tau]
    if family == "NONLOCAL":
        rows.append(density * KERNEL.integral())
    energy = functional(family).energy_density(torch.stack(rows), 1) / density
    phi = ((1 + zeta) ** (4 / 3) + (1 - zeta) ** (4 / 3)) / 2
    correlation, _ = r2scan.uniform_gas_correlation(r2scan.SEITZ * density ** (-1 / 3), zeta, phi)
    expected = -0.75 * (3 / torch.pi * density) ** (1 / 3) * phi + correlation
    assert torch.allclose(energy, expected, rtol=1e-9, atol=0)


def test_exact_spin_scaling_of_exchange():
    """Oracle: E_x[n_a, n_b] = (E_x[2 n_a] + E_x[2 n_b])/2, with the closed-shell code path."""
    form, points = functional(), open_points()
    n_a, n_b, s_aa, _, s_bb, t_a, t_b = points
    halves = [
        exchange_energy(form, torch.stack([2 * n, 4 * s, 2 * t]), 0) / 2
        for n, s, t in ((n_a, s_aa, t_a), (n_b, s_bb, t_b))
    ]
    assert torch.allclose(exchange_energy(form, points, 1), sum(halves), rtol=1e-13)


def test_uniform_scaling_of_exchange_and_the_limits_of_correlation():
    """Oracle: n -> g^3 n(g r) multiplies the exchange energy density by g^4; G_c -> 1 for g -> infinity."""
    form, points = functional(), open_points()
    for factor in (0.2, 7.0):
        powers = torch.tensor([3, 3, 8, 8, 8, 5, 5], dtype=torch.float64)
        scaled = points * (factor**powers)[:, None]
        assert torch.allclose(
            exchange_energy(form, scaled, 1),
            factor**4 * exchange_energy(form, points, 1),
            rtol=1e-11,
        )
    dense = terms(points * (1e5**powers)[:, None], 1)[1]
    assert (dense.amplitude / dense.base).abs().max() < 3e-3
    assert (terms(points, 1)[1].amplitude / terms(points, 1)[1].base).abs().max() > 0.5


def test_second_order_gradient_expansion_is_that_of_r2scan():
    """G - 1 is O(s^4): halving p quarters it."""
    p = torch.tensor([2e-3, 1e-3, 5e-4], dtype=torch.float64)
    exchange, correlation = terms(slowly_varying(p), 0)
    for term in (exchange[0], correlation):
        factor = term.amplitude / term.base
        assert (factor[:-1] / factor[1:]).tolist() == pytest.approx([4.0, 4.0], rel=0.01)
        assert factor[0] > 1e-7


@pytest.mark.parametrize("flip", [False, True])
def test_one_electron_densities(flip):
    """No correlation and the exchange of r2SCAN, hence -5/16 hartree for the hydrogen atom."""
    nodes, weights = np.polynomial.legendre.leggauss(120)
    r = 7.0 * (nodes + 1.0)
    density = torch.from_numpy(np.exp(-2 * r) / np.pi)
    zero = torch.zeros_like(density)
    up = [density, 4 * density**2, density / 2]
    rows = [up[0], zero, up[1], zero, zero, up[2], zero]
    variables = torch.stack(rows)[[1, 0, 4, 3, 2, 6, 5] if flip else slice(None)]
    form = functional()
    correlation = terms(variables, 1)[1]
    assert correlation.base.abs().max() < 1e-12
    assert correlation.amplitude.abs().max() < 1e-12
    volume = torch.from_numpy(7.0 * weights * 4 * np.pi * r**2)
    total = (volume * form.energy_density(variables, 1)).sum().item()
    assert total == pytest.approx(-5 / 16, abs=1e-5)


@pytest.mark.parametrize("bias", [-40.0, 40.0])
def test_bounds_hold_even_for_saturated_networks(bias):
    """0 < F_x <= 1.804 for closed shells and e_c <= 0, on a dense mesh of p and alpha."""
    p, alpha = (
        x.ravel()
        for x in torch.meshgrid(
            torch.cat([torch.zeros(1), torch.logspace(-3, 8, 200)]).to(torch.float64),
            torch.cat([torch.linspace(0, 5, 150), torch.logspace(1, 6, 30)]).to(torch.float64),
            indexing="ij",
        )
    )
    density = torch.full_like(p, 0.05)
    sigma = p * 4 * r2scan.FERMI_SQUARED * density ** (8 / 3)
    weizsaecker, uniform = sigma / (8 * density), r2scan.UNIFORM_KINETIC * density ** (5 / 3)
    points = torch.stack(
        [density, sigma, weizsaecker + alpha * (uniform + r2scan.ETA * weizsaecker)]
    )
    form = functional(last=0.0, bias=bias)
    factor = exchange_energy(form, points, 0) / (r2scan.UNIFORM_EXCHANGE * density ** (4 / 3))
    assert factor.min() > 0.0
    assert factor.max() <= 1.804
    base = terms(points, 0)[0][0].base / (r2scan.UNIFORM_EXCHANGE * density ** (4 / 3))
    assert (factor - base).abs().max() > 0.5
    assert (form.energy_density(points, 0) <= exchange_energy(form, points, 0) + 1e-18).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_spin_flip_and_closed_shells(family):
    """Oracles: the same point with the spins exchanged; the spin-resolved form with equal spins."""
    form, points = functional(family), open_points(family)
    order = [1, 0, 4, 3, 2, 6, 5, *([7] if family == "NONLOCAL" else [])]
    energy = form.energy_density(points, 1)
    assert torch.allclose(energy, form.energy_density(points[order], 1), rtol=1e-13)
    closed = closed_points(family)
    n, sigma, tau = closed[:3]
    equal = torch.stack([n / 2, n / 2, *[sigma / 4] * 3, tau / 2, tau / 2, *closed[3:]])
    assert torch.allclose(form.energy_density(closed, 0), form.energy_density(equal, 1), rtol=1e-12)


def second_derivatives(form, variables, spin):
    """(1 + n_var + n_var^2, n_points): value, first and second derivatives by the variables."""
    leaf = variables.clone().requires_grad_(True)
    energy = form.energy_density(leaf, spin)
    (first,) = torch.autograd.grad(energy.sum(), leaf, create_graph=True)
    second = [torch.autograd.grad(row.sum(), leaf, retain_graph=True)[0] for row in first]
    return torch.cat([energy[None], first, *second]).detach()


@pytest.mark.parametrize("alpha", [-0.5, 0.0, 1.0, 2.5])
@pytest.mark.parametrize("p", [1e-8, 0.3, 4.0])
def test_second_derivatives_are_continuous_in_alpha(alpha, p):
    """Oracle: the limits from both sides agree, relative to the largest element; a jump does not shrink."""
    density = torch.tensor([0.3], dtype=torch.float64)
    sigma = p * 4 * r2scan.FERMI_SQUARED * density ** (8 / 3)
    weizsaecker, uniform = sigma / (8 * density), r2scan.UNIFORM_KINETIC * density ** (5 / 3)
    rows = []
    for side in (-1e-8, 1e-8):
        tau = weizsaecker + (alpha + side) * (uniform + r2scan.ETA * weizsaecker)
        rows.append(second_derivatives(functional(), torch.stack([density, sigma, tau]), 0))
    assert rows[0].abs().max() > 1e-2
    assert torch.allclose(rows[0], rows[1], rtol=3e-6, atol=1e-7 * rows[0].abs().max().item())


def test_second_derivatives_are_continuous_without_a_gradient():
    """Oracle: the limit sigma -> 0 through fifteen decades, at alpha = 0.3, 1 and 2."""
    density = torch.full((3,), 0.3, dtype=torch.float64)
    tau = torch.tensor([0.3, 1.0, 2.0]) * r2scan.UNIFORM_KINETIC * density ** (5 / 3)
    at_zero = second_derivatives(functional(), torch.stack([density, 0 * density, tau]), 0)
    assert at_zero.abs().max() > 0.1
    for sigma in (1e-30, 1e-20, 1e-15):
        near = second_derivatives(functional(), torch.stack([density, sigma + 0 * density, tau]), 0)
        assert torch.allclose(near, at_zero, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_kernel_is_the_derivative_of_the_potential(family):
    """Oracle: central differences of v_xc, 1e-6 relative to the largest element of the row."""
    form, points = functional(family), open_points(family, 12)
    n_var = points.shape[0]
    rows = second_derivatives(form, points, 1)
    second = rows[1 + n_var :].reshape(n_var, n_var, -1)
    for variable in range(n_var):
        step = 2e-6 * points[variable].abs()
        shift = torch.zeros_like(points)
        shift[variable] = step
        plus, minus = (
            second_derivatives(form, points + sign * shift, 1)[1 : 1 + n_var] for sign in (1, -1)
        )
        # Products with the step have the same unit in every column.
        difference = (plus - minus) / 2
        expected = second[variable] * step
        scale = (rows[1 : 1 + n_var].abs() * 2e-6).clamp_min(1e-300)
        assert ((difference - expected).abs() / scale).max() < 1e-4
        relative = (difference - expected).abs().max() / expected.abs().max()
        assert relative < 1e-6


def test_edges_are_finite_up_to_second_derivatives():
    """Thin and dense, without gradient, alpha at and below zero, one channel empty."""
    rows = []
    for n in (1.01e-11, 1e-6, 1.0, 1e6):
        uniform = r2scan.UNIFORM_KINETIC * n ** (5 / 3)
        for s in (0.0, 1e-7, 1.0, 1e3):
            sigma = (s * 2 * (3 * np.pi**2) ** (1 / 3) * n ** (4 / 3)) ** 2
            for alpha in (0.0, -1e-10, -0.3, -0.5, -5.0, 1.0, 1e6):
                tau = max(0.0, sigma / (8 * n) + alpha * uniform)
                for near in (-1e-3 * n, 0.0, 5 * n, 1e-9):
                    rows.append([n, 0, sigma, 0, 0, tau, 0, near])
                    rows.append([0, n, 0, 0, sigma, 0, tau, near])
                    rows.append([n, 1e-6 * n, sigma, 0, 1e-12 * sigma, tau, 1e-6 * tau, near])
    points = torch.tensor(rows, dtype=torch.float64).T.contiguous()
    assert torch.isfinite(second_derivatives(functional("NONLOCAL"), points, 1)).all()
    assert torch.isfinite(second_derivatives(functional(), points[:7], 1)).all()


def test_near_region_vanishes_for_the_uniform_gas():
    density = torch.logspace(-12, 4, 60, dtype=torch.float64)
    assert near_region(density * KERNEL.integral(), density).abs().max() < 1e-12
    assert near_region(3 * density * KERNEL.integral(), density)[-1].item() == pytest.approx(
        np.log(3.0)
    )


def test_near_region_is_smooth_where_the_fit_is_negative():
    """Oracle: two derivatives agree from both sides of zero, and the value falls no further than a floor."""
    values = []
    for side in (-1e-12, 0.0, 1e-12):
        convolved = torch.tensor([side], dtype=torch.float64, requires_grad=True)
        result = [near_region(convolved, torch.tensor([1e-4], dtype=torch.float64))]
        for _ in range(2):
            result += torch.autograd.grad(result[-1].sum(), convolved, create_graph=True)
        values.append([r.item() for r in result])
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    assert values[2] == pytest.approx(values[1], rel=1e-4)
    very = torch.tensor([-1.0, -1e3], dtype=torch.float64) * KERNEL.integral()
    lowest = near_region(very, torch.tensor([1.0, 1.0], dtype=torch.float64))
    assert (lowest > np.log(0.9 * SMALLEST_DENSITY)).all()


def test_contract_and_pickle():
    for family in FAMILIES:
        form, points = functional(family), open_points(family, 5)
        assert isinstance(form, XCFunctional)
        copy = pickle.loads(pickle.dumps(form))
        assert torch.equal(copy.energy_density(points, 1), form.energy_density(points, 1))
    assert isinstance(functional("NONLOCAL"), NonlocalXCFunctional)
    assert functional("NONLOCAL").convolution == KERNEL


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_functional_comes_back(tmp_path, family):
    parameters = drawn_parameters(family)
    path = tmp_path / "own.safetensors"
    digest = save_checkpoint(path, parameters, manifest={"name": "own", "family": family})
    loaded = load_functional(path)
    assert (loaded.name, loaded.family, loaded.sha256) == ("own", family, digest)
    assert load_functional(path, name="other").name == "other"
    points = open_points(family, 5)
    expected = functional(family).energy_density(points, 1)
    assert torch.equal(loaded.energy_density(points, 1), expected)


@pytest.mark.parametrize(
    ("manifest", "damage", "message"),
    [
        ({"family": "NONLOCAL"}, None, "shape"),
        ({"family": "MGGA"}, "missing", "exchange.0.bias"),
        ({"family": "MGGA"}, "four layers", "fc1"),
        ({"family": "MGGA"}, "nan", "finite|NaN"),
        ({"family": "MGGA"}, "truncated", "hash|SHA|truncated|size"),
    ],
)
def test_other_checkpoints_are_refused(tmp_path, manifest, damage, message):
    parameters = drawn_parameters("MGGA")
    if damage == "missing":
        del parameters["exchange.0.bias"]
    elif damage == "four layers":
        parameters = {name: torch.zeros(s) for name, s in four_layer_shapes("MGGA").items()}
    elif damage == "nan":
        parameters["exchange.0.bias"] = parameters["exchange.0.bias"].clone()
    path = tmp_path / "foreign.safetensors"
    if damage == "nan":
        parameters["exchange.0.bias"][3] = float("nan")
        with pytest.raises(CheckpointError, match=message):
            save_checkpoint(path, parameters, manifest=manifest)
        return
    save_checkpoint(path, parameters, manifest=manifest)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=message):
        load_functional(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        load_functional(tmp_path / "nowhere.safetensors")


def seeded_four_layers(family):
    generator = torch.Generator().manual_seed(5)
    return FourLayerFunctional(
        name="seeded",
        family=family,
        parameters={
            name: 0.3 * torch.randn(shape, generator=generator)
            for name, shape in four_layer_shapes(family).items()
        },
        activation="silu",
    )


FORMS = [(functional, family) for family in FAMILIES] + [
    (seeded_four_layers, family) for family in FAMILIES
]


@pytest.mark.parametrize(("form", "family"), FORMS)
@pytest.mark.parametrize("spin", [0, 1])
def test_nothing_is_left_on_the_cpu(form, family, spin):
    """Oracle: torch's meta device, which refuses to mix with tensors of the CPU; it holds no numbers."""
    points = (closed_points, open_points)[spin](family, 4).to("meta").requires_grad_(True)
    energy = form(family).energy_density(points, spin)
    (first,) = torch.autograd.grad(energy.sum(), points, create_graph=True)
    (second,) = torch.autograd.grad(first[0].sum(), points)
    assert energy.device.type == second.device.type == "meta"
    assert energy.shape == (4,)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("form", "family"), FORMS)
@pytest.mark.parametrize("spin", [0, 1])
def test_a_gpu_gives_the_same_derivatives(form, family, spin):
    """Oracle: the CPU; energy 1e-12, derivatives 1e-9 relative to the largest of each row."""
    points = (closed_points, open_points)[spin](family)
    on_cpu = second_derivatives(form(family), points, spin)
    on_gpu = second_derivatives(form(family), points.to("cuda"), spin).cpu()
    assert torch.allclose(on_gpu[0], on_cpu[0], rtol=1e-12)
    for row, expected in zip(on_gpu, on_cpu, strict=True):
        assert torch.allclose(row, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())
