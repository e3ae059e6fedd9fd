"""What each kind of input gives a model to read: of every particle, of every pair, of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from kakehashi_botan.displacements import minimum_image
from kakehashi_botan.graphs import DEFAULT_CUTOFF, ParticleGraph, particle_graph
from kakehashi_botan.shell_descriptors import (
    REACH,
    SMOOTHING_REACH,
    local_descriptors,
    n_local_descriptors,
    smoothed_levels,
    smoothing_operator,
)
from kakehashi_botan.snapshots import Snapshot
from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
InputKind = Literal["TS", "IS", "TS+IS"]
"""Thermal structure, inherent structure, or the latter with the thermal one beside it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StructureReading:
    """What a model of one kind reads of a snapshot.

    Attributes:
        descriptors: Rotation-invariant numbers of each particle, (n_atoms, n_descriptors(kind, n_species)).
        types: Species, (n_atoms,).
        edge_index: Source and destination of all pairs closer than 2 sigma_AA in the structure that the
            descriptors are of, both directions, (2, n_edges).
        lengths: Their distances, (n_edges,), sigma_AA.
        pair_index: Pairs closer than 2 sigma_AA in the thermal structure, each once, (2, n_pairs).
        pair_lengths: Their distances, (n_pairs, 1) thermal or inherent, or (n_pairs, 2) both.
        configuration: Energies per particle, epsilon_AA: thermal, inherent, or both.
    """

    descriptors: FloatArray
    types: IntArray
    edge_index: IntArray
    lengths: FloatArray
    pair_index: IntArray
    pair_lengths: FloatArray
    configuration: FloatArray

    def levels(self, n_levels: int) -> FloatArray:
        """Return descriptors and their repeated averages, (n_atoms, n_levels * n_descriptors)."""
        smoothing = smoothing_operator(self.edge_index, self.lengths, len(self.types))
        return smoothed_levels(self.descriptors, smoothing, n_levels=n_levels)


def n_descriptors(kind: InputKind, n_species: int) -> int:
    """Return how many numbers describe a particle."""
    return n_local_descriptors(n_species) + (kind == "TS+IS")


def read_structure(snapshot: Snapshot, kind: InputKind, *, n_species: int) -> StructureReading:
    """Return what a model may read.

    Args:
        snapshot: A configuration; with an inherent structure unless ``kind`` is "TS".
        kind: "TS" uses nothing that comes from a quench; "IS" nothing but the inherent structure (which pairs
            it is asked about is a matter of the thermal one); "TS+IS" also how far the quench moved each
            particle, and both distances of each pair.
        n_species: Number of species of the mixture.

    Raises:
        InvalidInputError: If the box is shorter than 6.3 sigma_AA, or there is no inherent structure.
    """
    thermal = kind == "TS"
    if not thermal and snapshot.inherent_positions is None:
        raise InvalidInputError(
            f"input {kind} needs an inherent structure, and this snapshot has none; take it with quench=True"
        )
    positions = snapshot.positions if thermal else snapshot.inherent_positions
    energies = snapshot.energies if thermal else snapshot.inherent_energies
    assert positions is not None  # noqa: S101  for the type checker
    assert energies is not None  # noqa: S101
    graph = particle_graph(positions, snapshot.types, snapshot.cell, cutoff=REACH)
    descriptors = local_descriptors(graph, energies, n_species=n_species)
    if kind == "TS+IS":
        descriptors = np.column_stack([descriptors, snapshot.quench_lengths])
    asked = graph
    if not thermal:
        asked = particle_graph(
            snapshot.positions, snapshot.types, snapshot.cell, cutoff=DEFAULT_CUTOFF
        )
    pair_index, thermal_lengths = _pairs(asked)
    columns = [] if kind == "IS" else [thermal_lengths]
    if not thermal:
        ends = positions[pair_index[1]] - positions[pair_index[0]]
        images = minimum_image(ends, snapshot.cell, np.ones(3, dtype=bool))
        columns.append(np.linalg.norm(images, axis=1))
    near = graph.distances < SMOOTHING_REACH
    return StructureReading(
        descriptors=descriptors,
        types=snapshot.types,
        edge_index=graph.edge_index[:, near],
        lengths=graph.distances[near],
        pair_index=pair_index,
        pair_lengths=np.column_stack(columns),
        configuration=configuration_features(snapshot, kind),
    )


def configuration_features(snapshot: Snapshot, kind: InputKind) -> FloatArray:
    """Return energies per particle, epsilon_AA: thermal unless ``kind`` is "IS", inherent unless "TS".

    The mean propensity of a configuration follows its energies, better than any sum of local features.
    """
    if kind == "TS":
        return np.array([snapshot.thermal_energy])
    if kind == "IS":
        return np.array([snapshot.inherent_energy])
    return np.array([snapshot.thermal_energy, snapshot.inherent_energy])


def _pairs(graph: ParticleGraph) -> tuple[IntArray, FloatArray]:
    """Return pairs closer than ``DEFAULT_CUTOFF``, first < second, and their distances."""
    first, second = graph.edge_index
    lengths = graph.distances
    kept = (first < second) & (lengths < DEFAULT_CUTOFF)
    return graph.edge_index[:, kept], lengths[kept]
