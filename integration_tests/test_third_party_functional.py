"""PBE in torch, from a distribution that is not ours, against libxc's PBE on the same grids.

What is tested is the bridge: the two functionals agree to 1e-14 at every point (first test), so any
difference beyond rounding comes from how their derivatives reach PySCF.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pyscf import dft, gto

import kakehashi_pyscf
from kakehashi_core import registry
from kakehashi_testing.density_points import density_points
from kakehashi_testing.functional_derivatives import gradient, hessian
from kakehashi_testing.tolerances import tolerance
from kakehashi_testing.xc_checks import natural_scale

NAME = "torch-pbe"

MOLECULES = {
    "water": ("O 0 0 0.12; H 0 0.76 -0.48; H 0 -0.79 -0.45", 0),
    # A doublet without degeneracy, unlike OH, whose unpaired electron may point anywhere.
    "amidogen": ("N 0 0 0.14; H 0 0.81 -0.49; H 0 -0.83 -0.47", 1),
    "hydrogen atom": ("H 0 0 0", 1),
}


def molecule(name: str, basis: str = "6-31g") -> gto.Mole:
    atom, spin = MOLECULES[name]
    return gto.M(atom=atom, spin=spin, basis=basis, verbose=0)


def kohn_sham(mol: gto.Mole, method: str = "RKS", xc: str = "pbe") -> Any:
    mf = getattr(dft, method)(mol, xc=xc)
    mf.grids.level = 1
    mf.conv_tol = 1e-12
    mf.conv_tol_grad = 1e-8
    mf.max_cycle = 200
    # Closed here, the checkpoint does not warn when the garbage collector meets it.
    mf._chkfile.close()
    mf.chkfile = None
    return mf


def converged(mf: Any) -> Any:
    mf.kernel()
    assert mf.converged
    return mf


@pytest.fixture(params=["attach", "enable"])
def ours(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Kohn-Sham objects that use torch-pbe, by both routes."""
    if request.param == "attach":
        yield lambda mol, method="RKS": kakehashi_pyscf.attach(kohn_sham(mol, method), NAME)
        return
    with kakehashi_pyscf.enable():
        yield lambda mol, method="RKS": kohn_sham(mol, method, xc=NAME)


def attached(mol: gto.Mole, method: str = "RKS") -> Any:
    return kakehashi_pyscf.attach(kohn_sham(mol, method), NAME)


def nuclear_gradient(mf: Any, *, grid_response: bool) -> np.ndarray:
    gradients = mf.nuc_grad_method()
    gradients.grid_response = grid_response
    return np.asarray(gradients.kernel())


@pytest.mark.parametrize("spin", [0, 1])
def test_functional_equals_libxc_at_every_point(spin: Any) -> None:
    """Oracle: libxc.eval_xc1, energy, first and second derivatives, relative to the energy."""
    functional = registry.load("xc", NAME)
    points = density_points("GGA", spin, 300, rng=np.random.default_rng(4))
    if spin == 0:
        rho = np.zeros((4, 300))
        rho[0], rho[1] = points[0], np.sqrt(points[1])
    else:
        rho = np.zeros((2, 4, 300))
        rho[:, 0] = points[:2]
        rho[0, 1] = np.sqrt(points[2])
        rho[1, 1] = points[3] / rho[0, 1]
        rho[1, 2] = np.sqrt(points[4] - rho[1, 1] ** 2)
    reference = dft.libxc.eval_xc1("pbe", rho, spin=spin, deriv=2)
    scale = natural_scale(functional, points, spin)
    n_var = len(points)
    energy, first = gradient(functional, points, spin)
    second = hessian(functional, points, spin)[np.triu_indices(n_var)]
    pairs = np.triu_indices(n_var)
    total = points[0] if spin == 0 else points[0] + points[1]
    size = np.abs(energy)
    assert size.min() > 0.0
    np.testing.assert_allclose(energy, reference[0] * total, rtol=1e-12)
    assert (np.abs(first - reference[1 : 1 + n_var]) * scale / size).max() < 1e-12
    error = np.abs(second - reference[1 + n_var :]) * scale[pairs[0]] * scale[pairs[1]]
    assert (error / size).max() < 1e-12


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("water", "RKS"),
        ("water", "UKS"),
        ("water", "GKS"),
        ("amidogen", "UKS"),
        ("amidogen", "ROKS"),
        ("hydrogen atom", "UKS"),
    ],
)
def test_scf_energy(ours: Callable[..., Any], name: str, method: str) -> None:
    """Oracle: libxc's PBE, same grid."""
    mol = molecule(name, "sto-3g" if method == "GKS" else "6-31g")
    mine, theirs = converged(ours(mol, method)), converged(kohn_sham(mol, method))
    assert mine.xc == NAME
    assert theirs.e_tot < -0.4
    assert abs(mine.e_tot - theirs.e_tot) < tolerance("third_party_energy")


