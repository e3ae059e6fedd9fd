"""Derivatives of the constrained form by jets and hand-written network passes.

Errors are measured on the natural scale of every variable (its density, 4 (3 pi^2)^(2/3) n^(8/3) for squared
gradients, the uniform gas for tau), point by point, relative to the largest derivative there.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pyscf import dft, gto

from kakehashi_core.contracts import FirstDerivatives, SecondDerivatives
from kakehashi_nnxc import r2scan
from kakehashi_nnxc.constrained_form import KERNEL, ConstrainedFunctional, parameter_shapes
from kakehashi_nnxc.jets import Jet
from kakehashi_nnxc.network_derivatives import BLOCK_POINTS, network_derivatives
from kakehashi_pyscf.attachment import attach
from kakehashi_pyscf.derivatives import xc_derivatives

CASES = [(family, spin) for family in ("MGGA", "NONLOCAL") for spin in (0, 1)]


def drawn_functional(family, **options):
    """Random weights with which N and its derivatives are of order one."""
    generator = torch.Generator().manual_seed(11)
    parameters = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        * (0.3 if name.endswith("bias") else 2.0 / math.sqrt(shape[-1]))
        for name, shape in parameter_shapes(family).items()
    }
    return ConstrainedFunctional(name="drawn", family=family, parameters=parameters, **options)


def channel(rng, n):
    """Density, squared gradient, tau of an unpolarized gas, all switching regions of alpha."""
    density = 10 ** rng.uniform(-6, 2, n)
    sigma = 10 ** rng.uniform(-4, 1.5, n) * 4 * r2scan.FERMI_SQUARED * density ** (8 / 3)
    uniform = r2scan.UNIFORM_KINETIC * density ** (5 / 3)
    return np.stack([density, sigma, sigma / (8 * density) + rng.uniform(0, 4, n) * uniform])


def edges():
    """Closed-shell points at which something is zero, switches, or nearly vanishes."""
    density, p, alpha = (
        axis.ravel()
        for axis in np.meshgrid(
            [1e-11, 1e-4, 0.3, 500.0],
            [0.0, 1e-15, 1e-6, 1.0, 300.0],
            [-1e-3, 0.0, 1e-9, 1.0, 2.4999, 2.5001, 50.0],
        )
    )
    sigma = p * 4 * r2scan.FERMI_SQUARED * density ** (8 / 3)
    weizsaecker = sigma / (8 * density)
    uniform = r2scan.UNIFORM_KINETIC * density ** (5 / 3)
    return np.stack([density, sigma, weizsaecker + alpha * (uniform + r2scan.ETA * weizsaecker)])


def sampled(family, spin, n=400, seed=12, with_edges=True):
    rng = np.random.default_rng(seed)
    rows = channel(rng, n)
    if with_edges:
        rows = np.concatenate([rows, edges()], axis=1)
    if spin == 1:
        other = channel(rng, rows.shape[1])
        # Fractions of the density in b from one half to (nearly) nothing.
        fraction = 10 ** rng.uniform(-1.5, 1.0, rows.shape[1]) * rows[0] / other[0]
        if with_edges:
            fraction[::7] = 1e-12 / other[0, ::7]
        other *= np.stack([fraction, fraction ** (8 / 3), fraction ** (5 / 3)])
        mixed = rng.uniform(-0.9, 0.9, rows.shape[1]) * np.sqrt(rows[1] * other[1])
        rows = np.stack([rows[0], other[0], rows[1], mixed, other[1], rows[2], other[2]])
    if family == "NONLOCAL":
        around = rows[: spin + 1].sum(0) * KERNEL.integral()
        rows = np.concatenate([rows, [around * 10 ** rng.uniform(-0.5, 0.5, around.size)]])
    return torch.from_numpy(rows)


def scales(variables, spin, family):
    """Natural unit of each row."""

    def triple(density):
        unit = 4 * r2scan.FERMI_SQUARED * density ** (8 / 3)
        return density, unit, r2scan.UNIFORM_KINETIC * density ** (5 / 3)

    if spin == 0:
        rows = list(triple(variables[0]))
    else:
        (n_a, s_a, t_a), (n_b, s_b, t_b) = triple(variables[0]), triple(variables[1])
        rows = [n_a, n_b, s_a, (s_a * s_b).sqrt(), s_b, t_a, t_b]
    if family == "NONLOCAL":
        rows.append(variables[-1].abs())
    return torch.stack(rows)


def autograd(functional, variables, spin):
    leaf = variables.clone().requires_grad_(True)
    energy = functional.energy_density(leaf, spin)
    (first,) = torch.autograd.grad(energy.sum(), leaf, create_graph=True)
    second = [torch.autograd.grad(row.sum(), leaf, retain_graph=True)[0] for row in first]
    return energy.detach(), first.detach(), torch.stack(second)


def errors(found, expected, unit):
    """Largest error of first and of second derivatives at any point, in natural units."""
    first, second = (f - e for f, e in zip(found[1:], expected[1:], strict=True))
    pairs = unit[:, None] * unit[None]
    assert torch.isfinite(first).all()
    assert torch.isfinite(second).all()
    return tuple(
        float(((part * u).abs().flatten(0, -2) / (whole * u).abs().flatten(0, -2).amax(0)).max())
        for part, whole, u in ((first, expected[1], unit), (second, expected[2], pairs))
    )


@pytest.mark.parametrize(("family", "spin"), CASES)
def test_derivatives_equal_those_of_reverse_passes(family, spin):
    """Oracle: torch.autograd, one and two reverse passes through ``energy_density``."""
    functional = drawn_functional(family)
    variables = sampled(family, spin)
    assert isinstance(functional, FirstDerivatives)
    assert isinstance(functional, SecondDerivatives)
    expected = autograd(functional, variables, spin)
    found = functional.exc_vxc_fxc(variables, spin)
    assert expected[2].abs().amax(-1).min() > 0
    assert torch.allclose(found[0], expected[0], rtol=1e-12, atol=0.0)
    first_error, second_error = errors(found, expected, scales(variables, spin, family))
    assert first_error < 1e-12
    assert second_error < 1e-9
    assert torch.equal(found[2], found[2].transpose(0, 1))
    energy, first = functional.exc_vxc(variables, spin)
    assert torch.equal(energy, found[0])
    assert torch.allclose(first, found[1], rtol=1e-13, atol=0.0)
    assert not variables.requires_grad
    assert not found[2].requires_grad


@pytest.mark.parametrize(("family", "spin"), CASES)
def test_second_derivatives_are_differences_of_first_ones(family, spin):
    """Oracle: central differences of ``exc_vxc``, step 1e-5 of the natural unit, Richardson."""
    functional = drawn_functional(family)
    variables = sampled(family, spin, n=200, with_edges=False)
    unit = scales(variables, spin, family)

    def difference(row, step):
        moved = [variables.clone(), variables.clone()]
        for sign, copy in zip((1.0, -1.0), moved, strict=True):
            copy[row] += sign * step * unit[row]
        up, down = (functional.exc_vxc(copy, spin)[1] for copy in moved)
        return (up - down) / (moved[0][row] - moved[1][row])

    expected = torch.stack(
        [
            (4.0 * difference(row, 5e-6) - difference(row, 1e-5)) / 3.0
            for row in range(len(variables))
        ]
    )
    found = functional.exc_vxc_fxc(variables, spin)
    assert errors(found, (None, found[1], expected), unit)[1] < 1e-6


def test_empty_spin_channel_is_finite():
    """Oracle: autograd where the second channel holds nothing at all."""
    functional = drawn_functional("MGGA")
    rows = channel(np.random.default_rng(13), 50)
    zero = np.zeros(50)
    variables = torch.from_numpy(np.stack([rows[0], zero, rows[1], zero, zero, rows[2], zero]))
    found, expected = functional.exc_vxc_fxc(variables, 1), autograd(functional, variables, 1)
    live = [0, 2, 5]
    assert torch.allclose(found[1][live], expected[1][live], rtol=1e-10)
    assert torch.allclose(found[2][live][:, live], expected[2][live][:, live], rtol=1e-8)
    assert torch.isfinite(found[2]).all()


@pytest.mark.parametrize(("family", "spin"), CASES)
def test_no_density_at_all_is_finite(family, spin):
    """Oracle: autograd; the energy of nothing is nothing."""
    functional = drawn_functional(family)
    variables = torch.zeros(len(sampled(family, spin, n=1)), 3, dtype=torch.float64)
    found, expected = functional.exc_vxc(variables, spin), autograd(functional, variables, spin)
    assert found[0].abs().max() < 1e-20
    assert torch.allclose(found[1], expected[1], rtol=1e-10)


def test_network_derivatives_do_not_depend_on_blocks():
    """Oracle: the same points one block at a time; more points than a block holds."""
    functional = drawn_functional("MGGA")
    parameters = functional._parameters
    layers = [
        (parameters[f"correlation.{k}.weight"], parameters[f"correlation.{k}.bias"])
        for k in range(4)
    ]
    inputs = torch.rand(
        4, BLOCK_POINTS + 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    whole = network_derivatives(layers, inputs, varying=(0, 2, 3), order=2)
    tail = network_derivatives(layers, inputs[:, -7:], varying=(0, 2, 3), order=2)
    assert set(whole.second) == {(0, 0), (0, 2), (0, 3), (2, 2), (2, 3), (3, 3)}
    assert torch.allclose(whole.value[-7:], tail.value, rtol=1e-13)
    for pair, derivative in tail.second.items():
        assert derivative.abs().max() > 1e-3
        assert torch.allclose(whole.second[pair][-7:], derivative, rtol=1e-10, atol=1e-13)


def test_jet_refuses_functions_it_does_not_know():
    """A function without a rule must not pass silently with wrong derivatives."""
    with pytest.raises(TypeError, match="sin"):
        torch.sin(Jet.variable(torch.ones(3), 0, 2).as_tensor())


@pytest.mark.parametrize("spin", [0, 1])
def test_bridge_uses_them(spin):
    """Oracle: the bridge's own reverse passes, on a copy of the functional without the fast path."""
    functional = drawn_functional("MGGA")

    class Slow:
        family, hybrid, max_deriv = functional.family, functional.hybrid, functional.max_deriv
        energy_density = staticmethod(functional.energy_density)

    variables = sampled("MGGA", spin, with_edges=False).numpy()
    fast, slow = (xc_derivatives(f, variables, spin, 2) for f in (functional, Slow()))
    assert not np.array_equal(fast, slow)
    np.testing.assert_allclose(fast, slow, rtol=1e-7)


