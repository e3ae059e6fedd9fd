"""AE148 and AE147: experimental atomization energies of the G2/97 molecules, from ASE."""

from __future__ import annotations

from kakehashi_ase.g2 import (
    atomization_energy,
    composition,
    g2_molecule,
    molecule_names,
    n_unpaired_electrons,
)
from kakehashi_nnxc.reaction_sets.reactions import Molecule, Reaction, ReactionSet

WITHDRAWN = "COF2"
"""The experimental enthalpy of COF2 was withdrawn; without it the 147 molecules of the paper remain."""

SOURCE = (
    "geometries and thermochemistry of ase.data.g2_1 and g2_2 (Curtiss et al., J. Chem. Phys. 106, 1063 "
    "(1997)); De without zero-point and thermal contributions, atomic spin-orbit splitting inside"
)


def molecule(name: str) -> Molecule:
    """Return a molecule or atom of the set by ASE's name."""
    atoms = g2_molecule(name)
    x = [(float(p[0]), float(p[1]), float(p[2])) for p in atoms.positions]
    return Molecule(
        name=name,
        symbols=tuple(atoms.get_chemical_symbols()),
        positions=tuple(x),
        spin=n_unpaired_electrons(name),
    )


def atomization(name: str) -> Reaction:
    """Return the atomization of one molecule with its experimental energy."""
    products = {symbol: float(count) for symbol, count in composition(name).items()}
    return Reaction(
        name=name, coefficients={**products, name: -1.0}, reference=atomization_energy(name)
    )


def ae148() -> ReactionSet:
    """Return the atomization energies of all 148 molecules."""
    return _atomizations("ae148", molecule_names())


def ae147() -> ReactionSet:
    """Return AE148 without COF2, the set of the published comparisons."""
    return _atomizations("ae147", tuple(n for n in molecule_names() if n != WITHDRAWN))


def _atomizations(name: str, molecules: tuple[str, ...]) -> ReactionSet:
    elements = sorted({symbol for m in molecules for symbol in composition(m)})
    return ReactionSet(
        name=name,
        title=f"atomization energies of {len(molecules)} G2/97 molecules",
        molecules={n: molecule(n) for n in (*elements, *molecules)},
        reactions=tuple(atomization(n) for n in molecules),
        source=SOURCE,
    )
