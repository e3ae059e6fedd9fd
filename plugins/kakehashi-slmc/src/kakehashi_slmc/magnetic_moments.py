"""Spins as non-collinear magnetic moments of ASE atoms, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError
from kakehashi_slmc.unit_vectors import checked_spins, normalized

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = npt.NDArray[np.float64]


def spins_of(atoms: Atoms | Sequence[Atoms]) -> FloatArray:
    """Return the directions of initial magnetic moments, (n_chains, n_sites, 3).

    Args:
        atoms: One structure, or one for each chain. Collinear moments point along z.

    Raises:
        InvalidInputError: If an atom has no moment, and so no direction.
    """
    structures: list[Any] = [atoms] if hasattr(atoms, "get_positions") else list(atoms)
    found = []
    for structure in structures:
        moments = np.asarray(structure.get_initial_magnetic_moments(), dtype=np.float64)
        if moments.ndim == 1:
            moments = np.stack([0.0 * moments, 0.0 * moments, moments], axis=-1)
        lengths = np.linalg.norm(moments, axis=-1)
        if not (lengths > 0.0).all():
            raise InvalidInputError(
                f"atom {int(np.argmin(lengths))} has no magnetic moment, so its spin has no direction; set "
                "it with set_initial_magnetic_moments, (n_atoms, 3)"
            )
        found.append(normalized(moments))
    return np.array(found)


def with_spins(atoms: Atoms, spins: npt.ArrayLike, *, size: float = 1.0) -> list[Atoms]:
    """Return copies of atoms with spins as initial magnetic moments, one for each chain.

    The moments are kept by ``ase.io.write`` to extxyz and shown by viewers that know arrows.

    Args:
        atoms: The sites.
        spins: (n_chains, n_sites, 3) or (n_sites, 3).
        size: Length of the moments, Bohr magnetons.
    """
    copies = []
    for one in checked_spins(spins, len(atoms)):
        copy = atoms.copy()
        # ASE refuses vectors where numbers were.
        copy.arrays.pop("initial_magmoms", None)
        copy.set_initial_magnetic_moments(size * one)
        copies.append(copy)
    return copies
