"""Predictors of Hamiltonians as initial guesses, through the PySCF bridge."""

from __future__ import annotations

import pytest

from kakehashi_core.registry import Plugin
from kakehashi_testing import guess_checks

pytest.importorskip(
    "kakehashi_pyscf", reason="checks of guesses need the PySCF bridge: pip install kakehashi-pyscf"
)
pytest.importorskip("ase", reason="samples are molecules of ASE")


@pytest.fixture(scope="module")
def name(kakehashi_init_guess: Plugin) -> str:
    """Registry name of the predictor under test."""
    return kakehashi_init_guess.qualified_name


def test_prediction(name: str) -> None:
    """Oracle: what densities of doubly occupied orbitals are."""
    guess_checks.check_prediction(name)


def test_scf(name: str) -> None:
    """Oracle: PySCF without the prediction."""
    guess_checks.check_scf(name)


def test_turned_molecule(name: str) -> None:
    """Oracle: eigenvalues do not know directions; 1e-9 hartree."""
    guess_checks.check_turned_molecule(name)


def test_what_is_outside(name: str) -> None:
    """Oracle: PySCF without the prediction, and one Fock matrix more at most."""
    guess_checks.check_what_is_outside(name)
