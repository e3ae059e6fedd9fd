"""Reaction sets: conservation laws, published references, molecules that are the same for leakage control."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("ase")

from kakehashi_core.errors import InvalidInputError, UnknownNameError
from kakehashi_nnxc.reaction_sets import (
    Molecule,
    Reaction,
    ReactionSet,
    molecular_identity,
    reaction_set,
    set_names,
    xcbm_files,
)

FROM_ASE = ("ae147", "ae148")
NEEDS_XCBM = pytest.mark.skipif(find_spec("xcbm") is None, reason="xcbm is not installed")
FROM_XCBM = [pytest.param(n, marks=NEEDS_XCBM) for n in set_names() if n not in FROM_ASE]


@pytest.mark.parametrize("name", [*FROM_ASE, *FROM_XCBM])
def test_reactions_conserve_nuclei(name):
    """Oracle: every element stands as often on the left as on the right."""
    found = reaction_set(name)
    assert len({r.name for r in found.reactions}) == len(found.reactions)
    for reaction in found.reactions:
        balance: Counter[str] = Counter()
        for species, coefficient in reaction.coefficients.items():
            for symbol in found.molecules[species].symbols:
                balance[symbol] += coefficient
        if name == "g21ip" and {found.molecules[s].symbols for s in reaction.coefficients} == {
            ("H",)
        }:
            continue  # H -> H+: a bare proton has no energy
        assert not any(balance.values()), (reaction.name, balance)


@pytest.mark.parametrize("name", [*FROM_ASE, *FROM_XCBM])
def test_spins_fit_the_number_of_electrons(name):
    """Oracle: 2S has the parity of the number of electrons, and does not exceed it."""
    from ase.data import atomic_numbers

    for molecule in reaction_set(name).molecules.values():
        n_electrons = sum(atomic_numbers[s] for s in molecule.symbols) - molecule.charge
        assert 0 <= molecule.spin <= n_electrons, molecule.name
        assert (n_electrons - molecule.spin) % 2 == 0, molecule.name
        assert np.asarray(molecule.positions).shape == (len(molecule.symbols), 3)


def test_ae147_is_ae148_without_the_withdrawn_value():
    """Oracle: the sizes in the literature, and the values in the docstring of ``atomization_energy``."""
    large, small = reaction_set("ae148"), reaction_set("ae147")
    assert len(large.reactions) == 148
    assert {r.name for r in large.reactions} - {r.name for r in small.reactions} == {"COF2"}
    assert sum(m.is_atom for m in large.molecules.values()) == 14
    reference = {r.name: r.reference for r in small.reactions}
    for name, value in {"H2O": 232.58, "N2": 228.48, "CH4": 420.18}.items():
        assert reference[name] == pytest.approx(value, abs=0.01)
    assert small.molecules["O2"].spin == 2


@NEEDS_XCBM
def test_published_references():
    """Oracles: H + HCl of HTBH38 (5.7), the ammonia dimer of S22 (-3.13 to -3.17), IP of carbon (259.7)."""
    barriers = reaction_set("bh76")
    assert len(barriers.reactions) == 76
    reference = {r.name: r.reference for r in barriers.reactions}
    assert reference["HTBH38_1"] == pytest.approx(5.7, abs=0.05)
    s22 = reaction_set("s22")
    assert len(s22.reactions) == 22
    (ammonia,) = [r for r in s22.reactions if any("mmoniadimer" in n for n in r.coefficients)]
    assert ammonia.reference == pytest.approx(-3.15, abs=0.05)
    ionization = reaction_set("ip13")
    assert len(ionization.reactions) == 13
    assert ionization.reactions[0].reference == pytest.approx(259.7, abs=0.1)
    for reaction in ionization.reactions:
        charges = sum(c * ionization.molecules[n].charge for n, c in reaction.coefficients.items())
        assert charges == 1


def test_reaction_energies_are_products_minus_reactants():
    """Oracle: arithmetic with 627.5094740631 kcal/mol per hartree."""
    reaction = Reaction(name="r", coefficients={"A": 2.0, "A2": -1.0}, reference=100.0)
    energies = {"A": -0.5, "A2": -1.2}
    assert reaction.energy(energies) == pytest.approx(0.2 * 627.5094740631)
    assert reaction.error(energies) == pytest.approx(0.2 * 627.5094740631 - 100.0)


def test_sets_can_be_cut_down():
    part = reaction_set("ae147").only(("H2O", "CH4"))
    assert {r.name for r in part.reactions} == {"H2O", "CH4"}
    assert set(part.molecules) == {"H", "C", "O", "H2O", "CH4"}
    with pytest.raises(InvalidInputError, match=r"no reactions H3O\. Did you mean 'H2O'"):
        part.only(("H3O",))


def test_missing_species_are_refused():
    with pytest.raises(InvalidInputError, match="'x' lacks B"):
        ReactionSet(
            name="x",
            title="",
            molecules={},
            reactions=(Reaction(name="B", coefficients={"B": 1.0}, reference=0.0),),
            source="",
        )


def test_unknown_sets_are_answered_with_the_closest_name():
    with pytest.raises(UnknownNameError, match="Did you mean 'bh76'"):
        reaction_set("bh67")


def test_missing_data_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(xcbm_files, "find_spec", lambda name: None)
    with pytest.raises(InvalidInputError, match=r"kakehashi-nnxc\[bench\]"):
        reaction_set("s22")


def rotated(molecule: Molecule, seed: int = 0) -> Molecule:
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    positions = np.asarray(molecule.positions) @ matrix + 1.0
    order = np.random.default_rng(seed).permutation(len(molecule.symbols))
    return replace(
        molecule,
        name="other name",
        symbols=tuple(molecule.symbols[i] for i in order),
        positions=tuple(tuple(float(x) for x in positions[i]) for i in order),
    )


def test_identity_survives_rotation_order_and_small_distortions():
    """Oracle: the same molecule, moved, reordered and stretched by three percent."""
    for molecule in reaction_set("ae147").molecules.values():
        moved = rotated(molecule)
        stretched = replace(
            moved, positions=tuple((1.03 * x, 1.03 * y, 1.03 * z) for x, y, z in moved.positions)
        )
        assert molecular_identity(moved) == molecular_identity(molecule), molecule.name
        assert molecular_identity(stretched) == molecular_identity(molecule), molecule.name


def test_identity_tells_isomers_ions_and_spin_states_apart():
    """Oracle: no two of the 162 species are the same; C3H4 has three isomers and CH2 two spin states."""
    molecules = reaction_set("ae148").molecules
    identities = Counter(molecular_identity(m) for m in molecules.values())
    assert max(identities.values()) == 1, [i for i, n in identities.items() if n > 1]
    water = molecules["H2O"]
    assert molecular_identity(replace(water, charge=1, spin=1)) != molecular_identity(water)


@NEEDS_XCBM
def test_identity_finds_molecules_of_another_data_base():
    """Oracle: water, methane and ammonia stand in AE148 and in W4-11 at other geometries."""
    here = {molecular_identity(m) for m in reaction_set("ae148").molecules.values()}
    there = reaction_set("w4-11").molecules
    for name in ("h2o", "ch4", "nh3", "hcn", "c2h6"):
        (species,) = [m for n, m in there.items() if n.split("_")[1] == name]
        assert molecular_identity(species) in here, name


def test_identities_never_change():
    """Oracle: recorded; checkpoints hold such texts, and other ones would hide a leak."""
    molecules = reaction_set("ae147").molecules
    assert molecular_identity(molecules["H2O"]) == "H2O 0 0 f3d7b3f57334341a86beb2725e9da6b9"
