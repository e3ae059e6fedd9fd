"""The convolved density R against closed forms, overlap integrals and quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from closed_form_functionals import NearRegion
from pyscf import dft, gto
from scipy.spatial.distance import cdist
from scipy.special import erfcx

from kakehashi_core import GaussianKernel, InvalidInputError
from kakehashi_pyscf import attach, fixed_density
from kakehashi_pyscf import convolved_density as module
from kakehashi_pyscf.convolved_density import FittedConvolution, convolved_density
from kakehashi_pyscf.quadrature_convolution import QuadratureConvolution, truncation_radius

KERNEL = GaussianKernel.exponential(0.2)
POINTS = np.array([[0.0, 0.0, 0.0], [0.3, -0.4, 0.1], [1.0, 0.5, -2.0]])


@pytest.fixture
def gaussian_density():
    """One electron with the density (a/pi)^(3/2) exp(-a r^2), a = 1.3, and an exact auxiliary basis."""
    mol = gto.M(atom="H 0 0 0", basis={"H": [[0, (0.65, 1.0)]]}, spin=1, verbose=0)
    return mol, np.eye(1), {"H": [[0, (1.3, 1.0)], [1, (0.9, 1.0)], [0, (0.4, 1.0)]]}


def test_gaussian_density_with_a_sum_of_gaussians(gaussian_density):
    """Oracle: the product theorem, C (a/(a+k))^(3/2) exp(-ak/(a+k) r^2), relative 1e-12."""
    mol, dm, auxbasis = gaussian_density
    squared = (POINTS**2).sum(axis=1)
    exact = sum(
        c * (1.3 / (1.3 + k)) ** 1.5 * np.exp(-1.3 * k / (1.3 + k) * squared)
        for c, k in zip(KERNEL.coefficients, KERNEL.exponents, strict=True)
    )
    values = convolved_density(mol, dm, KERNEL, POINTS, auxbasis=auxbasis)
    np.testing.assert_allclose(values, exact, rtol=1e-12)


def test_gaussian_density_with_the_exponential(gaussian_density):
    """Oracle: closed form at the origin, 0.0339593413; the expansion of the kernel is good to 1e-4."""
    mol, dm, auxbasis = gaussian_density
    a, k = 1.3, 5.0
    exact = -k / (4 * a**2) + math.sqrt(math.pi) / (8 * a**2.5) * (2 * a + k**2) * erfcx(
        k / (2 * math.sqrt(a))
    )
    exact *= 4 * math.pi * (a / math.pi) ** 1.5
    assert exact == pytest.approx(0.0339593413, abs=1e-10)
    value = convolved_density(mol, dm, KERNEL, POINTS[:1], auxbasis=auxbasis)[0]
    assert value == pytest.approx(exact, rel=2e-4)


def test_hydrogen_atom():
    """Oracle: closed form for exp(-2r)/pi; the basis set and the fit of the cusp limit it to 0.5 %."""
    mol = gto.M(atom="H 0 0 0", basis="aug-cc-pv5z", spin=1, verbose=0)
    orbital = np.linalg.eigh(_orthogonal(mol, mol.intor("int1e_kin") + mol.intor("int1e_nuc")))[1]
    vector = _half(mol) @ orbital[:, 0]
    values = convolved_density(
        mol,
        np.outer(vector, vector),
        KERNEL,
        np.array([[0.0, 0.0, 0.5], [0.0, 1.0, 0.0]]),
        auxbasis={"H": gto.expand_etbs([(0, 16, 0.05, 2.0)])},
    )
    np.testing.assert_allclose(values, [0.0165954915, 0.0080762812], rtol=5e-3)


def _half(mol):
    values, vectors = np.linalg.eigh(mol.intor("int1e_ovlp"))
    return (vectors / np.sqrt(values)) @ vectors.T


def _orthogonal(mol, matrix):
    return _half(mol).T @ matrix @ _half(mol)


@pytest.mark.parametrize("cart", [False, True])
def test_convolved_functions_against_overlaps(water, cart):
    """Oracle: two-centre overlaps with the Gaussians of the kernel, all angular momenta, 1e-13."""
    mol = gto.M(atom=water.atom, basis="6-31g*", cart=cart, verbose=0)
    fitted = FittedConvolution(mol, KERNEL)
    points = POINTS * 0.4
    exact = np.zeros((len(points), fitted.auxmol.nao))
    for exponent, coefficient in zip(KERNEL.exponents, KERNEL.coefficients, strict=True):
        probe = gto.fakemol_for_charges(points, exponent)
        scale = coefficient * (math.pi / exponent) ** 1.5
        exact += scale * gto.intor_cross("int1e_ovlp", probe, fitted.auxmol)
    assert not fitted.auxmol.cart
    assert max(fitted.auxmol.bas_angular(i) for i in range(fitted.auxmol.nbas)) >= 4
    parts = fitted.evaluate(points)
    values = np.array([fitted.gather(row) for row in parts])
    np.testing.assert_allclose(values, exact, atol=1e-13)
    assert parts.shape[1] > exact.shape[1]  # some shells had to be split


def test_fit_and_potential_are_adjoint(water):
    """Oracle: lambda . b(D) = trace(D F(lambda)) for any symmetric D."""
    fitted = FittedConvolution(water, KERNEL)
    rng = np.random.default_rng(5)
    dm = rng.normal(size=(water.nao, water.nao))
    dm = dm + dm.T
    multipliers = rng.normal(size=fitted.auxmol.nao)
    left = fitted.auxmol.intor("int2c2e") @ fitted.fit(dm) @ multipliers
    assert left == pytest.approx(np.sum(dm * fitted.potential(multipliers)), rel=1e-10)


def test_integral_counts_the_electrons(water):
    """Oracle: integral of R = electrons x integral of the kernel; grid and fit good to 1e-4."""
    grids = dft.Grids(water)
    grids.level = 2
    grids.build()
    dm = dft.RKS(water).get_init_guess(key="minao")
    values = convolved_density(water, dm, KERNEL, grids.coords)
    electrons = np.sum(dm * water.intor("int1e_ovlp"))
    assert grids.weights @ values == pytest.approx(electrons * KERNEL.integral(), rel=1e-4)


def test_spins_add_up_and_blocks_do_not_matter(water, monkeypatch):
    rng = np.random.default_rng(1)
    dm = dft.RKS(water).get_init_guess(key="minao")
    points = rng.normal(size=(500, 3))
    values = convolved_density(water, dm, KERNEL, points)
    halves = convolved_density(water, np.stack([0.25 * dm, 0.75 * dm]), KERNEL, points)
    np.testing.assert_allclose(halves, values, atol=1e-14)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 1e5)
    np.testing.assert_allclose(
        convolved_density(water, dm, KERNEL, points), values, rtol=0.0, atol=1e-13
    )


def test_wrong_shapes_and_elements_are_refused(water):
    with pytest.raises(InvalidInputError, match=r"13 orbitals, so \(13, 13\)"):
        convolved_density(water, np.eye(3), KERNEL, POINTS)
    with pytest.raises(InvalidInputError, match=r"shape \(n_points, 3\)"):
        convolved_density(water, np.eye(13), KERNEL, POINTS[0])
    uranium = gto.M(atom="U 0 0 0", basis={"U": [[0, (1.0, 1.0)]]}, verbose=0)
    with pytest.raises(InvalidInputError, match="no functions for 'U'"):
        attach(dft.RKS(uranium), NearRegion())


@pytest.mark.parametrize("kernel", [KERNEL, GaussianKernel(exponents=(4.0,), coefficients=(0.7,))])
def test_quadrature_against_the_full_matrix(kernel):
    """Oracle: all pairs of 900 clustered points, 1e-12."""
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(size=(600, 3)), 0.1 * rng.normal(size=(300, 3)) + 1.5])
    values = rng.normal(size=900)
    distances = cdist(points, points)
    radius = truncation_radius(kernel)
    matrix = np.exp(-distances / 0.2) if kernel is KERNEL else kernel(distances)
    matrix[distances >= radius] = 0.0
    assert 0.01 < np.mean(matrix > 0) < 0.9
    if kernel is KERNEL:
        assert radius == pytest.approx(0.2 * math.log(1000))
    np.testing.assert_allclose(
        QuadratureConvolution(points, kernel).apply(values), matrix @ values, atol=1e-12
    )


@pytest.mark.parametrize("spin", [0, 1])
def test_fixed_density_with_a_kernel(water, radical, spin):
    """Oracle: convolved_density at the same points; the other rows are as without the kernel."""
    mol = radical if spin else water
    mf = (dft.UKS(mol) if spin else dft.RKS(mol)).set(xc="pbe")
    mf.grids.level = 1
    mf.run()
    plain = fixed_density(mf)
    density = fixed_density(mf, kernel=KERNEL)
    assert density.variables.shape[0] == plain.variables.shape[0] + 1
    np.testing.assert_array_equal(density.variables[:-1], plain.variables)
    total = mf._numint.get_rho(mol, mf.make_rdm1() if not spin else sum(mf.make_rdm1()), mf.grids)
    points = mf.grids.coords[total > 1e-8]
    np.testing.assert_allclose(
        density.variables[-1], convolved_density(mol, mf.make_rdm1(), KERNEL, points), atol=1e-13
    )
    assert density.xc_energy == plain.xc_energy


def test_fixed_density_of_a_nonlocal_functional(water):
    """Oracle: the SCF total, 1e-9 hartree, once from the stored variables."""
    mf = attach(dft.RKS(water), NearRegion())
    mf.grids.level = 1
    mf.run()
    density = fixed_density(mf)
    assert density.variables.shape[0] == 4
    assert density.xc_energy + density.energy_rest == pytest.approx(mf.e_tot, abs=1e-9)
    other = fixed_density(mf, kernel=GaussianKernel.exponential(0.5))
    assert other.xc_energy == density.xc_energy
    assert abs(other.variables[-1] - density.variables[-1]).max() > 1e-2
