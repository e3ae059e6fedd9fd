"""The calculator around a predictor: what each mode costs, and how far it is from PySCF."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from pyscf import dft, gto

from kakehashi_ase import CalculatorInputError, calculator
from kakehashi_core import registry
from kakehashi_core.contracts import GuessResult
from kakehashi_core.errors import DomainWarning, UnsupportedError
from kakehashi_core.results import ConvergenceReport
from kakehashi_core.specs import Citation, Domain, InitialGuessSpec
from kakehashi_pyscf import hamiltonian_calculator, initial_guesses
from kakehashi_pyscf.hamiltonian_calculator import HamiltonianCalculator
from kakehashi_pyscf.scf_records import counted_builds

POSITIONS = np.array([[0, 0, 0], [0, 0.80, 0.587], [0, -0.757, 0.587]])


class Predictor:
    """Predicts what a converged calculation has, plus an error."""

    def __init__(self, error=3e-4, warnings=()):
        self.error, self.warnings = error, warnings

    def __call__(self, request):
        if request.spin or request.charge:
            raise UnsupportedError("closed shells only")
        atoms = list(zip(request.numbers.tolist(), request.positions.tolist(), strict=True))
        mol = gto.M(atom=atoms, basis="6-31g", unit="bohr", verbose=0)
        h = dft.RKS(mol, xc="pbe").run(conv_tol=1e-12).get_fock()
        noise = np.random.default_rng(0).normal(size=h.shape) * self.error
        h = h + noise + noise.T
        _, c = scipy.linalg.eigh(h, request.overlap)
        n = int(request.numbers.sum()) // 2
        return GuessResult(
            hamiltonian=h,
            density_matrix=2.0 * c[:, :n] @ c[:, :n].T,
            report=ConvergenceReport(
                converged=True, method="known", n_iterations=1, warnings=self.warnings
            ),
            rejection_threshold=0.4,
        )


class FakePlugin:
    spec = InitialGuessSpec(
        name="known",
        api_version=1,
        factory="x:y",
        summary="",
        citation=Citation(text=""),
        code_license="MIT",
        domain=Domain(basis="6-31g", xc="pbe"),
    )


@pytest.fixture
def predictor(monkeypatch):
    found = Predictor()
    monkeypatch.setattr(initial_guesses, "_predictor", lambda name, options=(): found)
    monkeypatch.setattr(hamiltonian_calculator, "load_predictor", lambda name, **options: found)
    find = registry.find
    monkeypatch.setattr(
        registry, "find", lambda kind, name: FakePlugin if name == "known" else find(kind, name)
    )
    return found


def water(**options):
    atoms = Atoms("OH2", POSITIONS)
    atoms.calc = HamiltonianCalculator(model="known", **options)
    return atoms


@pytest.fixture(scope="module")
def plain():
    atoms = Atoms("OH2", POSITIONS)
    atoms.calc = calculator("pyscf", xc="pbe", basis="6-31g", conv_tol=1e-11)
    mol = gto.M(
        atom=[("O", POSITIONS[0]), ("H", POSITIONS[1]), ("H", POSITIONS[2])],
        basis="6-31g",
        verbose=0,
    )
    mf = dft.RKS(mol, xc="pbe")
    with counted_builds(mf) as builds:
        mf.kernel()
    return {
        "builds": builds.n,
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "dipole": atoms.get_dipole_moment(),
        "orbitals": atoms.calc.mean_field.mo_energy * 27.211386,
    }


def test_a_full_scf_is_that_of_pyscf(predictor, plain):
    """Oracle: the calculator of PySCF without a prediction."""
    atoms = water()
    assert atoms.get_potential_energy() == pytest.approx(plain["energy"], abs=1e-7)
    assert atoms.get_forces() == pytest.approx(plain["forces"], abs=1e-4)
    assert atoms.get_dipole_moment() == pytest.approx(plain["dipole"], abs=1e-5)
    results = atoms.calc.results
    assert results["from_scf"] == results["in_domain"] == 1.0
    assert 3 <= results["n_builds"] < plain["builds"]
    assert results["free_energy"] == results["energy"]


@pytest.mark.parametrize(
    ("options", "builds", "force_error"),
    [
        ({"mode": "oneshot"}, 1, 0.1),
        ({"mode": "corrected"}, 2, 0.03),
        ({"mode": "corrected", "n_corrections": 2}, 3, 0.03),
    ],
)
def test_a_few_fock_matrices(predictor, plain, options, builds, force_error):
    """Oracle: the full SCF; energies are variational, and their estimated errors right."""
    atoms = water(tolerance=0.1, **options)
    error = atoms.get_potential_energy() - plain["energy"]
    results = atoms.calc.results
    assert results["n_builds"] == builds
    assert results["from_scf"] == 0.0
    assert -1e-7 < error < 0.01
    if error > 1e-6:
        # Second order in F between occupied and unoccupied orbitals leaves out the response of F.
        assert 0.5 < results["energy_error"] / error < 4.0
    assert np.abs(atoms.get_forces() - plain["forces"]).max() < force_error
    assert results["commutator"] > 0.0


def test_no_fock_matrix(predictor, plain):
    """Oracle: orbital energies and dipole of the full SCF, to the error that was put in."""
    atoms = water(mode="predict")
    calc = atoms.calc
    energies = calc.get_property("orbital_energies", atoms)
    assert energies[:5] == pytest.approx(plain["orbitals"][:5], abs=0.1)
    assert calc.get_property("gap", atoms) == pytest.approx(energies[5] - energies[4])
    assert atoms.get_dipole_moment() == pytest.approx(plain["dipole"], abs=0.05)
    assert atoms.get_charges().sum() == pytest.approx(0.0, abs=1e-8)
    assert calc.results["n_builds"] == 0.0
    assert calc.results["energy_error"] == -1.0
    with pytest.raises(PropertyNotImplementedError, match="no Fock matrix"):
        atoms.get_potential_energy()


def test_fallbacks(predictor, plain):
    """Oracle: the full SCF, and what errors and warnings say."""
    predictor.error = 0.02
    atoms = water(mode="oneshot")
    assert atoms.get_potential_energy() == pytest.approx(plain["energy"], abs=1e-7)
    assert atoms.calc.results["from_scf"] == 1.0
    assert atoms.calc.results["n_builds"] > 5
    assert atoms.calc.results["in_domain"] == 1.0
    assert "too high" in atoms.calc.doubts[0]
    with pytest.raises(UnsupportedError, match="too high"):
        water(mode="oneshot", fallback="raise").get_potential_energy()
    with pytest.warns(DomainWarning, match="too high"):
        assert water(mode="oneshot", fallback="warn").get_potential_energy() > plain["energy"]
    predictor.error, predictor.warnings = 3e-4, ("a bond is long",)
    with pytest.warns(DomainWarning, match="a bond is long"):
        water(mode="predict", fallback="warn").get_dipole_moment()
    with pytest.raises(UnsupportedError, match="a bond is long"):
        water(mode="predict", fallback="raise").get_dipole_moment()
    atoms = water(mode="predict")
    assert atoms.get_dipole_moment() == pytest.approx(plain["dipole"], abs=1e-5)
    assert atoms.calc.results["in_domain"] == 0.0


def test_ions_and_bad_options(predictor):
    """Oracle: PySCF's calculator for the ion; what messages say."""
    for options in ({}, {"mode": "oneshot"}):
        ion = water(**options)
        ion.info.update(charge=1, spin=1)
        plain = Atoms("OH2", POSITIONS, info={"charge": 1, "spin": 1})
        plain.calc = calculator("pyscf", xc="pbe", basis="6-31g")
        assert ion.get_potential_energy() == pytest.approx(plain.get_potential_energy(), abs=1e-6)
        assert ion.calc.results["in_domain"] == 0.0
        with pytest.raises(PropertyNotImplementedError, match="closed shells"):
            ion.calc.get_property("gap", ion)
    for options, message in (
        ({"mode": "fast"}, "mode"),
        ({"fallback": "no"}, "fallback"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"n_corrections": 0}, "n_corrections"),
        ({"grid_level": 10}, "grid_level"),
    ):
        with pytest.raises(CalculatorInputError, match=message):
            water(**options)
    crystal = water()
    crystal.pbc, crystal.cell = True, [9, 9, 9]
    with pytest.raises(CalculatorInputError, match="free"):
        crystal.get_potential_energy()
