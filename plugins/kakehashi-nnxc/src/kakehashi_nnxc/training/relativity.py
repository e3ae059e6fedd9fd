"""What relativity does to atomization energies: measured ones contain it, computed labels do not.

Labels of W4-11 and of our own are nonrelativistic, dissociation energies behind experimental atomization
energies are measured from the lowest level of each atom. Training adds the difference: scalar relativity to
first order on a Kohn-Sham density, the spin-orbit splitting of atoms from their measured levels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kakehashi_core.ensembles import run_ensemble
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.files import write_json
from kakehashi_nnxc._units import HARTREE_IN_KCAL_PER_MOL
from kakehashi_nnxc.molecular_calculations import AUXILIARY_BASIS, as_json, build, from_json
from kakehashi_nnxc.reaction_sets import Molecule, Reaction

RELATIVITY = Path(__file__).with_name("scalar_relativity.json")
"""Name of a training species to its scalar-relativistic energy, hartree; made by ``write_relativity``."""

BASIS = "def2-tzvp"
FUNCTIONAL = "r2scan"
GRID_LEVEL = 2

FINE_STRUCTURE: Mapping[str, Sequence[tuple[int, float]]] = {
    "B": ((2, 0.0), (4, 15.287)),
    "C": ((1, 0.0), (3, 16.417), (5, 43.414)),
    "O": ((5, 0.0), (3, 158.265), (1, 226.977)),
    "F": ((4, 0.0), (2, 404.141)),
    "Al": ((2, 0.0), (4, 112.061)),
    "Si": ((1, 0.0), (3, 77.115), (5, 223.157)),
    "S": ((5, 0.0), (3, 396.055), (1, 573.640)),
    "Cl": ((4, 0.0), (2, 882.352)),
}
"""Degeneracy and energy (1/cm) of the levels of the ground term, NIST Atomic Spectra Database."""

KCAL_PER_MOL_PER_WAVENUMBER = 2.8591e-3


def spin_orbit_lowering(symbol: str) -> float:
    """Return how far the lowest level of an atom is below the average of its term, kcal/mol."""
    levels = FINE_STRUCTURE.get(symbol, ((1, 0.0),))
    average = sum(g * e for g, e in levels) / sum(g for g, _ in levels)
    return average * KCAL_PER_MOL_PER_WAVENUMBER


def scalar_relativistic_energy(molecule_data: Mapping[str, Any]) -> float:
    """Return the scalar-relativistic energy of one species to first order, hartree.

    The change of the core Hamiltonian by spin-free X2C, on the nonrelativistic density. Of SF2 and CF3 the
    shift of the atomization energy is 0.07 kcal/mol larger than between two self-consistent energies.

    Args:
        molecule_data: A molecule by ``molecular_calculations.as_json``.
    """
    from pyscf import dft
    from pyscf.x2c import sfx2c1e

    from kakehashi_pyscf import converge

    mol = build(from_json(molecule_data), BASIS)
    mf = (dft.UKS if mol.spin else dft.RKS)(mol, xc=FUNCTIONAL).density_fit(AUXILIARY_BASIS)
    mf.grids.level = GRID_LEVEL
    converge(mf)
    density = np.asarray(mf.make_rdm1())
    density = density.sum(axis=0) if density.ndim == 3 else density
    # The helper uncontracts the basis: contraction coefficients would hide most of the effect.
    change = sfx2c1e.SpinFreeX2CHelper(mol).get_hcore(mol) - mf.get_hcore()
    return float(np.einsum("ij,ji->", change, density))


def write_relativity(
    molecules: Mapping[str, Molecule],
    *,
    directory: Path,
    executor: Executor | None = None,
    path: Path = RELATIVITY,
) -> None:
    """Compute the energies of all species and write them.

    Args:
        molecules: Name to species.
        directory: Where finished species are kept.
        executor: Spreads the species.
        path: File to write.
    """
    named = [as_json(replace(m, name=n)) for n, m in sorted(molecules.items())]
    shifts = run_ensemble(
        scalar_relativistic_energy, named, directory=directory, executor=executor, version="1"
    )
    table = {m["name"]: round(e, 8) for m, e in zip(named, shifts, strict=True)}
    about = {"format_version": 1, "basis": BASIS, "functional": FUNCTIONAL}
    write_json(path, {**about, "hartree": table})


def read_relativity(path: Path = RELATIVITY) -> dict[str, float]:
    """Return the scalar-relativistic energies, name to hartree."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return {str(name): float(energy) for name, energy in data["hartree"].items()}


def as_measured(
    reaction: Reaction, molecules: Mapping[str, Molecule], scalar: Mapping[str, float]
) -> Reaction:
    """Return an atomization with the reference that a measurement would give, kcal/mol.

    Args:
        reaction: A nonrelativistic atomization energy.
        molecules: Name to species, all of the reaction.
        scalar: As from ``read_relativity``.

    Raises:
        InvalidInputError: If the energy of a species is missing.
    """
    missing = sorted(set(reaction.coefficients) - set(scalar))
    if missing:
        raise InvalidInputError(
            f"{reaction.name}: {RELATIVITY.name} has no scalar-relativistic energy of "
            f"{', '.join(missing)}; run write_relativity with the species of all training reactions."
        )
    shift = 0.0
    for name, coefficient in reaction.coefficients.items():
        energy = HARTREE_IN_KCAL_PER_MOL * scalar[name]
        if molecules[name].is_atom:
            energy -= spin_orbit_lowering(molecules[name].symbols[0])
        shift += coefficient * energy
    return replace(reaction, reference=reaction.reference + shift)
