"""From a Hamiltonian to orbitals and a closed-shell density."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import scipy.linalg

from kakehashi_core.errors import NonFiniteError

FloatArray = npt.NDArray[np.float64]

LEAST_OVERLAP = 1e-8
"""Combinations of orbitals whose norm is smaller are left out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Orbitals:
    """Solutions of H C = S C e.

    Attributes:
        energies: (n_orbitals,), hartree, ascending.
        coefficients: (n_ao, n_orbitals).
        n_occupied: Doubly occupied orbitals.
    """

    energies: FloatArray
    coefficients: FloatArray = field(repr=False)
    n_occupied: int

    @property
    def density_matrix(self) -> FloatArray:
        """Both spins together, (n_ao, n_ao)."""
        occupied = self.coefficients[:, : self.n_occupied]
        return 2.0 * occupied @ occupied.T

    @property
    def gap(self) -> float:
        """Lowest unoccupied less highest occupied energy, hartree."""
        return float(self.energies[self.n_occupied] - self.energies[self.n_occupied - 1])


def orbitals_of(hamiltonian: FloatArray, overlap: FloatArray, n_electrons: int) -> Orbitals:
    """Diagonalize a Hamiltonian of a closed shell.

    Raises:
        NonFiniteError: If the Hamiltonian is not finite.
    """
    if not np.isfinite(hamiltonian).all():
        raise NonFiniteError("the Hamiltonian has entries that are not finite")
    sizes, vectors = np.linalg.eigh(overlap)
    kept = sizes > LEAST_OVERLAP
    orthogonal = vectors[:, kept] / np.sqrt(sizes[kept])
    energies, rotated = scipy.linalg.eigh(orthogonal.T @ hamiltonian @ orthogonal)
    return Orbitals(
        energies=energies, coefficients=orthogonal @ rotated, n_occupied=n_electrons // 2
    )