@pytest.mark.parametrize(
    ("name", "method"), [("water", "RKS"), ("amidogen", "UKS"), ("amidogen", "ROKS")]
)
def test_nuclear_gradient_with_attach_has_grid_response(name: str, method: str) -> None:
    """Oracle: libxc's PBE with grid_response=True. Control: without it the gradient differs."""
    mol = molecule(name)
    mine = np.asarray(converged(attached(mol, method)).nuc_grad_method().kernel())
    theirs = converged(kohn_sham(mol, method))
    expected = nuclear_gradient(theirs, grid_response=True)
    assert np.abs(expected).max() > 1e-3
    assert np.abs(expected - nuclear_gradient(theirs, grid_response=False)).max() > 1e-6
    np.testing.assert_allclose(mine, expected, atol=tolerance("third_party_gradient"), rtol=0)


def test_nuclear_gradient_under_enable_warns_and_follows_pyscf() -> None:
    """Oracle: libxc's PBE with PySCF's default, which leaves the response of the grid out."""
    mol = molecule("water")
    with kakehashi_pyscf.enable():
        mf = converged(kohn_sham(mol, xc=NAME))
        with pytest.warns(kakehashi_pyscf.GridResponseWarning, match="grid_response = True"):
            mine = nuclear_gradient(mf, grid_response=False)
        with_response = nuclear_gradient(mf, grid_response=True)
    theirs = converged(kohn_sham(mol))
    for found, response in ((mine, False), (with_response, True)):
        expected = nuclear_gradient(theirs, grid_response=response)
        np.testing.assert_allclose(found, expected, atol=tolerance("third_party_gradient"), rtol=0)


@pytest.mark.parametrize(("name", "method"), [("water", "RKS"), ("amidogen", "UKS")])
@pytest.mark.parametrize("excitation", ["TDA", "TDDFT"])
def test_excitation_energies(
    ours: Callable[..., Any], name: str, method: str, excitation: str
) -> None:
    """Oracle: libxc's PBE, lowest three roots (singlets for a closed shell)."""
    mol = molecule(name)
    roots = []
    for mf in (converged(ours(mol, method)), converged(kohn_sham(mol, method))):
        td = getattr(mf, excitation)()
        td.nstates = 3
        td.conv_tol = 1e-9
        td.kernel()
        assert np.all(td.converged)
        roots.append(np.asarray(td.e))
    assert roots[1].min() > 0.05
    assert abs(roots[0] - roots[1]).max() < tolerance("third_party_excitation")


def test_triplet_excitation_energies() -> None:
    """Oracle: libxc's PBE; triplets read the spin-resolved second derivatives of a closed shell."""
    mol = molecule("water")
    roots = []
    for mf in (converged(attached(mol)), converged(kohn_sham(mol))):
        td = mf.TDA()
        td.singlet = False
        td.nstates = 2
        td.conv_tol = 1e-9
        td.kernel()
        roots.append(np.asarray(td.e))
    assert roots[1].min() > 0.05
    assert abs(roots[0] - roots[1]).max() < tolerance("third_party_excitation")


@pytest.mark.parametrize(("name", "method"), [("water", "RKS"), ("amidogen", "UKS")])
def test_hessian(name: str, method: str) -> None:
    """Oracle: libxc's PBE."""
    mol = molecule(name, "sto-3g")
    mine, theirs = (
        np.asarray(converged(mf).Hessian().kernel())
        for mf in (attached(mol, method), kohn_sham(mol, method))
    )
    assert np.abs(theirs).max() > 0.1
    np.testing.assert_allclose(mine, theirs, atol=tolerance("third_party_hessian"), rtol=0)


def test_newton_solver(ours: Callable[..., Any]) -> None:
    """Oracle: libxc's PBE by DIIS."""
    mol = molecule("water")
    mf = ours(mol)
    # The orbital gradient of the second-order solver ends at 1e-7, by rounding.
    mf.conv_tol, mf.conv_tol_grad = 1e-11, None
    newton = mf.newton()
    newton.kernel()
    assert newton.converged
    expected = converged(kohn_sham(mol)).e_tot
    assert abs(newton.e_tot - expected) < tolerance("third_party_energy")


def test_density_fitting(ours: Callable[..., Any]) -> None:
    """Oracle: libxc's PBE with the same default auxiliary basis. Control: fitting changes energies."""
    mol = molecule("water")
    mine = converged(ours(mol).density_fit())
    theirs = converged(kohn_sham(mol).density_fit())
    assert mine.with_df.auxmol.basis == theirs.with_df.auxmol.basis
    assert abs(mine.e_tot - theirs.e_tot) < tolerance("third_party_energy")
    assert abs(theirs.e_tot - converged(kohn_sham(mol)).e_tot) > 1e-7
    found, expected = (nuclear_gradient(mf, grid_response=True) for mf in (mine, theirs))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, atol=tolerance("third_party_gradient"), rtol=0)
