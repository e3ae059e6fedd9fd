"""What each kind of input gives a model to read: per particle, and for the whole configuration."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from kakehashi_botan.graphs import particle_graph
from kakehashi_botan.shell_descriptors import REACH, n_local_descriptors, surroundings
from kakehashi_botan.snapshots import Snapshot

FloatArray = npt.NDArray[np.float64]
InputKind = Literal["TS", "IS", "TS+IS"]
"""Thermal structure, inherent structure, or the latter with the length of the quench displacement."""


def n_features(kind: InputKind, n_species: int, n_levels: int) -> int:
    """Return how many numbers ``particle_features`` gives a particle."""
    return n_levels * (n_local_descriptors(n_species) + (kind == "TS+IS"))


def particle_features(
    snapshot: Snapshot, kind: InputKind, *, n_species: int, n_levels: int
) -> FloatArray:
    """Return the rotation-invariant features of every particle, (n_atoms, n_features).

    Args:
        snapshot: A configuration; with an inherent structure unless ``kind`` is "TS".
        kind: What may be read. "TS" uses nothing that comes from a quench.
        n_species: Number of species of the mixture.
        n_levels: Local descriptors, their averages over neighbors, averages of averages, ...
    """
    positions, energies = snapshot.positions, snapshot.energies
    if kind != "TS":
        assert snapshot.inherent_positions is not None  # noqa: S101  said in the docstring
        assert snapshot.inherent_energies is not None  # noqa: S101
        positions, energies = snapshot.inherent_positions, snapshot.inherent_energies
    graph = particle_graph(positions, snapshot.types, snapshot.cell, cutoff=REACH)
    found = surroundings(graph, energies, n_species=n_species)
    extra = snapshot.quench_lengths if kind == "TS+IS" else None
    return found.levels(extra, n_levels=n_levels)


def global_features(snapshot: Snapshot, kind: InputKind) -> FloatArray:
    """Return energies per particle, epsilon_AA: thermal, and inherent unless ``kind`` is "TS".

    The mean propensity of a configuration follows its energies, better than any sum of local features.
    """
    if kind == "TS":
        return np.array([snapshot.thermal_energy])
    if kind == "IS":
        return np.array([snapshot.inherent_energy])
    return np.array([snapshot.thermal_energy, snapshot.inherent_energy])
