"""Neighbors of particles with a skin, for the compiled kernels: periodic images as explicit ghost particles.

Particles are wrapped into the cell and sorted along a grid of bins; images within reach of the cell follow
as ghosts. The list of a particle holds all its neighbors (both of a pair have each other), those of one
species together, so that a kernel's innermost loop has constant parameters. It holds for any cell, also for
one that is smaller than the reach: then a particle meets several images of its neighbor, and its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MAX_BINS_PER_PARTICLE = 4
"""Keeps the grid of bins small where a few particles are far apart."""


@dataclass(frozen=True, slots=True)
class PairList:
    """All pairs within the reach of a list.

    Local particles are the n of the system in the order of their bins, then the ghosts.

    Attributes:
        owner: Particle of the system behind each local particle, (n_local,).
        offset: What is added to the position of the owner, (n_local, 3), in sigma_AA.
        species: Species of each local particle, (n_local,).
        bounds: Where in ``neighbors`` the neighbors of species s of a particle are, between
            ``bounds[i, s]`` and ``bounds[i, s + 1]``, (n, n_species + 1).
        neighbors: Local particles, (n_entries,).
    """

    owner: IntArray
    offset: FloatArray
    species: IntArray
    bounds: IntArray
    neighbors: npt.NDArray[np.int32]

    @property
    def n_particles(self) -> int:
        """Number of particles of the system, without ghosts."""
        return len(self.bounds)


def build_pair_list(
    positions: FloatArray,
    types: IntArray,
    cell: FloatArray,
    pbc: npt.NDArray[np.bool_],
    reach: FloatArray,
) -> PairList:
    """List all pairs whose distance is below the reach of their species.

    Args:
        positions: (n, 3), also outside the cell.
        types: Species, (n,).
        cell: Rows are lattice vectors; those of directions that are not periodic are ignored.
        pbc: Which directions are periodic, (3,).
        reach: Cutoff plus skin, (n_species, n_species).
    """
    farthest = float(reach.max())
    frame = completed_cell(cell, pbc)
    inverse = np.asarray(np.linalg.inv(frame), dtype=np.float64)
    # Heights of the cell above its faces: how many images reach into it.
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    lattice = np.where(pbc, np.floor(positions @ inverse), 0.0)
    wrapping: FloatArray = -(lattice @ frame)
    margin = np.where(pbc, farthest / heights, 0.0).astype(np.float64)
    local, owner, offset = _with_ghosts(positions + wrapping, wrapping, frame, inverse, margin, pbc)
    n = len(positions)
    low = local.min(axis=0)
    extent = local.max(axis=0) - low
    edge = farthest / 2.0
    limit = MAX_BINS_PER_PARTICLE * len(local) + 64
    while np.prod(np.floor(extent / edge) + 1.0) > limit:
        edge *= 1.5
    shape = (np.floor(extent / edge) + 1.0).astype(np.int64)
    index = np.minimum(((local - low) / edge).astype(np.int64), shape - 1)
    bins = (index[:, 2] * shape[1] + index[:, 1]) * shape[0] + index[:, 0]
    own, ghosts = np.arange(n), np.arange(n, len(local))
    order = np.concatenate(
        [own[np.argsort(bins[:n], kind="stable")], ghosts[np.argsort(bins[n:], kind="stable")]]
    )
    local, owner, offset, bins = local[order], owner[order], offset[order], bins[order]
    species = types[owner]
    by_bin = np.argsort(bins, kind="stable")
    first = np.searchsorted(bins[by_bin], np.arange(int(np.prod(shape)) + 1))
    layers = int(np.ceil(farthest / edge - 1e-12))
    guess = 64 + int(n * 1.2 * 4.2 * farthest**3)
    while True:
        bounds = np.zeros((n, len(reach) + 1), dtype=np.int64)
        neighbors = np.empty(guess, dtype=np.int32)
        needed = _fill(
            local, species, bins, shape, first, by_bin, layers, reach**2, bounds, neighbors
        )
        if needed <= guess:
            return PairList(owner, offset, species, bounds, neighbors[:needed])
        guess = needed


def completed_cell(cell: FloatArray, pbc: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the lattice vectors of periodic directions, and unit vectors normal to them for the others."""
    frame: FloatArray = np.where(pbc[:, None], cell, 0.0)
    for axis in np.flatnonzero(~pbc).tolist():
        others = [frame[k] for k in range(3) if k != axis and frame[k].any()]
        normal = np.linalg.svd(np.array(others))[2][-1] if others else np.eye(3)[axis]
        frame[axis] = normal if len(others) != 1 else _perpendicular(others[0], axis)
    return frame


