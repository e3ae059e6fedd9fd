"""The G2 set as ASE tabulates it: published atomization energies are the oracle."""

from __future__ import annotations

import pytest

from kakehashi_ase.g2 import (
    atomization_energy,
    composition,
    g2_molecule,
    molecule_names,
    n_unpaired_electrons,
)
from kakehashi_core.errors import UnknownNameError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("H2O", 232.58),
        ("N2", 228.48),
        ("CH4", 420.18),
        ("CO", 259.26),
        ("O2", 120.32),
        ("HF", 141.01),
    ],
)
def test_atomization_energies(name, expected):
    """Oracle: the published electronic atomization energies, kcal/mol."""
    assert atomization_energy(name) == pytest.approx(expected, abs=0.006)


def test_the_set_has_148_molecules_and_no_atoms():
    names = molecule_names()
    assert len(names) == 148
    assert all(len(g2_molecule(name)) > 1 for name in names)
    assert sum(n_unpaired_electrons(name) > 0 for name in names) == 30


def test_spins_and_compositions():
    assert n_unpaired_electrons("O2") == 2
    assert n_unpaired_electrons("NO") == 1
    assert n_unpaired_electrons("C") == 2
    assert composition("CH3OH") == {"C": 1, "H": 4, "O": 1}
    assert g2_molecule("O2").get_initial_magnetic_moments().sum() == 2


def test_unknown_names_list_the_closest():
    with pytest.raises(UnknownNameError, match="'H2CO'"):
        g2_molecule("H2C0")
