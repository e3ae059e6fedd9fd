"""What relativity does to the references of training."""

from __future__ import annotations

import pytest

from kakehashi_core.errors import InvalidInputError
from kakehashi_nnxc.molecular_calculations import AUXILIARY_BASIS, as_json, build
from kakehashi_nnxc.reaction_sets import Molecule, Reaction
from kakehashi_nnxc.training.flagship_data import training_reactions
from kakehashi_nnxc.training.relativity import (
    BASIS,
    FUNCTIONAL,
    GRID_LEVEL,
    as_measured,
    read_relativity,
    scalar_relativistic_energy,
    spin_orbit_lowering,
)

HYDROGEN_FLUORIDE = Molecule(
    name="FH", symbols=("F", "H"), positions=((0.0, 0.0, 0.0), (0.0, 0.0, 0.917))
)


@pytest.mark.parametrize(
    ("symbol", "lowering"),
    [("H", 0.0), ("N", 0.0), ("C", 0.085), ("O", 0.22), ("F", 0.39), ("Si", 0.43), ("Cl", 0.84)],
)
def test_spin_orbit_of_atoms(symbol, lowering):
    """Oracle: the corrections that the literature on thermochemistry uses, kcal/mol."""
    assert spin_orbit_lowering(symbol) == pytest.approx(lowering, abs=0.006)


def test_first_order_against_two_self_consistent_energies():
    """Oracle: spin-free X2C minus nonrelativistic Kohn-Sham energy, each converged by PySCF."""
    from pyscf import dft

    mol = build(HYDROGEN_FLUORIDE, BASIS)
    energies = []
    for relativistic in (False, True):
        mf = dft.RKS(mol, xc=FUNCTIONAL).density_fit(AUXILIARY_BASIS)
        mf.grids.level = GRID_LEVEL
        energies.append((mf.sfx2c1e() if relativistic else mf).kernel())
    first = scalar_relativistic_energy(as_json(HYDROGEN_FLUORIDE))
    assert first < -0.05
    assert first == pytest.approx(energies[1] - energies[0], rel=0.02)


@pytest.mark.parametrize("sign", [1, -1])
def test_reference_that_a_measurement_would_give(sign):
    """Oracle: arithmetic; a bond is weaker by the lowering of its atoms, whichever side they are on."""
    atoms = {
        s: Molecule(name=s, symbols=(s,), positions=((0.0, 0.0, 0.0),), spin=1) for s in ("H", "F")
    }
    reaction = Reaction(
        name="HF", coefficients={"H": sign, "F": sign, "FH": -sign}, reference=sign * 141.0
    )
    scalar = {"H": 0.0, "F": -0.087, "FH": -0.0867}
    shifted = as_measured(reaction, {**atoms, "FH": HYDROGEN_FLUORIDE}, scalar)
    expected = 141.0 + 627.5095 * (-0.087 + 0.0867) - spin_orbit_lowering("F")
    assert shifted.reference == pytest.approx(sign * expected, abs=1e-4)


def test_a_species_without_its_energy_is_named():
    reaction = Reaction(name="HF", coefficients={"FH": 1}, reference=1.0)
    with pytest.raises(InvalidInputError, match="has no scalar-relativistic energy of FH"):
        as_measured(reaction, {"FH": HYDROGEN_FLUORIDE}, {})


def test_every_atomization_of_the_training_has_its_shift():
    """Control: the shift is never zero, and never above a few kcal/mol."""
    scalar = read_relativity()
    reactions, _ = training_reactions()
    atomizations = [r for r in reactions if r.kind == "atomization"]
    assert len(atomizations) > 100
    assert all(set(r.reaction.coefficients) <= set(scalar) for r in atomizations)
