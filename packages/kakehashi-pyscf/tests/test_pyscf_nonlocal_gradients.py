"""Nuclear gradients of non-local functionals against SCF energies."""

from __future__ import annotations

import numpy as np
import pytest
from closed_form_functionals import NearRegion
from pyscf import dft, gto

from kakehashi_core.errors import UnsupportedError
from kakehashi_pyscf import attach

LITHIUM_HYDRIDE = (("Li", (0.0, 0.1, 0.05)), ("H", (0.2, 0.3, 2.9)))
BERYLLIUM_HYDRIDE = (("Be", (0.0, 0.1, 0.05)), ("H", (0.2, 0.3, 2.7)))


class Hybrid(NearRegion):
    name, hybrid = "test-near-region-hybrid", 0.25


def converged(
    kind, atoms, shift=0.0, *, functional=None, fitted=False, cart=False, level=5, solvent=False
):
    """Run one SCF with the second atom moved along z by ``shift`` bohr."""
    (first, second) = atoms
    moved = (second[0], (*second[1][:2], second[1][2] + shift))
    mol = gto.M(
        atom=[first, moved],
        unit="B",
        basis="6-31g*" if cart else "sto-3g",
        cart=cart,
        spin=0 if kind == "RKS" else 1,
        verbose=0,
    )
    mf = getattr(dft, kind)(mol)
    if fitted:
        mf = mf.density_fit(auxbasis="def2-universal-jkfit")
    if solvent:
        mf = mf.PCM()
    mf = attach(mf, functional or NearRegion())
    mf.grids.level = level
    mf.conv_tol = 1e-11
    return mf.run()


@pytest.mark.parametrize(
    ("kind", "atoms", "options"),
    [
        ("RKS", LITHIUM_HYDRIDE, {}),
        ("RKS", LITHIUM_HYDRIDE, {"fitted": True, "level": 2}),
        ("RKS", LITHIUM_HYDRIDE, {"cart": True, "level": 2}),
        ("RKS", LITHIUM_HYDRIDE, {"functional": Hybrid(), "level": 2}),
        ("RKS", LITHIUM_HYDRIDE, {"solvent": True, "level": 1}),
        ("UKS", BERYLLIUM_HYDRIDE, {"level": 4}),
        ("UKS", BERYLLIUM_HYDRIDE, {"fitted": True, "level": 2}),
        ("ROKS", BERYLLIUM_HYDRIDE, {"level": 2}),
    ],
    ids=["RKS", "RKS-DF", "RKS-Cartesian", "RKS-hybrid", "RKS-PCM", "UKS", "UKS-DF", "ROKS"],
)
def test_gradient_is_the_slope_of_the_energy(kind, atoms, options):
    """Oracle: central differences of SCF energies, 1e-5 hartree/bohr (they are good to 2e-6)."""
    gradient = converged(kind, atoms, **options).nuc_grad_method().kernel()
    step = 2e-3
    energies = [converged(kind, atoms, s, **options).e_tot for s in (step, -step)]
    assert abs(gradient[1, 2]) > 3e-3
    assert gradient[1, 2] == pytest.approx((energies[0] - energies[1]) / (2 * step), abs=1e-5)
    np.testing.assert_allclose(gradient.sum(axis=0), 0.0, atol=1e-9)


def test_gradient_does_not_depend_on_blocks(monkeypatch):
    """Oracle: the same gradient with small blocks of points and of auxiliary functions."""
    from kakehashi_pyscf import convolved_density, nonlocal_gradients

    mf = converged("RKS", LITHIUM_HYDRIDE, level=1)
    gradient = mf.nuc_grad_method().kernel()
    monkeypatch.setattr(convolved_density, "_BLOCK_BYTES", 2e5)
    monkeypatch.setattr(nonlocal_gradients, "_BLOCK_BYTES", 1e4)
    again = attach(mf).set(max_memory=1)
    again.mo_coeff, again.mo_occ, again.mo_energy = mf.mo_coeff, mf.mo_occ, mf.mo_energy
    np.testing.assert_allclose(again.nuc_grad_method().kernel(), gradient, atol=1e-11)


def test_scanner_follows_the_geometry():
    """Oracle: fresh objects; the scanner starts from the density of the last geometry."""
    mf = converged("UKS", BERYLLIUM_HYDRIDE, level=1)
    scanner = mf.nuc_grad_method().as_scanner()
    there = converged("UKS", BERYLLIUM_HYDRIDE, 0.05, level=1)
    energy, gradient = scanner(there.mol)
    assert energy == pytest.approx(there.e_tot, abs=1e-8)
    np.testing.assert_allclose(gradient, there.nuc_grad_method().kernel(), atol=2e-5)


def test_incomplete_gradients_are_refused():
    mf = converged("RKS", LITHIUM_HYDRIDE, level=0)
    with pytest.raises(UnsupportedError, match="with the response of the grid only"):
        mf.nuc_grad_method().set(grid_response=False).kernel()
    with pytest.raises(UnsupportedError, match="exist for convolution='density-fit' only"):
        attach(mf, convolution="grid").nuc_grad_method()