def _perpendicular(vector: FloatArray, axis: int) -> FloatArray:
    unit: FloatArray = np.eye(3)[axis]
    vector = vector / np.linalg.norm(vector)
    unit = unit - vector * float(unit @ vector)
    length = float(np.linalg.norm(unit))
    if length < 1e-3:  # the cell's vector runs along this axis: any other direction serves
        return _perpendicular(vector, (axis + 1) % 3)
    return unit / length


def _with_ghosts(
    wrapped: FloatArray,
    wrapping: FloatArray,
    frame: FloatArray,
    inverse: FloatArray,
    margin: FloatArray,
    pbc: npt.NDArray[np.bool_],
) -> tuple[FloatArray, IntArray, FloatArray]:
    """Append all images in the slab around the cell; return positions, owners, offsets to the originals."""
    n = len(wrapped)
    owner = np.arange(n)
    shifts = np.zeros((n, 3))
    fractional = wrapped @ inverse
    for axis in np.flatnonzero(pbc):
        # Axis after axis, images of images included.
        images = [(owner, shifts)]
        count = int(np.ceil(margin[axis]))
        here = fractional[owner, axis] + shifts[:, axis]
        for step in (s for s in range(-count, count + 1) if s != 0):
            inside = (here + step > -margin[axis]) & (here + step < 1.0 + margin[axis])
            moved = shifts[inside]
            moved[:, axis] += step
            images.append((owner[inside], moved))
        owner = np.concatenate([i[0] for i in images])
        shifts = np.concatenate([i[1] for i in images])
    image = shifts @ frame
    return wrapped[owner] + image, owner, wrapping[owner] + image


@numba.njit(cache=True, error_model="numpy")
def _fill(local, species, bins, shape, first, by_bin, layers, reach_squared, bounds, neighbors):  # type: ignore[no-untyped-def]
    """Write neighbors and bounds; return how many entries there are, written or not."""
    n, n_species = bounds.shape[0], bounds.shape[1] - 1
    capacity = neighbors.shape[0]
    sorted_x = local[by_bin, 0].copy()
    sorted_y = local[by_bin, 1].copy()
    sorted_z = local[by_bin, 2].copy()
    sorted_species = species[by_bin]
    found = np.empty((n_species, 1024), dtype=np.int32)
    counts = np.zeros(n_species, dtype=np.int64)
    squares = np.empty(len(by_bin))
    hits = np.empty(len(by_bin) + 1, dtype=np.int64)
    total = 0
    for i in range(n):
        x, y, z = local[i, 0], local[i, 1], local[i, 2]
        kind = species[i]
        ix = bins[i] % shape[0]
        iy = (bins[i] // shape[0]) % shape[1]
        iz = bins[i] // (shape[0] * shape[1])
        n_hits = 0
        for kz in range(max(iz - layers, 0), min(iz + layers, shape[2] - 1) + 1):
            for ky in range(max(iy - layers, 0), min(iy + layers, shape[1] - 1) + 1):
                row = (kz * shape[1] + ky) * shape[0]
                low = first[row + max(ix - layers, 0)]
                high = first[row + min(ix + layers, shape[0] - 1) + 1]
                # Two passes over a row of bins: distances, which the compiler vectorizes, then a
                # selection without a branch to guess wrongly.
                for k in range(low, high):
                    dx, dy, dz = sorted_x[k] - x, sorted_y[k] - y, sorted_z[k] - z
                    squares[k - low] = dx * dx + dy * dy + dz * dz
                for k in range(low, high):
                    hits[n_hits] = k
                    n_hits += squares[k - low] < reach_squared[kind, sorted_species[k]]
        if n_hits > found.shape[1]:
            found = np.empty((n_species, 2 * n_hits), dtype=np.int32)
        counts[:] = 0
        for h in range(n_hits):
            j = by_bin[hits[h]]
            s = species[j]
            found[s, counts[s]] = j
            counts[s] += j != i
        for s in range(n_species):
            bounds[i, s] = total
            if total + counts[s] <= capacity:
                neighbors[total : total + counts[s]] = found[s, : counts[s]]
            total += counts[s]
        bounds[i, n_species] = total
    return total
