"""What a particle sees around it, as rotation-invariant numbers, and their averages over its surroundings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import sph_harm_y

from kakehashi_botan.graphs import ParticleGraph
from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]

SHELL_CENTERS = np.linspace(0.8, 2.9, 22)
SHELL_WIDTH = 0.08
REACH = 3.15
"""Cutoff of the graph that the descriptors need: the last shell to three of its widths."""

BOND_ORDERS = (4, 6)
BOND_LENGTH, BOND_WIDTH = 1.35, 0.15
BOND_REACH = BOND_LENGTH + 5.0 * BOND_WIDTH

SMOOTHING_REACH = 2.0


def n_local_descriptors(n_species: int) -> int:
    """Return how many numbers describe a particle by itself."""
    return n_species * len(SHELL_CENTERS) + 1 + len(BOND_ORDERS)


def local_descriptors(
    graph: ParticleGraph, energies: npt.ArrayLike, *, n_species: int
) -> FloatArray:
    """Describe every particle of a structure by its shells of each species, energy and bond orders.

    Args:
        graph: All pairs up to ``REACH`` at least.
        energies: Energy of each particle, half of its pair energies, (n_atoms,), epsilon_AA.
        n_species: Number of species of the mixture, whether present or not.

    Returns:
        (n_atoms, n_local_descriptors(n_species)).

    Raises:
        InvalidInputError: If the graph is too short.

    Source:
        E. D. Cubuk et al., Phys. Rev. Lett. 114, 108001 (2015), for shells.
    """
    if graph.cutoff < REACH - 1e-9:
        raise InvalidInputError(
            f"the graph reaches to {graph.cutoff} sigma_AA; descriptors need {REACH}. Build it with "
            f"cutoff={REACH}."
        )
    # The far end of an edge is its source; edges of one destination stand together.
    neighbor, center = graph.edge_index
    lengths = graph.distances
    counts = []
    shells = np.exp(-0.5 * ((lengths[:, None] - SHELL_CENTERS) / SHELL_WIDTH) ** 2)
    for species in range(n_species):
        edges = np.flatnonzero(graph.types[neighbor] == species)
        gather = sparse.csr_array(
            (np.ones(len(edges)), (center[edges], edges)), shape=(graph.n_atoms, len(lengths))
        )
        counts.append(gather @ shells)
    orders = _bond_orders(graph, lengths)
    return np.column_stack([*counts, np.asarray(energies, dtype=float), orders])


def smoothing_operator(
    edge_index: npt.NDArray[np.integer], lengths: npt.ArrayLike, n_atoms: int
) -> sparse.csr_array:
    """Return what averages a field over each particle and its neighbors with weights exp(-r).

    Args:
        edge_index: Sources and destinations of all pairs up to ``SMOOTHING_REACH``, (2, n_edges).
        lengths: Their distances, (n_edges,), sigma_AA.
        n_atoms: Number of particles.

    Returns:
        Rows sum to one, (n_atoms, n_atoms).

    Source:
        E. Boattini, F. Smallenburg, L. Filion, Phys. Rev. Lett. 127, 088007 (2021).
    """
    neighbor, center = edge_index
    weights = sparse.coo_array(
        (np.exp(-np.asarray(lengths, dtype=float)), (center, neighbor)), shape=(n_atoms, n_atoms)
    ).tocsr() + sparse.eye_array(n_atoms, format="csr")
    scale = sparse.dia_array((1.0 / weights.sum(axis=1)[None], [0]), shape=(n_atoms, n_atoms))
    return sparse.csr_array(scale @ weights)


def smoothed_levels(local: FloatArray, smoothing: sparse.csr_array, *, n_levels: int) -> FloatArray:
    """Return local descriptors followed by their averages, averages of averages, and so on.

    Args:
        local: (n_atoms, n_columns).
        smoothing: From ``smoothing_operator``.
        n_levels: How many blocks; 1 for the local ones alone.

    Returns:
        (n_atoms, n_levels * n_columns).
    """
    blocks = [local]
    while len(blocks) < n_levels:
        blocks.append(smoothing @ blocks[-1])
    return np.concatenate(blocks, axis=1)


def _bond_orders(graph: ParticleGraph, lengths: FloatArray) -> FloatArray:
    """Return the rotation-invariant bond orders of Steinhardt et al. with smooth weights, (n_atoms, 2)."""
    n = graph.n_atoms
    near = lengths < BOND_REACH
    center, vectors, r = graph.edge_index[1, near], graph.edge_vectors[near], lengths[near]
    weights = np.where(r < BOND_LENGTH, 1.0, np.exp(-0.5 * ((r - BOND_LENGTH) / BOND_WIDTH) ** 2))
    total = np.maximum(np.bincount(center, weights, n), 1e-12)
    polar = np.arccos(np.clip(vectors[:, 2] / r, -1.0, 1.0))
    azimuth = np.arctan2(vectors[:, 1], vectors[:, 0])
    orders = np.zeros((n, len(BOND_ORDERS)))
    for column, degree in enumerate(BOND_ORDERS):
        square = np.zeros(n)
        for m in range(degree + 1):
            wave = sph_harm_y(degree, m, polar, azimuth) * weights
            mean = (
                np.bincount(center, wave.real, n) + 1j * np.bincount(center, wave.imag, n)
            ) / total
            square += (1 if m == 0 else 2) * np.abs(mean) ** 2
        orders[:, column] = np.sqrt(4.0 * np.pi / (2 * degree + 1) * square)
    return orders
