"""Which pairs of sites are alike: classes of equal separation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DECIMALS = 6
"""Distances that agree to so many decimals are equal."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DistanceShells:
    """Classes of pairs, by growing distance.

    Attributes:
        labels: Shell of each pair, from 1; 0 on the diagonal, (n_sites, n_sites).
        distances: Of each shell, (n_shells,).
        counts: Members of each shell around a site, averaged over sites, (n_shells,).
    """

    labels: IntArray = field(repr=False)
    distances: FloatArray
    counts: FloatArray

    @property
    def n_shells(self) -> int:
        """How many classes there are."""
        return len(self.distances)

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return len(self.labels)

    def adjacency(self, shell: int) -> FloatArray:
        """Return A_n, (n_sites, n_sites): 1 / z_n at the pairs of a shell; A_0 is the identity."""
        if shell == 0:
            return np.eye(self.n_sites)
        return np.asarray((self.labels == shell) / self.counts[shell - 1])

    def adjacencies(self, n: int | None = None) -> FloatArray:
        """Return A_1 ... A_n, (n, n_sites, n_sites)."""
        last = self.n_shells if n is None else n
        if not 1 <= last <= self.n_shells:
            raise InvalidInputError(f"{last} shells are asked for; there are {self.n_shells}")
        return np.array([self.adjacency(k) for k in range(1, last + 1)])


def distance_shells(positions: npt.ArrayLike, cell: npt.ArrayLike) -> DistanceShells:
    """Sort pairs of sites into classes of equal separation.

    Pairs at equal distance are kept apart if what surrounds them differs, such as (0, 5) and (3, 4) on the
    square lattice.

    Args:
        positions: (n_sites, 3).
        cell: Rows are the vectors of the whole, zero rows where it is open, (3, 3).

    Raises:
        InvalidInputError: If two sites coincide, or there is only one.
    """
    found = _distances(np.asarray(positions, dtype=float), np.asarray(cell, dtype=float))
    n = len(found)
    if n < 2:
        raise InvalidInputError("a lattice needs at least two sites")
    off = ~np.eye(n, dtype=bool)
    if found[off].min() < 10.0**-DECIMALS:
        i, j = (int(k) for k in np.argwhere((found < 10.0**-DECIMALS) & off)[0])
        raise InvalidInputError(f"sites {i} and {j} stand at the same place")
    nearest = np.round(np.where(off, found, np.inf).min(axis=1), DECIMALS)
    neighbors = (np.round(found, DECIMALS) == nearest[:, None]) & off
    signatures = _signatures(found, neighbors)
    classes = sorted({signatures[i][j] for i, j in np.argwhere(off)})
    numbers = {signature: k + 1 for k, signature in enumerate(classes)}
    labels = np.zeros((n, n), dtype=np.int64)
    for i, j in np.argwhere(off):
        labels[i, j] = numbers[signatures[i][j]]
    counts = np.array([(labels == k).sum() / n for k in range(1, len(classes) + 1)])
    return DistanceShells(labels=labels, distances=np.array([c[0] for c in classes]), counts=counts)


def _signatures(
    distances: FloatArray, neighbors: npt.NDArray[np.bool_]
) -> list[list[tuple[float, ...]]]:
    """Return for each pair its distance, then those from the neighbors of either end to the other end."""
    n = len(distances)
    around = [distances[neighbors[i]] for i in range(n)]  # (n_neighbors, n)
    sorted_around = [np.sort(np.round(a, DECIMALS), axis=0) for a in around]
    table: list[list[tuple[float, ...]]] = []
    for i in range(n):
        row = []
        for j in range(n):
            ends = sorted([tuple(sorted_around[i][:, j]), tuple(sorted_around[j][:, i])])
            row.append((round(float(distances[i, j]), DECIMALS), *ends[0], *ends[1]))
        table.append(row)
    return table


def _distances(positions: FloatArray, cell: FloatArray) -> FloatArray:
    """Return the distances of nearest images, (n_sites, n_sites)."""
    vectors = cell[np.linalg.norm(cell, axis=1) > 0.0]
    separations = positions[None] - positions[:, None]
    best = np.full(separations.shape[:2], np.inf)
    for shifts in itertools.product((-1, 0, 1), repeat=len(vectors)):
        moved = (
            separations + np.array(shifts, dtype=float) @ vectors if len(vectors) else separations
        )
        best = np.minimum(best, np.linalg.norm(moved, axis=-1))
    return best
