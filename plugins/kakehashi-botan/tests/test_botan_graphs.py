"""Particle graphs: pairs against a brute-force search, symmetries against moved configurations."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from kakehashi_botan.graphs import (
    ParticleGraph,
    augmented,
    cube_group,
    particle_graph,
    reverse_edges,
    structure_pair_graph,
)
from kakehashi_core.errors import InvalidInputError

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "botan"
CELLS = {
    "cube": np.diag([4.5, 4.5, 4.5]),
    "orthorhombic": np.diag([4.1, 5.0, 6.5]),
    "triclinic": np.array([[5.0, 0.0, 0.0], [1.7, 4.9, 0.0], [-1.2, 1.5, 4.7]]),
    "left-handed": np.array([[0.0, 5.0, 0.3], [5.2, 0.0, 0.0], [0.4, 0.0, 4.8]]),
}


def random_system(
    cell: npt.NDArray[np.float64], seed: int = 0, n: int = 60
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    return rng.random((n, 3)) @ cell, rng.integers(0, 2, n).astype(np.int8)


def brute_force(
    positions: npt.NDArray[np.float64], cell: npt.NDArray[np.float64], cutoff: float
) -> dict[tuple[int, int], npt.NDArray[np.float64]]:
    """All (source, destination) within the cutoff, looked for in 125 images."""
    shifts = np.array(list(itertools.product(range(-2, 3), repeat=3))) @ cell
    found = {}
    for i, j in itertools.permutations(range(len(positions)), 2):
        images = positions[j] - positions[i] + shifts
        nearest = images[np.argmin(np.linalg.norm(images, axis=1))]
        if 1e-6 < np.linalg.norm(nearest) < cutoff:
            found[i, j] = nearest
    return found


@pytest.mark.parametrize("name", CELLS)
def test_edges_are_all_pairs_within_the_cutoff(name: str) -> None:
    """Oracle: every pair and 125 images, one by one; vectors point from source to destination."""
    cell = CELLS[name]
    positions, types = random_system(cell)
    graph = particle_graph(positions, types, cell)
    expected = brute_force(positions, cell, 2.0)
    assert len(expected) > 300
    assert list(zip(*graph.edge_index.tolist(), strict=True)) == sorted(
        expected, key=lambda edge: (edge[1], edge[0])
    )
    for source, destination, vector in zip(*graph.edge_index, graph.edge_vectors, strict=True):
        np.testing.assert_allclose(vector, expected[source, destination], atol=1e-12)
    assert graph.types.tolist() == types.tolist()
    assert (graph.n_atoms, graph.n_edges) == (60, len(expected))
    np.testing.assert_allclose(graph.distances, np.linalg.norm(graph.edge_vectors, axis=1))


@pytest.mark.parametrize("name", CELLS)
def test_shifted_and_unwrapped_input_gives_the_same_graph(name: str) -> None:
    """Oracle: the graph of the wrapped configuration."""
    cell = CELLS[name]
    positions, types = random_system(cell, seed=1)
    graph = particle_graph(positions, types, cell)
    rng = np.random.default_rng(2)
    for moved in (
        positions + rng.integers(-6, 7, positions.shape) @ cell,
        positions + rng.normal(size=3),
    ):
        other = particle_graph(moved, types, cell)
        np.testing.assert_array_equal(other.edge_index, graph.edge_index)
        np.testing.assert_allclose(other.edge_vectors, graph.edge_vectors, atol=1e-11)


def test_particles_on_the_faces_of_the_box() -> None:
    """Oracle: brute force; coordinates 0, L, the numbers next to them, and x mod L = L."""
    length = 5.0
    below = np.nextafter(length, 0.0)
    values = (0.0, length, below, -1e-18, 1.3, -length)
    positions = np.array([(x, 0.4 * k, 0.1 * k * k) for k, x in enumerate(values)])
    cell = np.eye(3) * length
    graph = particle_graph(positions, np.zeros(len(values), int), cell)
    expected = brute_force(positions, cell, 2.0)
    assert set(zip(*graph.edge_index.tolist(), strict=True)) == set(expected)
    assert len(expected) > 10


def test_permuted_particles() -> None:
    """Oracle: the same graph under new numbers."""
    cell = CELLS["triclinic"]
    positions, types = random_system(cell)
    graph = particle_graph(positions, types, cell)
    new = np.random.default_rng(3).permutation(len(types))
    permuted = particle_graph(positions[new], types[new], cell)
    edges = {
        (int(new[i]), int(new[j])): vector
        for i, j, vector in zip(*permuted.edge_index, permuted.edge_vectors, strict=True)
    }
    assert permuted.n_edges == graph.n_edges
    for i, j, vector in zip(*graph.edge_index, graph.edge_vectors, strict=True):
        np.testing.assert_allclose(edges[int(i), int(j)], vector, atol=1e-12)


def test_reverse_of_each_edge() -> None:
    """Oracle: definition; opposite vectors are equal to the last bit."""
    positions, types = random_system(CELLS["triclinic"])
    graph = particle_graph(positions, types, CELLS["triclinic"])
    reverse = reverse_edges(graph)
    np.testing.assert_array_equal(graph.edge_index[:, reverse], graph.edge_index[::-1])
    np.testing.assert_array_equal(graph.edge_vectors[reverse], -graph.edge_vectors)
    np.testing.assert_array_equal(reverse[reverse], np.arange(graph.n_edges))


@pytest.mark.parametrize("name", CELLS)
def test_structure_pairs_join_two_graphs(name: str) -> None:
    """Oracle: brute force in each structure; no displacement is near half a box here."""
    cell = CELLS[name]
    thermal, types = random_system(cell)
    rng = np.random.default_rng(4)
    steps = rng.normal(scale=0.1, size=thermal.shape)
    inherent = thermal + steps + rng.integers(-2, 3, thermal.shape) @ cell
    graph = structure_pair_graph(thermal, inherent, types, cell)
    before, after = (brute_force(each, cell, 2.0) for each in (thermal, thermal + steps))
    edges = list(zip(*graph.edge_index.tolist(), strict=True))
    assert len(set(before) - set(after)) > 10
    assert len(set(after) - set(before)) > 10
    assert edges == sorted(set(before) | set(after), key=lambda edge: (edge[1], edge[0]))
    np.testing.assert_allclose(graph.displacements, steps, atol=1e-12)
    for edge, old, new in zip(edges, graph.thermal_vectors, graph.inherent_vectors, strict=True):
        if edge in before:
            np.testing.assert_allclose(old, before[edge], atol=1e-12)
        if edge in after and edge not in before:
            np.testing.assert_allclose(new, after[edge], atol=1e-12)
        step = steps[edge[1]] - steps[edge[0]]
        np.testing.assert_allclose(new - old, step, atol=1e-12)
    reverse = reverse_edges(graph)
    np.testing.assert_array_equal(graph.thermal_vectors[reverse], -graph.thermal_vectors)
    np.testing.assert_array_equal(graph.inherent_vectors[reverse], -graph.inherent_vectors)


def test_cube_group_is_the_octahedral_group() -> None:
    """Oracle: group axioms; 48 signed permutations, half of them rotations."""
    group = cube_group()
    elements = {element.astype(int).tobytes() for element in group}
    assert group.shape == (48, 3, 3)
    assert len(elements) == 48
    np.testing.assert_array_equal(group[0], np.eye(3))
    np.testing.assert_array_equal(
        group @ group.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (48, 3, 3))
    )
    assert np.linalg.det(group).round().sum() == 0
    products = (group[:, None] @ group[None]).reshape(-1, 3, 3)
    assert {product.astype(int).tobytes() for product in products} == elements


def test_augmentation_is_the_graph_of_the_moved_configuration() -> None:
    """Oracle: positions and cell under the same matrix; the given graph stays as it was."""
    cell = CELLS["triclinic"]
    positions, types = random_system(cell)
    inherent = positions + np.random.default_rng(5).normal(scale=0.1, size=positions.shape)
    graph = particle_graph(positions, types, cell)
    pair = structure_pair_graph(positions, inherent, types, cell)
    before = graph.edge_vectors.copy()
    for element in range(0, 48, 5):
        matrix = cube_group()[element].T
        moved = particle_graph(positions @ matrix, types, cell @ matrix)
        found = augmented(graph, element)
        np.testing.assert_array_equal(found.edge_index, moved.edge_index)
        np.testing.assert_allclose(found.edge_vectors, moved.edge_vectors, atol=1e-12)
        moved_pair = structure_pair_graph(
            positions @ matrix, inherent @ matrix, types, cell @ matrix
        )
        found_pair = augmented(pair, element)
        for name in ("thermal_vectors", "inherent_vectors", "displacements"):
            np.testing.assert_allclose(
                getattr(found_pair, name), getattr(moved_pair, name), atol=1e-12
            )
    np.testing.assert_array_equal(graph.edge_vectors, before)
    assert np.abs(augmented(graph, 7).edge_vectors - before).max() > 1.0
    with pytest.raises(InvalidInputError, match="elements 0 to 47, got 48"):
        augmented(graph, 48)


def test_graph_cannot_be_changed_and_leaves_the_arrays_of_the_caller_alone() -> None:
    positions, types = random_system(CELLS["cube"])
    before = positions.copy()
    graph = particle_graph(positions, types, CELLS["cube"])
    with pytest.raises(ValueError, match="read-only"):
        graph.edge_vectors[0] = 0.0
    vectors = np.ones((2, 3))
    ParticleGraph(
        types=np.array([0, 1]),
        edge_index=np.array([[1, 0], [0, 1]]),
        edge_vectors=vectors,
        cutoff=2.0,
    )
    vectors[0] = 5.0  # still writable
    np.testing.assert_array_equal(positions, before)
    assert types.flags.writeable


def test_data_of_torch_geometric() -> None:
    """Oracle: the graph itself; torch_geometric finds the edges sorted by destination."""
    positions, types = random_system(CELLS["cube"])
    graph = particle_graph(positions, types, CELLS["cube"])
    data = graph.to_data(dtype="float64")
    assert data.is_sorted(sort_by_row=False)
    assert not data.has_self_loops()
    assert (data.num_nodes, data.num_edges) == (60, graph.n_edges)
    np.testing.assert_array_equal(data.edge_attr.numpy(), graph.edge_vectors)
    assert graph.to_data().edge_attr.dtype == torch.float32
    pair = structure_pair_graph(positions, positions, types, CELLS["cube"]).to_data()
    assert torch.equal(pair.thermal_vectors, pair.inherent_vectors)
    assert pair.displacements.shape == (60, 3)


def test_overlapping_particles_share_no_edge() -> None:
    """Oracle: definition of the original graph, distance > 1e-6."""
    positions = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0 + 1e-7], [1.0, 1.0, 2.0]])
    graph = particle_graph(positions, np.zeros(3, int), np.eye(3) * 5)
    assert set(zip(*graph.edge_index.tolist(), strict=True)) == {(0, 2), (2, 0), (1, 2), (2, 1)}


def test_particles_without_neighbors() -> None:
    graph = particle_graph([[1.0, 1.0, 1.0]], [0], np.eye(3) * 5)
    assert graph.n_edges == 0
    assert reverse_edges(graph).shape == (0,)


CUBE = np.eye(3) * 5.0
BAD_INPUT = {
    "box shorter": (
        {"cell": np.diag([5.0, 5.0, 3.99])},
        "3.99 sigma_AA high .* twice the cutoff, 4,",
    ),
    "sheared flat": (
        {"cell": [[5.0, 0.0, 0.0], [4.0, 3.0, 0.0], [0.0, 0.0, 5.0]]},
        "3 sigma_AA high at its narrowest",
    ),
    "no volume": ({"cell": np.zeros((3, 3))}, "0 sigma_AA high"),
    "not periodic": ({"pbc": False}, "pbc is False"),
    "slab": ({"pbc": [True, True, False]}, r"pbc is \[True, True, False\].*periodic boxes only"),
    "nan": ({"positions": [[0.0, 0.0, 0.0], [0.0, np.nan, 0.0]]}, "position 1 is"),
    "empty": ({"positions": np.zeros((0, 3)), "types": []}, "at least one particle"),
    "flat positions": ({"positions": np.zeros((2, 2))}, r"expected \(n_atoms, 3\)"),
    "types": ({"types": [0]}, "one for each of the 2 particles"),
    "float types": ({"types": [0.0, 1.0]}, "types must be integers"),
    "negative types": ({"types": [0, -1]}, "with values from -1"),
    "cutoff": ({"cutoff": -1.0}, "cutoff must be a positive length"),
    "nan cell": ({"cell": np.full((3, 3), np.nan)}, "three finite lattice vectors"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_refused(name: str) -> None:
    changes, message = BAD_INPUT[name]
    arguments = {"positions": np.zeros((2, 3)), "types": [0, 1], "cell": CUBE, **changes}
    with pytest.raises(InvalidInputError, match=message):
        particle_graph(**arguments)


def test_graphs_that_hang_together_wrongly_are_refused() -> None:
    arrays = {"types": np.array([0, 1]), "edge_vectors": np.ones((2, 3)), "cutoff": 2.0}
    with pytest.raises(InvalidInputError, match="sorted by destination"):
        ParticleGraph(edge_index=np.array([[0, 1], [1, 0]]), **arrays)
    with pytest.raises(InvalidInputError, match=r"edge_vectors has shape \(2, 3\)"):
        ParticleGraph(edge_index=np.array([[1], [0]]), **arrays)


@pytest.mark.parametrize(
    ("number", "n_edges", "n_bonds"), [(401, 166240, 35936), (402, 166706, 36004)]
)
def test_public_configurations(number: int, n_edges: int, n_bonds: int) -> None:
    """Oracle: edge counts of the published configurations, found with dense distance matrices."""
    path = DATA / f"isoconfig_N4096T0.44_{number}_tc07.npz"
    if not path.is_file():
        pytest.skip("the public configurations are not on this machine")
    with np.load(path) as data:
        graph = particle_graph(
            data["initial_positions"], data["types"], np.eye(3) * (4096 / 1.2) ** (1 / 3)
        )
    assert graph.n_edges == n_edges
    both_a = (graph.types[graph.edge_index] == 0).all(axis=0)
    assert int((both_a & (graph.distances < 1.35)).sum()) == n_bonds
