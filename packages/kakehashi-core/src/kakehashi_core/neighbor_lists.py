"""Neighbor lists that survive small moves; lengths in the unit of the positions.

The pairs come from vesin, which is imported when the first list is built. What is added here: reuse of a
list within a skin, positions far outside the cell, mixed periodic boundary conditions, input that is
checked, and an order of the pairs that depends on nothing but the positions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_SMALLEST_SINE = 1e-6
"""Periodic cell vectors whose directions are closer to dependence than this span no volume."""

_MOST_CELLS = 1e5
"""Number of search cells that vesin does not exceed."""


class NeighborPairs(NamedTuple):
    """Pairs of particles, read-only.

    Attributes:
        i: First particle of each pair, (n_pairs,).
        j: Second particle of each pair, (n_pairs,).
        shifts: Integer multiples of the cell vectors, (n_pairs, 3): the vector of a pair is
            ``positions[j] - positions[i] + shifts @ cell``.
    """

    i: Integers
    j: Integers
    shifts: Integers


class NeighborList:
    """All pairs of particles within a cutoff, kept while nobody has moved far.

    The list holds every pair, and every periodic image of it, closer than ``cutoff + skin`` when it was
    built, and so every pair closer than ``cutoff`` now. Pairs in the skin are part of it: who uses the
    list compares distances with the cutoff. Boxes smaller than twice the cutoff are fine, a particle may
    be its own neighbor there.

    The order of the pairs (by i, then j, then shift) depends on the positions at the last build only, not
    on threads or history. To continue a run bit for bit, store ``reference_positions`` with it, and call
    ``update`` with these before the first one with the current positions.

    Attributes:
        cutoff: Distance up to which no pair is missing.
        skin: Additional distance; the list is rebuilt when a particle has moved more than half of it.
        full: Whether each pair stands twice, as (i, j) and (j, i); otherwise once, with i < j, or i = j
            and the first component of the shift that is not zero positive.
        n_builds: How often the list was built.
    """

    def __init__(self, cutoff: float, *, skin: float = 0.0, full: bool = True) -> None:
        """Choose the distances; nothing is built yet.

        Raises:
            InvalidInputError: If the cutoff is not positive or the skin negative.
        """
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        self.full = bool(full)
        if not (math.isfinite(self.cutoff) and self.cutoff > 0.0):
            raise InvalidInputError(f"cutoff is {cutoff}; it must be a positive, finite distance.")
        if not (math.isfinite(self.skin) and self.skin >= 0.0):
            raise InvalidInputError(f"skin is {skin}; it must be a finite distance, at least 0.")
        self.n_builds = 0
        self._pairs: NeighborPairs | None = None
        self._positions: Floats = np.empty((0, 3))
        self._cell: Floats = np.zeros((3, 3))
        self._pbc: Flags = np.zeros(3, dtype=np.bool_)

    @property
    def reference_positions(self) -> Floats | None:
        """Positions at the last build, (n, 3), a copy; None before the first."""
        return None if self._pairs is None else self._positions.copy()

    def update(
        self, positions: npt.ArrayLike, cell: npt.ArrayLike, pbc: npt.ArrayLike
    ) -> NeighborPairs:
        """Return the pairs for these positions; build the list anew only where that is needed.

        That is the case when a particle has moved more than half the skin since the last build, or when
        the cell, the periodic boundary conditions or the number of particles have changed. Particles
        wrapped to the other side of the cell count as moved.

        Args:
            positions: (n, 3), inside the cell or not.
            cell: (3, 3), rows are the cell vectors; those of directions that are not periodic are
                ignored.
            pbc: Whether each direction is periodic, (3,) or one flag for all.

        Raises:
            InvalidInputError: If a shape is wrong, a number is not finite, or the periodic cell vectors
                are linearly dependent.
        """
        x, box, periodic = _checked(positions, cell, pbc)
        if self._pairs is None or self._outdated(x, box, periodic):
            pairs = _build(x, box, periodic, self.cutoff + self.skin, full=self.full)
            # Copies: the caller may move the particles in place.
            self._positions, self._cell, self._pbc = x.copy(), box.copy(), periodic.copy()
            self._pairs = pairs
            self.n_builds += 1
        return self._pairs

    def vectors(self, positions: npt.ArrayLike, cell: npt.ArrayLike) -> Floats:
        """Return ``positions[j] - positions[i] + shifts @ cell`` for the pairs of the last update.

        Returns:
            (n_pairs, 3), a fresh array.

        Raises:
            InvalidInputError: If ``update`` was not called before, or with another number of particles.
        """
        x = np.asarray(positions, dtype=np.float64)
        if self._pairs is None or x.shape != self._positions.shape:
            raise InvalidInputError(
                f"the list was built for {len(self._positions)} particles, the positions have shape "
                f"{x.shape}; call update with them first."
            )
        i, j, shifts = self._pairs
        vectors: Floats = x[j] - x[i]
        shifted = shifts.any(axis=1)
        vectors[shifted] += shifts[shifted] @ np.asarray(cell, dtype=np.float64)
        return vectors

    def _outdated(self, positions: Floats, cell: Floats, pbc: Flags) -> bool:
        if (
            positions.shape != self._positions.shape
            or not np.array_equal(pbc, self._pbc)
            # Vectors of directions that are not periodic do not matter.
            or not np.array_equal(cell[pbc], self._cell[pbc])
        ):
            return True
        moved = positions - self._positions
        squares = np.einsum("ix,ix->i", moved, moved)
        return bool(squares.size and squares.max() > (0.5 * self.skin) ** 2)


def _checked(
    positions: npt.ArrayLike, cell: npt.ArrayLike, pbc: npt.ArrayLike
) -> tuple[Floats, Floats, Flags]:
    x = np.asarray(positions, dtype=np.float64)
    box = np.asarray(cell, dtype=np.float64)
    periodic = np.asarray(pbc, dtype=np.bool_)
    if periodic.ndim == 0:
        periodic = np.repeat(periodic, 3)
    expected = (("positions", x, (len(x) if x.ndim else 0, 3)), ("cell", box, (3, 3)))
    for name, array, shape in (*expected, ("pbc", periodic, (3,))):
        if array.shape != shape:
            wanted = "(n, 3)" if name == "positions" else str(shape)
            raise InvalidInputError(f"{name} has shape {array.shape}; {wanted} is needed.")
    for name, array in (("positions", x), ("cell", box[periodic])):
        if not np.isfinite(array).all():
            row, axis = (int(k) for k in np.argwhere(~np.isfinite(array))[0])
            raise InvalidInputError(
                f"{name}[{row}, {axis}] is {array[row, axis]}; every component must be finite."
            )
    lengths = np.linalg.norm(box[periodic], axis=1)
    if periodic.any() and (
        not lengths.all()
        or np.linalg.svd(box[periodic] / lengths[:, None], compute_uv=False)[-1] < _SMALLEST_SINE
    ):
        raise InvalidInputError(
            f"the periodic cell vectors {box[periodic].tolist()} are zero or linearly dependent; "
            "they must span a length, an area or a volume. Correct the cell or pbc."
        )
    return x, box, periodic


def _build(x: Floats, cell: Floats, pbc: Flags, reach: float, *, full: bool) -> NeighborPairs:
    import vesin

    if len(x) == 0:
        return _frozen(*(np.empty(shape, dtype=np.int64) for shape in ((0,), (0,), (0, 3))))
    wrapped, box, turns = _inside(x, cell, pbc, reach)
    search_reach = _safe_reach(box, reach)
    finder = vesin.NeighborList(cutoff=search_reach, full_list=full)
    i, j, shifts, *distances = finder.compute(
        points=wrapped,
        box=box,
        periodic=bool(pbc.any()),
        quantities="ijSd" if search_reach > reach else "ijS",
    )
    if distances:
        near = distances[0] < reach
        i, j, shifts = i[near], j[near], shifts[near]
    i, j = i.astype(np.int64), j.astype(np.int64)
    shifts = shifts.astype(np.int64) + turns[i] - turns[j]
    if not full:
        i, j, shifts = _once(i, j, shifts)
    order = _order(i, j, shifts, n=len(x))
    return _frozen(i[order], j[order], shifts[order])


def _inside(x: Floats, cell: Floats, pbc: Flags, reach: float) -> tuple[Floats, Floats, Integers]:
    """Return positions inside a cell, that cell, and the turns.

    A direction that is not periodic gets a vector at right angles to all others, longer than the system
    by more than ``reach``: no image is in reach along it. Gaps along it that no pair can cross are
    shortened, so that a few particles far away make no large cell.

    Returns:
        Positions with the same pairs within ``reach`` (n, 3); cell (3, 3); whole cell vectors subtracted
        from each position (n, 3).
    """
    turns = np.zeros(x.shape, dtype=np.int64)
    box = cell.copy()
    inside = x
    if not pbc.all():
        # The last rows of V in the singular value decomposition span what the periodic vectors do not.
        normals = np.linalg.svd(cell[pbc])[2][int(pbc.sum()) :] if pbc.any() else np.eye(3)
        heights = x @ normals.T
        packed = np.stack([_without_gaps(column, 2.0 * reach) for column in heights.T], axis=1)
        inside = x + (packed + 0.5 * reach - heights) @ normals
        box[~pbc] = normals * (packed.max(axis=0) + 2.0 * reach)[:, None]
    fractional = inside @ np.linalg.inv(box)
    turns[:, pbc] = np.floor(fractional[:, pbc]).astype(np.int64)
    return inside - turns @ box, box, turns


def _without_gaps(coordinates: Floats, widest: float) -> Floats:
    """Return coordinates from zero on, in the same order, with no gap wider than ``widest``."""
    order = np.argsort(coordinates)
    steps = np.minimum(np.diff(coordinates[order]), widest)
    packed = np.empty_like(coordinates)
    packed[order] = np.concatenate([[0.0], np.cumsum(steps)])
    return packed


def _safe_reach(box: Floats, reach: float) -> float:
    """Return the smallest distance from ``reach`` on for which vesin finds a grid of search cells.

    It lowers the number of search cells to about 1e5 while keeping their ratios. Along the short side of a
    long or flat box that may round to none, and the process dies of a division by zero (seen with 0.6.2
    for a box of 7 x 3000 x 3000 and a cutoff of 0.6).
    """
    heights = 1.0 / np.linalg.norm(np.linalg.inv(box), axis=0)
    while True:
        counts = np.maximum(np.floor(heights / reach), 1.0)
        if counts.prod() <= _MOST_CELLS:
            return reach
        last = math.floor(0.99 * counts[2] * (_MOST_CELLS / counts.prod()) ** (1.0 / 3.0))
        middle = math.floor(0.99 * counts[1] / counts[2] * last)
        if last and middle and math.floor(0.99 * counts[0] / counts[1] * middle):
            return reach
        reach *= 1.1


def _once(i: Integers, j: Integers, shifts: Integers) -> tuple[Integers, Integers, Integers]:
    """Turn each pair of a half list to i < j, or i = j and the first nonzero shift positive."""
    first = np.take_along_axis(shifts, (shifts != 0).argmax(axis=1)[:, None], axis=1)[:, 0]
    turn = (i > j) | ((i == j) & (first < 0))
    return (
        np.where(turn, j, i),
        np.where(turn, i, j),
        np.where(turn[:, None], -shifts, shifts),
    )


def _order(i: Integers, j: Integers, shifts: Integers, *, n: int) -> npt.NDArray[np.intp]:
    """Return the permutation that sorts by i, then j, then shift."""
    if len(i) == 0:
        return np.empty(0, dtype=np.intp)
    low = shifts.min(axis=0)
    sizes = [int(size) for size in shifts.max(axis=0) - low + 1]
    if n * n * math.prod(sizes) < 2**62:
        key = i * n + j
        for axis, size in enumerate(sizes):
            key = key * size + (shifts[:, axis] - low[axis])
        return np.argsort(key)
    return np.lexsort((*shifts.T[::-1], j, i))


def _frozen(i: Integers, j: Integers, shifts: Integers) -> NeighborPairs:
    for array in (i, j, shifts):
        array.flags.writeable = False
    return NeighborPairs(i, j, shifts)
