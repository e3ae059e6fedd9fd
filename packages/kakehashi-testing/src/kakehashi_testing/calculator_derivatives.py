"""Forces and stress of an ASE calculator against differences of its own energies. eV and Å."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kakehashi_testing.calculator_samples import (
    SEED,
    Array,
    bare,
    energy_of,
    has_volume,
    largest,
    property_of,
    require_forces,
)
from kakehashi_testing.errors import require
from kakehashi_testing.finite_differences import matrix_difference
from kakehashi_testing.tolerances import tolerance

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Voigt order of ASE: xx, yy, zz, yz, xz, xy."""


def check_forces(
    calculator: Calculator,
    atoms: Atoms,
    *,
    step: float = 1e-4,
    n_directions: int | None = None,
    seed: int = SEED,
    row: str = "forces",
    allowed: float | None = None,
) -> None:
    """Check forces against five-point differences of the energy.

    Args:
        calculator: Any ASE calculator.
        atoms: The structure; not modified, its own calculator is not used.
        step: Length of a step, Å.
        n_directions: Compare the force along so many random directions of all atoms together, unit
            vectors in 3n dimensions, in place of every component: four energies per direction
            instead of twelve per atom.
        seed: Of the random directions.
        row: Row of the table of tolerances, eV/Å.
        allowed: Largest error, eV/Å, in place of the row.

    Raises:
        ConformanceError: If a force is wrong, or all forces are so small that nothing is tested.
    """
    atoms = bare(atoms)
    bound = tolerance(row) if allowed is None else allowed
    start = atoms.positions.copy()
    forces = property_of(calculator, "forces", atoms)
    require(
        forces.shape == start.shape,
        f"forces have shape {forces.shape}; {start.shape} is expected",
    )

    def energy(shift: Array) -> Array:
        atoms.positions = start + shift
        return np.array(energy_of(calculator, atoms))

    if n_directions is None:
        directions = np.eye(start.size).reshape(-1, *start.shape)
        require_forces(forces)
    else:
        directions = np.random.default_rng(seed).standard_normal((n_directions, *start.shape))
        directions /= np.linalg.norm(directions, axis=(1, 2), keepdims=True)
    analytic = np.einsum("dix,ix->d", directions, forces)
    slopes = [matrix_difference(partial(_along, energy, one), step) for one in directions]
    numeric = -np.array(slopes)
    if n_directions is not None:
        require_forces(numeric, "the slopes of the energy along the directions")
    errors = np.abs(analytic - numeric)
    worst = int(np.argmax(np.nan_to_num(errors, nan=np.inf)))
    where = f"along direction {worst}"
    if n_directions is None:
        atom, axis = divmod(worst, 3)
        where = f"on atom {atom} ({atoms.symbols[atom]}) along {'xyz'[axis]}"
    require(
        largest(errors) <= bound,
        f"the force {where} is {analytic[worst]:.9g} eV/Å, the energy falls by {numeric[worst]:.9g} "
        f"eV/Å there (difference {errors[worst]:.1e}, allowed {bound:.0e}). Sign, units, a term that is "
        "missing, or an energy that is not smooth or not float64?",
    )


def _along(function: Callable[[Array], Array], direction: Array, step: float) -> Array:
    return function(step * direction)


def check_stress(
    calculator: Calculator,
    atoms: Atoms,
    *,
    step: float = 1e-4,
    row: str = "stress",
    allowed: float | None = None,
) -> None:
    """Check shape, order and sign of the stress against five-point differences over strains.

    Args:
        calculator: Any ASE calculator with a stress.
        atoms: A structure with a volume; not modified.
        step: Strain, dimensionless.
        row: Row of the table of tolerances, eV/Å³.
        allowed: Largest error, eV/Å³, in place of the row.

    Raises:
        ConformanceError: If the stress is wrong or so small that nothing is tested.
    """
    atoms = bare(atoms)
    require(has_volume(atoms), "nothing to test: a stress needs a periodic cell with a volume")
    bound = tolerance(row) if allowed is None else allowed
    cell, positions, volume = atoms.cell.array.copy(), atoms.positions.copy(), atoms.get_volume()
    stress = np.array(calculator.get_property("stress", atoms), dtype=np.float64)
    require(
        stress.shape == (6,),
        f"the stress has shape {stress.shape}; ASE expects (6,), in Voigt order xx, yy, zz, yz, xz, xy",
    )

    def energy(strain: Array) -> Array:
        atoms.set_cell(cell + cell @ strain)
        atoms.positions = positions + positions @ strain
        return np.array(energy_of(calculator, atoms))

    numeric = np.empty(6)
    for k, (row_index, column) in enumerate(VOIGT):
        unit = np.zeros((3, 3))
        unit[row_index, column] += 0.5
        unit[column, row_index] += 0.5
        slope = matrix_difference(partial(_along, energy, unit), step)
        numeric[k] = float(slope) / volume
    size = largest(numeric)
    require(
        size > 100.0 * bound,
        f"nothing to test: the energy changes by at most {size:.1e} eV/Å³ with strain",
    )
    errors = np.abs(stress - numeric)
    worst = int(np.argmax(np.nan_to_num(errors, nan=np.inf)))
    name = "".join("xyz"[axis] for axis in VOIGT[worst])
    hint = "Sign, Voigt order, units?"
    if largest(stress + numeric) <= bound:
        hint = "All signs are reversed: stress is +(1/V) dE/dstrain, tension positive."
    require(
        largest(errors) <= bound,
        f"the stress component {name} is {stress[worst]:.9g} eV/Å³, strain differences give "
        f"{numeric[worst]:.9g} (difference {errors[worst]:.1e}, allowed {bound:.0e}). {hint}",
    )
