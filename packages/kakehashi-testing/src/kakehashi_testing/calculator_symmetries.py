"""What must not change when a structure is moved, turned, renumbered or doubled. eV and Å."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kakehashi_testing.calculator_derivatives import VOIGT
from kakehashi_testing.calculator_samples import (
    SEED,
    Array,
    bare,
    fresh,
    largest,
    offered,
    property_of,
    require_forces,
    results_of,
)
from kakehashi_testing.errors import require
from kakehashi_testing.tolerances import tolerance

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

Results = dict[str, Array]
Transform = Callable[[str, Array], Array]

SEPARATION = 100.0
"""Å between two copies; farther than any cutoff."""


# In every check ``scf`` asks for the looser rows of results that contain an iteration or a grid, and
# ``dtype`` is the precision that the model computes in.


def check_translation(
    calculator: Calculator,
    atoms: Atoms,
    *,
    n_operations: int = 3,
    scf: bool = False,
    dtype: str = "float64",
) -> None:
    """Check that a shifted structure has the same energy, forces, stress and per-atom results.

    A periodic structure is shifted out of its cell, and single atoms by whole cell vectors: wrapped and
    unwrapped coordinates mean the same.
    """
    rng = np.random.default_rng(SEED)
    for _ in range(n_operations):
        moved = bare(atoms)
        moved.positions += rng.uniform(-3.0, 3.0, 3)
        if atoms.pbc.any():
            turns = rng.integers(-2, 3, (len(atoms), 3)) * atoms.pbc
            moved.positions += turns @ atoms.cell.array
        _compare(
            calculator, atoms, moved, lambda _, value: value, "translation", scf=scf, dtype=dtype
        )


def check_rotation(
    calculator: Calculator,
    atoms: Atoms,
    *,
    n_operations: int = 3,
    scf: bool = False,
    dtype: str = "float64",
) -> None:
    """Check that a rotated structure, cell included, has rotated forces, stress and dipole."""
    rng = np.random.default_rng(SEED)
    for _ in range(n_operations):
        matrix = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        matrix *= np.sign(np.linalg.det(matrix))
        _compare_turned(calculator, atoms, matrix, "rotation", scf=scf, dtype=dtype)


def check_inversion(
    calculator: Calculator, atoms: Atoms, *, scf: bool = False, dtype: str = "float64"
) -> None:
    """Check that the mirror image has mirrored forces and dipole, and the same of everything else."""
    _compare_turned(calculator, atoms, -np.eye(3), "inversion", scf=scf, dtype=dtype)


def check_permutation(
    calculator: Calculator,
    atoms: Atoms,
    *,
    n_operations: int = 3,
    scf: bool = False,
    dtype: str = "float64",
) -> None:
    """Check that renumbered atoms take their forces and per-atom results along."""
    require(len(atoms) > 1, "nothing to test: one atom cannot be permuted")
    rng = np.random.default_rng(SEED)
    for _ in range(n_operations):
        order = rng.permutation(len(atoms))
        if (order == np.arange(len(atoms))).all():
            order = np.roll(order, 1)

        _compare(
            calculator,
            atoms,
            bare(atoms)[order],
            partial(_renumbered, order, atoms),
            "permutation",
            scf=scf,
            dtype=dtype,
        )


def _renumbered(order: npt.NDArray[np.intp], atoms: Atoms, name: str, value: Array) -> Array:
    return value[order] if name == "forces" or _per_atom(name, value, atoms) else value


def check_extensivity(
    calculator: Calculator, atoms: Atoms, *, scf: bool = False, dtype: str = "float64"
) -> None:
    """Check that two copies have twice the energy: far apart, or side by side in a doubled cell."""
    single = property_of(calculator, "energy", bare(atoms))
    require(abs(single) > 1e-3, f"nothing to test: the energy is {single:.1e} eV")
    forces = property_of(calculator, "forces", bare(atoms))
    pair = _two_copies(atoms)
    allowed = tolerance("scf_calculator_energy" if scf else "extensivity")
    twin = fresh(calculator)
    excess = float(property_of(twin, "energy", pair) - 2.0 * single)
    how = "side by side in a doubled cell" if atoms.pbc.any() else f"{SEPARATION:g} Å apart"
    require(
        abs(excess) <= allowed,
        f"two copies {how} have {excess:.1e} eV more than twice the energy of one, allowed "
        f"{allowed:.0e}. An average where a sum belongs, or atoms that see each other too far?",
    )
    change = largest(property_of(twin, "forces", pair) - np.concatenate([forces, forces]))
    bound = tolerance("scf_calculator_forces") if scf else tolerance("extensivity", dtype)
    require(
        change <= bound,
        f"forces on two copies {how} differ by {change:.1e} eV/Å from those on one, allowed {bound:.0e}",
    )


def check_locality(
    calculator: Calculator, atoms: Atoms, *, interaction_range: float | None = None
) -> None:
    """Check that moving one atom changes nothing for atoms farther away than the interaction range.

    Args:
        calculator: Any ASE calculator.
        atoms: The structure; repeated, or doubled, until some atoms are far enough.
        interaction_range: Å; what the calculator says unless given.
    """
    reach = (
        getattr(calculator, "interaction_range", None)
        if interaction_range is None
        else interaction_range
    )
    require(
        reach is not None,
        f"{type(calculator).__name__} names no interaction_range; set it, or say why there is none: "
        'inapplicable_checks = {"locality": "..."}',
    )
    assert reach is not None  # noqa: S101  for the type checker, see above
    big = _larger_than(atoms, 2.0 * (reach + 1.0)) if atoms.pbc.any() else _two_copies(atoms)
    before = results_of(fresh(calculator), bare(big), _local_properties(calculator))
    require_forces(before["forces"])
    moved = bare(big)
    moved.positions[0] += [0.05, -0.08, 0.03]
    after = results_of(fresh(calculator), moved, _local_properties(calculator))
    distances = np.minimum(
        big.get_distances(0, range(len(big)), mic=True),
        moved.get_distances(0, range(len(big)), mic=True),
    )
    far = distances > reach
    require(far.any(), f"nothing to test: no atom is farther than {reach} Å from another one")
    require(
        largest((after["forces"] - before["forces"])[~far]) > 1e-6,
        "nothing to test: moving an atom changes no force nearby",
    )
    for name in before:
        if np.shape(before[name])[:1] != (len(big),):
            continue
        change = largest((after[name] - before[name])[far])
        allowed = tolerance("locality") * max(1.0, largest(before[name]))
        require(
            change <= allowed,
            f"moving an atom changes {name} of an atom more than {reach} Å away by {change:.1e}, "
            f"allowed {allowed:.0e}. Is interaction_range too small, or something averaged over all atoms?",
        )


def _local_properties(calculator: Calculator) -> list[str]:
    return [n for n in ("forces", "energies") if n in calculator.implemented_properties]


def _per_atom(name: str, value: Array, atoms: Atoms) -> bool:
    return value.shape == (len(atoms),) and name not in ("dipole", "stress")


def _two_copies(atoms: Atoms) -> Atoms:
    if atoms.pbc.any():
        counts = [1, 1, 1]
        counts[int(np.argmax(atoms.pbc))] = 2
        doubled: Atoms = bare(atoms).repeat(counts)
        return doubled
    other = bare(atoms)
    other.positions[:, 0] += float(np.ptp(atoms.positions[:, 0])) + SEPARATION
    pair: Atoms = bare(atoms) + other
    return pair


def _larger_than(atoms: Atoms, height: float) -> Atoms:
    """Repeat along the first periodic direction until the cell is that high, Å."""
    axis = int(np.argmax(atoms.pbc))
    reciprocal = np.linalg.inv(atoms.cell.complete().array)[:, axis]
    counts = [1, 1, 1]
    counts[axis] = int(np.ceil(height * np.linalg.norm(reciprocal)))
    repeated: Atoms = bare(atoms).repeat(counts)
    return repeated


def _compare_turned(
    calculator: Calculator, atoms: Atoms, matrix: Array, what: str, *, scf: bool, dtype: str
) -> None:
    turned = bare(atoms)
    turned.set_cell(atoms.cell.array @ matrix.T)
    turned.positions = atoms.positions @ matrix.T

    def turn(name: str, value: Array) -> Array:
        if name in ("forces", "dipole"):
            return value @ matrix.T
        if name == "stress" and value.shape == (6,):
            tensor = np.empty((3, 3))
            for component, (i, j) in zip(value, VOIGT, strict=True):
                tensor[i, j] = tensor[j, i] = component
            tensor = matrix @ tensor @ matrix.T
            return np.array([tensor[i, j] for i, j in VOIGT])
        return value

    _compare(calculator, atoms, turned, turn, what, scf=scf, dtype=dtype)


def _compare(
    calculator: Calculator,
    atoms: Atoms,
    changed: Atoms,
    expected: Transform,
    what: str,
    *,
    scf: bool,
    dtype: str,
) -> None:
    """Compare everything whose behavior is known: scalars, one number per atom, forces, stress, dipole."""
    # A model whose results depend on where it was before would show here, so both start fresh.
    before = results_of(fresh(calculator), bare(atoms), offered(calculator, atoms))
    after = results_of(fresh(calculator), changed, offered(calculator, atoms))
    if "forces" in before:
        require_forces(before["forces"])
    for name, value in before.items():
        if not (
            value.ndim == 0
            or _per_atom(name, value, atoms)
            or name in ("forces", "stress", "dipole")
        ):
            continue
        if name == "dipole" and what == "translation":
            continue  # of an ion: depends on the origin
        require(name in after, f"{name} is missing after a {what}")
        error = largest(after[name] - expected(name, value))
        if name in ("energy", "free_energy"):
            allowed = tolerance("energy_invariance", dtype) * len(atoms)
            turned = what == "rotation"
            row = "scf_calculator_rotation" if turned else "scf_calculator_energy"
            allowed = tolerance(row) if scf else allowed
        else:
            allowed = tolerance("tensor_equivariance", dtype) * max(1.0, largest(value))
            allowed = tolerance("scf_calculator_forces") if scf else allowed
        require(
            error <= allowed,
            f"{name} changes by {error:.1e} under a {what}, allowed {allowed:.0e}"
            + (": float32 inside, or coordinates that are used as they are?" if not scf else ""),
        )
