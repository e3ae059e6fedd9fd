"""Checks of a structure before anything expensive runs. Lengths in Å."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kakehashi_ase.errors import CalculatorInputError, UnsupportedElementError

if TYPE_CHECKING:
    from ase import Atoms

_SMALLEST_SINE = 1e-6
"""Periodic cell vectors whose directions are closer to dependence than this span no volume."""


def check_structure(
    atoms: Atoms,
    *,
    supported_elements: Collection[str] | None = None,
    minimum_distance: float = 0.0,
    model: str = "",
) -> None:
    """Raise unless ``atoms`` is something that a model can be evaluated on.

    Args:
        atoms: The structure; not modified.
        supported_elements: Chemical symbols that the model knows; None for all real elements.
        minimum_distance: See ``check_overlap``, Å; zero leaves distances unchecked.
        model: Name for the messages.

    Raises:
        CalculatorInputError: If there are no atoms, a coordinate or cell component is not finite,
            the cell is singular along periodic directions, or two atoms overlap.
        UnsupportedElementError: If an element is not supported.
    """
    if len(atoms) == 0:
        raise CalculatorInputError(
            "the structure has no atoms; a calculator needs at least one. "
            "Check how it was read or sliced."
        )
    _check_elements(atoms, supported_elements, model)
    _check_positions(atoms)
    _check_cell(atoms)
    if minimum_distance > 0.0:
        check_overlap(atoms, minimum_distance)


def check_overlap(atoms: Atoms, minimum_distance: float) -> None:
    """Raise if two atoms, or an atom and a periodic image, are closer than ``minimum_distance``.

    Args:
        atoms: The structure, with finite coordinates.
        minimum_distance: Smallest distance that is allowed, Å.

    Raises:
        CalculatorInputError: Naming the closest pair and its distance.
    """
    i, j, distance = _closest_pair(atoms, minimum_distance)
    if distance >= minimum_distance:
        return
    symbols = atoms.symbols
    where = "and its own periodic image" if i == j else f"and {j} ({symbols[j]})"
    raise CalculatorInputError(
        f"atoms {i} ({symbols[i]}) {where} are {distance:.3g} Å apart; at least "
        f"{minimum_distance:g} Å is needed. Remove duplicated atoms or enlarge the cell."
    )


def _closest_pair(atoms: Atoms, reach: float) -> tuple[int, int, float]:
    """Return two atoms and their distance if a pair within ``reach`` exists, else (0, 0, inf).

    Time and memory are linear in the number of atoms: each looks for its nearest neighbor in a tree
    of all atoms and of those images that lie within ``reach`` of the cell.
    """
    from scipy.spatial import KDTree

    points, owners = _with_images(atoms, reach)
    distances, neighbors = KDTree(points).query(
        points[: len(atoms)], k=2, distance_upper_bound=reach
    )
    # Atoms on top of each other may be listed in either order, so "itself" is not always first.
    itself = neighbors == np.arange(len(atoms))[:, None]
    distances = np.where(itself, np.inf, distances)
    i, column = (int(k) for k in np.unravel_index(np.argmin(distances), distances.shape))
    if not np.isfinite(distances[i, column]):
        return 0, 0, float("inf")
    return i, int(owners[neighbors[i, column]]), float(distances[i, column])


def _with_images(
    atoms: Atoms, reach: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """Return the wrapped atoms, then their images within ``reach`` (Å), and the owner of each."""
    everyone = np.arange(len(atoms))
    periodic = atoms.pbc
    if not periodic.any():
        return np.asarray(atoms.positions), everyone
    cell = np.asarray(atoms.cell.complete())
    inverse = np.linalg.inv(cell)
    fractional = atoms.positions @ inverse
    fractional[:, periodic] %= 1.0
    margin = reach * np.linalg.norm(inverse, axis=0)  # reach over the height of the cell
    n_images = np.where(periodic, np.ceil(margin), 0).astype(int)
    points, owners = [fractional], [everyone]
    for shift in product(*(range(-n, n + 1) for n in n_images)):
        if any(shift):
            moved = fractional + shift
            near = ((moved >= -margin) & (moved <= 1.0 + margin))[:, periodic].all(axis=1)
            points.append(moved[near])
            owners.append(everyone[near])
    return np.concatenate(points) @ cell, np.concatenate(owners)


def check_finite_values(name: str, value: object) -> None:
    """Raise if ``value`` is numeric and contains NaN or infinity; other kinds of values pass.

    Args:
        name: What the value is, in the words of the user, for instance ``"atoms.info['charge']"``.
        value: Anything that the user may have stored on an Atoms object.

    Raises:
        CalculatorInputError: Naming the first bad entry.
    """
    try:
        numbers = np.asarray(value)
    except ValueError:  # ragged lists are no numbers
        return
    if numbers.dtype.kind not in "fc" or np.isfinite(numbers).all():
        return
    index = tuple(int(k) for k in np.argwhere(~np.isfinite(numbers))[0])
    place = f"[{', '.join(map(str, index))}]" if index else ""
    raise CalculatorInputError(
        f"{name}{place} is {numbers[index]}; every value must be finite. "
        "Correct it before calculating."
    )


def _check_elements(atoms: Atoms, supported: Iterable[str] | None, model: str) -> None:
    numbers = atoms.numbers
    unreal = np.flatnonzero((numbers < 1) | (numbers > 118))
    if len(unreal):
        i = int(unreal[0])
        raise CalculatorInputError(
            f"atom {i} has atomic number {int(numbers[i])}, which is no element; 1 to 118 are "
            "allowed. Remove placeholder atoms before calculating."
        )
    if supported is not None:
        found = set(atoms.symbols)
        if not found <= set(supported):
            raise UnsupportedElementError.build(model, found, supported)


def _check_positions(atoms: Atoms) -> None:
    positions = atoms.positions
    if np.isfinite(positions).all():
        return
    i, axis = (int(k) for k in np.argwhere(~np.isfinite(positions))[0])
    raise CalculatorInputError(
        f"position of atom {i} ({atoms.symbols[i]}) has {'xyz'[axis]} = {positions[i, axis]} Å; "
        "every coordinate must be finite. Look at the step before: something blew up there."
    )


def _check_cell(atoms: Atoms) -> None:
    cell = np.asarray(atoms.cell.array)
    if not np.isfinite(cell).all():
        i, axis = (int(k) for k in np.argwhere(~np.isfinite(cell))[0])
        raise CalculatorInputError(
            f"cell vector {i} has {'xyz'[axis]} = {cell[i, axis]} Å; every component must be "
            "finite. Set it with atoms.cell = ..."
        )
    periodic = np.flatnonzero(atoms.pbc)
    if len(periodic) == 0:
        return
    lengths = np.linalg.norm(cell[periodic], axis=1)
    if not lengths.all():
        i = int(periodic[np.argmin(lengths)])
        raise CalculatorInputError(
            f"cell vector {i} is zero although atoms.pbc[{i}] is True; a periodic direction needs "
            "a length. Set the cell, or atoms.pbc = False."
        )
    directions = cell[periodic] / lengths[:, None]
    if np.linalg.svd(directions, compute_uv=False)[-1] < _SMALLEST_SINE:
        raise CalculatorInputError(
            f"the cell is singular: its periodic vectors {cell[periodic].tolist()} Å are linearly "
            "dependent; they must span a length, an area or a volume. Correct the cell."
        )
