"""How far particles moved: propensities, bond changes, and their averages over runs. Reduced units.

Every function takes the unwrapped trajectories of ``IsoconfigurationalData`` and works run by run, so that
memory stays at a few arrays of one run.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kakehashi_botan.isoconfigurational_data import (
    FloatArray,
    IntArray,
    IsoconfigurationalData,
    spanning_cell,
)
from kakehashi_core.errors import InvalidInputError

WAVENUMBER = 7.25
"""First maximum of the A-A structure factor of the Kob-Andersen mixture at density 1.2, in 1/sigma_AA."""

OVERLAP_LENGTH = 0.3
"""How far a particle may move and still count as not having left, in sigma_AA."""

_CHUNK = 65_536
"""Vectors handed to the general minimum-image search at a time; each is compared with 27 images."""


def displacement_lengths(
    data: IsoconfigurationalData, time_index: int = 0, *, species: int | None = None
) -> FloatArray:
    """Return how far every particle is from its start in each run, (n_runs, n_selected), in sigma_AA.

    Args:
        data: The ensemble.
        time_index: Which of its times.
        species: Only particles of this type, in their order; None for all.
    """
    k, chosen = data.checked_time_index(time_index), data.mask(species)
    start = data.initial_positions[chosen]
    lengths = np.empty((data.n_runs, len(start)))
    for run in range(data.n_runs):
        lengths[run] = _norm(data.positions[k, run, chosen] - start)
    return lengths


def propensity(data: IsoconfigurationalData, *, species: int | None = None) -> FloatArray:
    """Return the mean displacement length of every particle, (n_times, n_selected), in sigma_AA.

    Args:
        data: The ensemble.
        species: Only particles of this type, in their order; None for all.

    Source:
        Widmer-Cooper, Harrowell, Fynewever, Phys. Rev. Lett. 93, 135701 (2004).
    """
    return np.stack(
        [displacement_lengths(data, k, species=species).mean(axis=0) for k in range(data.n_times)]
    )


def edge_changes(
    data: IsoconfigurationalData, edge_index: npt.ArrayLike, time_index: int = 0
) -> FloatArray:
    """Return the change of the distance of given pairs in each run, (n_runs, n_edges), in sigma_AA.

    Args:
        data: The ensemble.
        edge_index: Particles of each pair, (2, n_edges).
        time_index: Which of its times.

    Raises:
        InvalidInputError: If a pair is not one of two different particles.
    """
    first, second = _checked_edges(edge_index, data.n_atoms)
    k = data.checked_time_index(time_index)
    before = _distances(data, data.initial_positions, first, second)
    changes = np.empty((data.n_runs, len(first)))
    for run in range(data.n_runs):
        changes[run] = _distances(data, data.positions[k, run], first, second) - before
    return changes


def edge_targets(data: IsoconfigurationalData, edge_index: npt.ArrayLike) -> FloatArray:
    """Return the mean change of the distance of given pairs, (n_times, n_edges), in sigma_AA.

    Distances are those of the nearest images, at the start and later. The result is symmetric in the two
    particles of a pair.

    Args:
        data: The ensemble.
        edge_index: Particles of each pair, (2, n_edges); BOTAN takes all pairs closer than 2 sigma_AA at the
            start.

    Raises:
        InvalidInputError: If a pair is not one of two different particles.

    Source:
        Shiba, Hanai, Suzumura, Shimokawabe, J. Chem. Phys. 158, 084503 (2023).
    """
    first, second = _checked_edges(edge_index, data.n_atoms)
    before = _distances(data, data.initial_positions, first, second)
    targets = np.zeros((data.n_times, len(first)))
    for k in range(data.n_times):
        for run in range(data.n_runs):
            targets[k] += _distances(data, data.positions[k, run], first, second)
    return targets / data.n_runs - before


def mean_squared_displacement(
    data: IsoconfigurationalData, *, species: int | None = 0
) -> FloatArray:
    """Return <|r(t) - r(0)|^2> over runs and particles of a species, (n_times,), in sigma_AA^2."""
    lengths = (displacement_lengths(data, k, species=species) for k in range(data.n_times))
    return np.array([np.mean(values**2) for values in lengths])


def self_scattering(
    data: IsoconfigurationalData, *, wavenumber: float = WAVENUMBER, species: int | None = 0
) -> FloatArray:
    """Return the self-intermediate scattering function F_s(k, t), (n_times,), dimensionless.

    Averaged over runs, particles of a species, and wave vectors along the axes (two of them in two
    dimensions).

    Args:
        data: The ensemble.
        wavenumber: k, in 1/sigma_AA.
        species: Only particles of this type; None for all.
    """
    chosen, axes = data.mask(species), slice(0, data.n_dimensions)
    start = data.initial_positions[chosen, axes]
    scattering = np.zeros(data.n_times)
    for k, run in np.ndindex(data.n_times, data.n_runs):
        moved = data.positions[k, run, chosen, axes] - start
        scattering[k] += np.cos(wavenumber * moved).mean()
    return scattering / data.n_runs


def overlap(
    data: IsoconfigurationalData, *, length: float = OVERLAP_LENGTH, species: int | None = 0
) -> FloatArray:
    """Return the share of particles that moved less than ``length``, (n_times, n_runs), dimensionless.

    Args:
        data: The ensemble.
        length: In sigma_AA.
        species: Only particles of this type; None for all.
    """
    lengths = (displacement_lengths(data, k, species=species) for k in range(data.n_times))
    return np.stack([(values < length).mean(axis=1) for values in lengths])


def minimum_image(vectors: npt.ArrayLike, cell: npt.ArrayLike, pbc: npt.ArrayLike) -> FloatArray:
    """Return the shortest vectors that differ from ``vectors`` by lattice vectors.

    Args:
        vectors: (n_vectors, 3).
        cell: Rows are lattice vectors, (3, 3), however skewed.
        pbc: Periodic directions, (3,).

    Returns:
        (n_vectors, 3).

    Source:
        Rounding for orthorhombic cells. Otherwise ASE's search over images; the cell is reduced first,
        because that search trusts rounding whenever vectors are shorter than half of the given cell vectors.
    """
    box, periodic = spanning_cell(cell, pbc), np.asarray(pbc, dtype=bool)
    shortest = np.array(vectors, dtype=float)
    if np.array_equal(box, np.diag(np.diag(box))):
        lengths = np.diag(box)[periodic]
        shortest[:, periodic] -= lengths * np.rint(shortest[:, periodic] / lengths)
        return shortest
    from ase.geometry import find_mic, minkowski_reduce

    reduced, _ = minkowski_reduce(box, pbc=periodic)
    for begin in range(0, len(shortest), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        shortest[part] = find_mic(shortest[part], reduced, pbc=periodic)[0]
    return shortest


def _distances(
    data: IsoconfigurationalData, positions: FloatArray, first: IntArray, second: IntArray
) -> FloatArray:
    return _norm(minimum_image(positions[second] - positions[first], data.cell, data.pbc))


def _norm(vectors: FloatArray) -> FloatArray:
    lengths: FloatArray = np.sqrt(np.einsum("ia,ia->i", vectors, vectors))
    return lengths


def _checked_edges(edge_index: npt.ArrayLike, n_atoms: int) -> tuple[IntArray, IntArray]:
    edges = np.asarray(edge_index)
    if edges.ndim != 2 or len(edges) != 2 or edges.dtype.kind not in "iu":
        raise InvalidInputError(
            f"edge_index has shape {edges.shape} and dtype {edges.dtype}; integers of shape (2, n_edges) "
            "are needed. Transpose a list of pairs."
        )
    first, second = edges.astype(np.int64)
    wrong = (edges < 0).any(axis=0) | (edges >= n_atoms).any(axis=0) | (first == second)
    if wrong.any():
        column = int(np.argmax(wrong))
        raise InvalidInputError(
            f"pair {column} of edge_index is ({first[column]}, {second[column]}); a pair is two different "
            f"particles from 0 to {n_atoms - 1}. Boxes so small that a particle sees its own image are too "
            "small."
        )
    return first, second
