"""The neural functionals inside real PySCF and ASE runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from pyscf import dft, gto

import kakehashi_pyscf as kp
from kakehashi_ase import calculator
from kakehashi_core.errors import DomainWarning
from kakehashi_nnxc import load_published
from kakehashi_testing.conformance import check_forces

PUBLISHED = Path(__file__).parents[1] / ".." / "shared" / "data" / "nnxc"
GRADIENT_TOLERANCE = 2e-5
"""hartree/bohr; analytic gradient with grid response against central differences of SCF energies."""


def water(basis: str = "6-31g") -> gto.Mole:
    return gto.M(
        atom="O 0.02 0.01 0.12; H 0.03 0.80 -0.45; H 0 -0.70 -0.50", basis=basis, verbose=0
    )


def amino_radical() -> gto.Mole:
    return gto.M(
        atom="N 0 0 0.14; H 0 0.80 -0.49; H 0.1 -0.80 -0.47", basis="6-31g", spin=1, verbose=0
    )


CASES = {
    "RKS": lambda mol: dft.RKS(mol, xc="nn-mgga"),
    "UKS": lambda mol: dft.UKS(mol, xc="nn-mgga"),
    "DF-RKS": lambda mol: dft.RKS(mol, xc="nn-mgga").density_fit("def2-universal-jfit"),
}


@pytest.mark.parametrize("case", CASES)
def test_gradient_through_attach(case):
    """Oracle: central differences of SCF energies, step 2e-3 bohr, along a random direction."""
    mol = amino_radical() if case == "UKS" else water()
    direction = np.random.default_rng(4).standard_normal((mol.natm, 3))
    direction /= np.linalg.norm(direction)

    def converged(shift: float):
        moved = mol.set_geom_(mol.atom_coords() + shift * direction, unit="bohr", inplace=False)
        mf = kp.attach(CASES[case](moved))
        mf.conv_tol = 1e-11
        kp.converge(mf)
        return mf

    difference = (converged(2e-3).e_tot - converged(-2e-3).e_tot) / 4e-3
    slope = float((converged(0.0).nuc_grad_method().kernel() * direction).sum())
    assert abs(difference) > 1e-3
    assert slope == pytest.approx(difference, abs=GRADIENT_TOLERANCE)


@pytest.mark.parametrize("case", ["RKS", "UKS", "DF-RKS"])
def test_forces_through_the_calculator(case):
    """Oracle: five-point differences of the calculator's energies, 2e-5 hartree/bohr."""
    mol = amino_radical() if case == "UKS" else water()
    atoms = molecule("H2O" if case != "UKS" else "NH2")
    atoms.set_atomic_numbers(mol.atom_charges())
    atoms.positions = mol.atom_coords() * units.Bohr
    atoms.set_initial_magnetic_moments([float(case == "UKS"), 0, 0])
    calc = calculator(
        "pyscf", xc="nn-mgga", basis="6-31g", density_fit=case == "DF-RKS", conv_tol=1e-10
    )
    scale = units.Hartree / units.Bohr
    check_forces(
        calc, atoms, n_directions=1, step=1e-3 * units.Bohr, allowed=GRADIENT_TOLERANCE * scale
    )


def test_enable_attach_and_calculator_give_one_energy():
    """Oracle: each other."""
    mol = water()
    attached = kp.attach(dft.RKS(mol, xc="nn-mgga")).run(conv_tol=1e-10)
    with kp.enable():
        enabled = dft.RKS(mol, xc="NN_MGGA").run(conv_tol=1e-10)
        pbe = dft.RKS(mol, xc="pbe").run(conv_tol=1e-10)
    assert enabled.e_tot == pytest.approx(attached.e_tot, abs=1e-9)
    assert abs(pbe.e_tot - attached.e_tot) > 1e-3
    atoms = molecule("H2O")
    atoms.positions = mol.atom_coords() * units.Bohr
    atoms.calc = calculator("pyscf", xc="nn-mgga", basis="6-31g", conv_tol=1e-10)
    assert atoms.get_potential_energy() / units.Hartree == pytest.approx(attached.e_tot, abs=1e-8)


def test_second_derivatives_of_nn_mgga():
    """TDA against TDDFT order of magnitude, and f_xc in Newton: oracle is the DIIS energy."""
    mf = kp.attach(dft.RKS(water("sto-3g"), xc="nn-mgga")).run(conv_tol=1e-10)
    newton = kp.attach(dft.RKS(water("sto-3g"), xc="nn-mgga")).newton().run(conv_tol=1e-10)
    assert newton.e_tot == pytest.approx(mf.e_tot, abs=1e-8)
    excitations = mf.TDA().run(nstates=2).e
    assert (excitations > 0.1).all()
    assert (mf.TDDFT().run(nstates=2).e <= excitations + 1e-6).all()


def test_an_element_outside_the_training_set_is_allowed_with_a_warning():
    mol = gto.M(atom="Ar 0 0 0", basis="6-31g", verbose=0)
    with pytest.warns(DomainWarning, match="not trained on Ar"):
        mf = kp.attach(dft.RKS(mol, xc="nn-mgga"))
    report = kp.converge(mf)
    assert any("Ar" in text for text in report.warnings)


@pytest.mark.parametrize(
    ("file", "total"),
    [("NNLSDA", -75.83484777), ("NNGGA", -76.10387830), ("NNmGGA", -76.20021082)],
)
@pytest.mark.parametrize("method", [dft.RKS, dft.UKS, dft.GKS])
def test_published_functionals_reach_their_golden_totals(file, total, method):
    """Oracle: totals of an independent implementation, H2O/6-31G, grid level 3, 2e-8 hartree."""
    if not PUBLISHED.is_dir():
        pytest.skip(f"the published weight files are not in {PUBLISHED.resolve()}")
    mol = gto.M(
        atom="O 0 0 .119262; H 0 .763239 -.477047; H 0 -.763239 -.477047", basis="6-31g", verbose=0
    )
    functional = load_published(PUBLISHED / file)
    mf = kp.attach(method(mol), functional).run(conv_tol=1e-10)
    assert mf.xc == functional.name
    assert mf.e_tot == pytest.approx(total, abs=2e-8)