def test_response_kernel_of_a_molecule_is_the_difference_of_potentials():
    """Oracle: central difference of the Kohn-Sham matrix along a random density change."""
    mol = gto.M(atom="O 0 0 0; H 0.76 0 0.59; H -0.76 0 0.59", basis="sto-3g", verbose=0)
    mf = attach(dft.RKS(mol), drawn_functional("MGGA"))
    mf.grids.level = 0
    dm = mf.get_init_guess()
    change = np.random.default_rng(14).normal(size=dm.shape)
    change = 1e-2 * (change + change.T)
    mf.grids.build()
    numint = mf._numint

    def potential(step):
        return numint.nr_rks(mol, mf.grids, mf.xc, dm + step * change)[2]

    expected = (potential(1e-4) - potential(-1e-4)) / 2e-4
    found = numint.nr_rks_fxc(mol, mf.grids, mf.xc, dm, change, hermi=1)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("family", "spin"), CASES)
def test_cuda_gives_the_same_numbers(family, spin):
    """Oracle: the same functional on the CPU, through the bridge."""
    variables = sampled(family, spin, with_edges=False).numpy()
    for deriv in (0, 1, 2):
        on_cpu, on_gpu = (
            xc_derivatives(drawn_functional(family, device=device), variables, spin, deriv)
            for device in ("cpu", "cuda")
        )
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-8)
