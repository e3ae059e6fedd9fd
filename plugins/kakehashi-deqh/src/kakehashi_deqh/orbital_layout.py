"""Which atomic orbital is where: from the order of the host to one in which blocks transform simply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError, UnsupportedError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ShellCounts = tuple[int, ...]
"""Number of shells of an atom with l = 0, 1, 2, ..."""

LARGEST_L = 4
AXES = (1, 2, 0)
"""Components of a vector in the order in which l = 1 has m = -1, 0, 1: y, z, x."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OrbitalLayout:
    """Orbitals of a molecule, atom by atom, within an atom by angular momentum, within a shell by m.

    In this order, and with vectors written as (y, z, x), a block between two atoms turns with the real
    spherical harmonics of e3nn, all signs +1.

    Attributes:
        order: Orbital of the host at each place, (n_orbitals,).
        first: First place of each atom, and the number of orbitals, (n_atoms + 1,).
        counts: Shells of each atom by angular momentum.
    """

    order: IntArray = field(repr=False)
    first: IntArray = field(repr=False)
    counts: tuple[ShellCounts, ...]

    @classmethod
    def of(cls, shells: Sequence[tuple[int, int, int]], n_atoms: int) -> Self:
        """Return the layout of a basis.

        Args:
            shells: Atom, angular momentum and number of contracted functions of each shell, in the order of
                PySCF: p as x, y, z, any other as m = -l ... l.
            n_atoms: Number of atoms; each has a shell.

        Raises:
            InvalidInputError: If an atom has no shell, or a shell belongs to no atom.
            UnsupportedError: If an angular momentum is above 4.
        """
        places: list[dict[int, list[list[int]]]] = [{} for _ in range(n_atoms)]
        at = 0
        for atom, degree, n in shells:
            if not 0 <= atom < n_atoms:
                raise InvalidInputError(f"a shell belongs to atom {atom}; there are {n_atoms}")
            if not 0 <= degree <= LARGEST_L:
                raise UnsupportedError(
                    f"atom {atom} has a shell of l = {degree}; up to l = {LARGEST_L} is supported"
                )
            for _ in range(n):
                here = list(range(at, at + 2 * degree + 1))
                shell = [here[k] for k in AXES] if degree == 1 else here
                places[atom].setdefault(degree, []).append(shell)
                at += 2 * degree + 1
        order: list[int] = []
        first, counts = [0], []
        for atom, found in enumerate(places):
            if not found:
                raise InvalidInputError(
                    f"atom {atom} has no orbital; ghost atoms are not supported"
                )
            largest = max(found)
            counts.append(tuple(len(found.get(k, [])) for k in range(largest + 1)))
            for degree in range(largest + 1):
                for shell in found.get(degree, []):
                    order += shell
            first.append(len(order))
        return cls(order=np.array(order), first=np.array(first), counts=tuple(counts))

    @property
    def n_orbitals(self) -> int:
        """Number of orbitals."""
        return len(self.order)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.counts)

    def taken(self, matrix: FloatArray) -> FloatArray:
        """Return a matrix of the host in this order.

        Raises:
            InvalidInputError: If it has another shape.
        """
        n = self.n_orbitals
        if matrix.shape != (n, n):
            raise InvalidInputError(f"the matrix is {matrix.shape}; the basis has {n} orbitals")
        return np.asarray(matrix[np.ix_(self.order, self.order)])

    def given_back(self, matrix: FloatArray) -> FloatArray:
        """Return a matrix of this order in that of the host."""
        found = np.empty_like(matrix)
        found[np.ix_(self.order, self.order)] = matrix
        return found

    def block(self, matrix: FloatArray, row: int, column: int) -> FloatArray:
        """Return the block between two atoms of a matrix in this order."""
        a, b = self.first[row : row + 2], self.first[column : column + 2]
        return matrix[a[0] : a[1], b[0] : b[1]]


def n_orbitals(counts: ShellCounts) -> int:
    """Return the number of orbitals of an atom."""
    return sum(n * (2 * degree + 1) for degree, n in enumerate(counts))
