"""r2SCAN in torch against libxc, and its behavior where densities are empty, thin or dense."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kakehashi_nnxc import r2scan
from kakehashi_nnxc.constrained_form import terms

libxc = pytest.importorskip("pyscf.dft.libxc")
derivatives = pytest.importorskip("kakehashi_pyscf.derivatives")
density_variables = pytest.importorskip("kakehashi_pyscf.density_variables")

N_POINTS = 600


class R2SCAN:
    family = "MGGA"
    hybrid = 0.0
    max_deriv = 2

    def energy_density(self, variables, spin):
        exchange, correlation = terms(variables, spin)
        return correlation.base + sum(term.base for term in exchange)


def channel(rng, density, spin):
    """A density with its gradient, s from 0.03 to 10, and tau, alpha from 0.01 to 20.

    At s = 0.02 libxc drops exp(-4.9479 s^(-1/2)), 1e-16 there, whose second derivative is 1e-7.
    """
    s = 10 ** rng.uniform(-1.5, 1, N_POINTS)
    alpha = np.where(
        rng.random(N_POINTS) < 0.5,
        rng.uniform(0, 3, N_POINTS),
        10 ** rng.uniform(-2, 1.3, N_POINTS),
    )
    gradient = s * 2 * (3 * np.pi**2) ** (1 / 3) * density ** (4 / 3)
    uniform = 0.3 * (3 * np.pi**2) ** (2 / 3) * density ** (5 / 3) * (2 ** (2 / 3) if spin else 1)
    return gradient, gradient**2 / (8 * density) + alpha * uniform


def random_points(spin):
    rng = np.random.default_rng(20)
    density = 10 ** rng.uniform(-5, 2, N_POINTS)
    gradient, tau = channel(rng, density, spin)
    if spin == 0:
        return np.stack([density, gradient**2, tau])
    # libxc itself loses digits of the mixed derivatives at polarizations above 0.999.
    other = density * 10 ** rng.uniform(-2.5, 2.5, N_POINTS)
    other_gradient, other_tau = channel(rng, other, spin)
    cosine = rng.uniform(-1, 1, N_POINTS)
    mixed = gradient * other_gradient * cosine
    return np.stack([density, other, gradient**2, mixed, other_gradient**2, tau, other_tau])


def libxc_rows(variables, spin):
    return libxc.eval_xc1("r2scan", density_variables.rho_from_variables(variables, spin), spin, 2)


@pytest.mark.parametrize("spin", [0, 1])
def test_energy_and_derivatives_are_those_of_libxc(spin):
    """Oracle: libxc. Where a derivative passes through zero its relative error has no bound: 95 % of the
    points are held to 1e-9 (second derivatives 5e-9), all to 1e-5."""
    variables = random_points(spin)
    n_var = variables.shape[0]
    ours = derivatives.xc_derivatives(R2SCAN(), variables, spin, 2)
    theirs = libxc_rows(variables, spin)
    assert ours.shape == theirs.shape
    assert ours[0] == pytest.approx(theirs[0], rel=1e-12)
    for row in range(1, theirs.shape[0]):
        scale = np.abs(theirs[row])
        if row <= n_var:
            assert (scale > 0).all()
        error = np.abs(ours[row] - theirs[row]) / np.maximum(scale, 1e-300)
        assert np.quantile(error, 0.95) < (1e-9 if row <= n_var else 5e-9), row
        assert error.max() < 1e-5, row


def test_an_empty_channel_is_that_of_libxc():
    """Oracle: libxc with zeros in one channel; derivatives by the occupied one."""
    closed = random_points(0)
    zero = np.zeros(N_POINTS)
    for rows, order in (
        ((closed[0], zero, closed[1], zero, zero, closed[2], zero), (1, 3, 6)),
        ((zero, closed[0], zero, zero, closed[1], zero, closed[2]), (2, 5, 7)),
    ):
        variables = np.stack(rows)
        ours = derivatives.xc_derivatives(R2SCAN(), variables, 1, 1)
        theirs = libxc_rows(variables, 1)
        # The floor of 1e-12 in the empty channel is felt as (1e-12/n)^(2/3).
        dense = closed[0] > 1e-2
        assert ours[0, dense] == pytest.approx(theirs[0, dense], rel=1e-7)
        for row in order:
            error = np.abs(ours[row, dense] / theirs[row, dense] - 1)
            assert np.quantile(error, 0.95) < 1e-6


def edge_points():
    """Densities from 1e-11 to 1e9; s = 0 and up; alpha zero, slightly and absurdly negative, and large."""
    closed, polarized = [], []
    for n in (1.01e-11, 1e-8, 1e-3, 1.0, 1e4, 1e9):
        uniform = r2scan.UNIFORM_KINETIC * n ** (5 / 3)
        for s in (0.0, 1e-8, 1.0, 1e4):
            sigma = (s * 2 * (3 * np.pi**2) ** (1 / 3) * n ** (4 / 3)) ** 2
            for alpha in (0.0, -1e-12, -1e-3, -0.5, -0.9, -900.0, 1.0, 2.5, 1e8):
                tau = max(0.0, sigma / (8 * n) * (1 + 1e-3 * alpha) + alpha * uniform)
                closed.append([n, sigma, tau])
                polarized.append([n, 0, sigma, 0, 0, tau, 0])
                polarized.append([0, n, 0, 0, sigma, 0, tau])
                polarized.append([n, 0, sigma, 0, 1e-22, tau, 1e-16])
                polarized.append([n, 1e-12, sigma, 1e-20, 1e-26, tau, 1e-14])
                polarized.append([n / 2, n / 2, sigma / 4, -sigma / 4, sigma / 4, tau / 2, tau / 2])
    return np.array(closed, dtype=float).T, np.array(polarized, dtype=float).T


@pytest.mark.parametrize("spin", [0, 1])
def test_edges_are_finite_up_to_second_derivatives(spin):
    """Also without the floors of a host: the functional itself has to cope with an empty channel."""
    variables = edge_points()[spin]
    rows = derivatives.xc_derivatives(R2SCAN(), variables, spin, 2)
    assert np.isfinite(rows).all()
    leaf = torch.from_numpy(variables).requires_grad_(True)
    energy = R2SCAN().energy_density(leaf, spin)
    (first,) = torch.autograd.grad(energy.sum(), leaf, create_graph=True)
    assert torch.isfinite(energy).all()
    assert torch.isfinite(first).all()
    for row in first:
        (second,) = torch.autograd.grad(row.sum(), leaf, retain_graph=True)
        assert torch.isfinite(second).all()


def test_uniform_gas_slope_is_the_derivative_by_the_seitz_radius():
    """Oracle: automatic differentiation."""
    radius = torch.linspace(0.1, 20.0, 30, dtype=torch.float64).requires_grad_(True)
    zeta = torch.linspace(-1.0, 1.0, 30, dtype=torch.float64)
    phi = 0.5 * ((1 + zeta) ** (4 / 3) + (1 - zeta) ** (4 / 3))
    energy, slope = r2scan.uniform_gas_correlation(radius, zeta, phi)
    (expected,) = torch.autograd.grad(energy.sum(), radius)
    assert torch.allclose(slope, expected, rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 2.5])
@pytest.mark.parametrize(
    ("coefficients", "exponents"),
    [
        (r2scan.EXCHANGE_COEFFICIENTS, (0.667, 0.8, 1.24)),
        (r2scan.CORRELATION_COEFFICIENTS, (0.64, 1.5, 0.7)),
    ],
)
def test_the_pieces_of_the_switch_join_with_two_derivatives(alpha, coefficients, exponents):
    """Oracle: the limit from the other side."""
    sides = []
    for x in (alpha - 1e-11, alpha + 1e-11):
        value = torch.tensor([x], dtype=torch.float64, requires_grad=True)
        result = [r2scan._switch(value, coefficients, *exponents)]
        for _ in range(2):
            result += torch.autograd.grad(result[-1].sum(), value, create_graph=True)
        sides.append([r.item() for r in result])
    assert sides[0] == pytest.approx(sides[1], abs=1e-8)
    assert abs(sides[0][2]) > 0.1


def test_exchange_enhancement_is_bounded():
    """The bound 1.174 of one- and two-electron densities."""
    p, alpha = torch.meshgrid(
        torch.logspace(-4, 6, 80, dtype=torch.float64),
        torch.linspace(0.0, 30.0, 200, dtype=torch.float64),
        indexing="ij",
    )
    factor = r2scan.exchange_enhancement(p, alpha)
    assert factor.max() <= 1.174
    assert factor.max() > 1.1
    assert factor.min() > 0.0
