"""Displacement observables against loops over single particles, runs and images."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from kakehashi_botan.displacements import (
    displacement_lengths,
    edge_changes,
    edge_targets,
    mean_squared_displacement,
    minimum_image,
    overlap,
    propensity,
    self_scattering,
)
from kakehashi_botan.isoconfigurational_data import IsoconfigurationalData
from kakehashi_core.errors import InvalidInputError

ORTHORHOMBIC = np.diag([4.0, 5.0, 6.0])
TRICLINIC = np.array([[4.0, 0.0, 0.0], [1.9, 4.0, 0.0], [-1.7, 1.9, 4.5]])
VERY_SKEWED = np.array([[4.0, 0.0, 0.0], [7.5, 3.0, 0.0], [3.0, -5.0, 4.5]])
PLANE = np.array([[4.0, 0.0, 0.0], [1.9, 4.0, 0.0], [0.0, 0.0, 0.0]])
CELLS = {"box": ORTHORHOMBIC, "skewed": TRICLINIC, "very skewed": VERY_SKEWED, "plane": PLANE}


def ensemble(kind: str, sd: float = 0.5) -> IsoconfigurationalData:
    rng = np.random.default_rng(11)
    cell, flat = CELLS[kind], kind == "plane"
    start = rng.random((8, 3)) @ cell
    moved = start + sd * rng.standard_normal((2, 3, 8, 3))
    if flat:
        moved[..., 2] = 0.0
    return IsoconfigurationalData(
        types=np.array([0, 0, 1, 0, 0, 1, 0, 0]),
        initial_positions=start,
        positions=moved,
        cell=cell,
        pbc=[True, True, not flat],
        times=[1.0, 2.0],
        temperature=0.5,
    )


def nearest(vector: Any, cell: Any) -> float:
    """Shortest length over 15^3 images: enough for the cells here and vectors of a few cells."""
    shifts = np.array(list(product(range(-7, 8), repeat=3)))
    return float(np.linalg.norm(vector + shifts @ cell, axis=1).min())


@pytest.mark.parametrize("kind", CELLS)
def test_minimum_image_is_the_shortest_of_many_images(kind: str) -> None:
    """Oracle: brute force over 15^3 images, also where rounding of fractional coordinates fails."""
    cell, flat = CELLS[kind], kind == "plane"
    vectors = 3.0 * np.random.default_rng(5).standard_normal((40, 3)) * [1, 1, not flat]
    found = minimum_image(vectors, cell, [True, True, not flat])
    expected = [nearest(v, cell) for v in vectors]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), expected, atol=1e-12)
    full = cell + np.diag([0, 0, float(flat)])
    steps = (vectors - found) @ np.linalg.inv(full)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-10)
    assert np.abs(steps).max() > 0.5  # some vectors did cross


def test_rounding_fails_where_the_search_does_not() -> None:
    """Control for the test above: plain rounding is wrong in the very skewed cell."""
    vectors = 3.0 * np.random.default_rng(5).standard_normal((40, 3))
    fractional = vectors @ np.linalg.inv(VERY_SKEWED)
    rounded = (fractional - np.rint(fractional)) @ VERY_SKEWED
    shortest = minimum_image(vectors, VERY_SKEWED, [True] * 3)
    assert (np.linalg.norm(rounded, axis=1) > np.linalg.norm(shortest, axis=1) + 0.1).any()


def test_short_vectors_in_a_cell_with_a_hidden_short_lattice_vector() -> None:
    """Oracle: by hand, (1.8, 0) minus a - b = (0.1, -0.5); rounding keeps it, below half the edges."""
    cell = [[4.0, 0.0, 0.0], [3.9, 0.5, 0.0], [0.0, 0.0, 5.0]]
    found = minimum_image([[1.8, 0.0, 0.0]], cell, [True] * 3)
    np.testing.assert_allclose(found, [[1.7, 0.5, 0.0]], atol=1e-12)


def test_minimum_image_leaves_its_input_alone() -> None:
    vectors = np.full((2, 3), 3.0)
    minimum_image(vectors, ORTHORHOMBIC, [True] * 3)
    assert (vectors == 3.0).all()


@pytest.mark.parametrize("kind", CELLS)
def test_lengths_and_propensity(kind: str) -> None:
    """Oracle: loops over times, runs and particles; displacements beyond half the box stay as they are."""
    data = ensemble(kind, sd=3.0)
    lengths = np.empty((2, 3, 8))
    for k, run, i in np.ndindex(lengths.shape):
        lengths[k, run, i] = np.linalg.norm(data.positions[k, run, i] - data.initial_positions[i])
    assert lengths.max() > 4.0
    np.testing.assert_allclose(displacement_lengths(data, 1), lengths[1], rtol=1e-12)
    np.testing.assert_allclose(propensity(data), lengths.mean(axis=1), rtol=1e-12)
    only_b = propensity(data, species=1)
    np.testing.assert_allclose(only_b, lengths.mean(axis=1)[:, [2, 5]], rtol=1e-12)


@pytest.mark.parametrize("kind", CELLS)
def test_edge_targets(kind: str) -> None:
    """Oracle: loop over pairs, runs and images."""
    data = ensemble(kind)
    edges = np.array([[0, 1, 2, 7, 3], [1, 0, 5, 3, 6]])
    expected = np.zeros((2, 3, 5))
    for (k, run, e), _ in np.ndenumerate(expected):
        i, j = edges[:, e]
        now = nearest(data.positions[k, run, j] - data.positions[k, run, i], data.cell)
        before = nearest(data.initial_positions[j] - data.initial_positions[i], data.cell)
        expected[k, run, e] = now - before
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(edge_changes(data, edges, 1), expected[1], atol=1e-12)
    np.testing.assert_allclose(edge_targets(data, edges), expected.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(
        edge_targets(data, edges[::-1]), edge_targets(data, edges), atol=1e-12
    )


def test_wrapping_the_start_changes_nothing_for_edges() -> None:
    """Initial positions in another cell than the runs matter to propensities, not to bond lengths."""
    data = ensemble("skewed")
    edges = np.array([[0, 1], [4, 7]])
    moved = IsoconfigurationalData(
        types=data.types,
        initial_positions=data.initial_positions + data.cell[1] - 2 * data.cell[2],
        positions=data.positions,
        cell=data.cell,
        pbc=data.pbc,
        times=data.times,
        temperature=0.5,
    )
    np.testing.assert_allclose(edge_targets(moved, edges), edge_targets(data, edges), atol=1e-12)


@pytest.mark.parametrize("kind", ["box", "plane"])
def test_averages_over_runs_and_particles(kind: str) -> None:
    """Oracle: loops; the scattering function takes as many axes as there are dimensions."""
    data = ensemble(kind, sd=0.2)
    n_dimensions, chosen = data.n_dimensions, data.types == 0
    moved = (data.positions - data.initial_positions)[:, :, chosen]
    squared = (moved**2).sum(axis=-1)
    np.testing.assert_allclose(
        mean_squared_displacement(data), squared.mean(axis=(1, 2)), rtol=1e-12
    )
    scattering = np.cos(3.1 * moved[..., :n_dimensions]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(self_scattering(data, wavenumber=3.1), scattering, rtol=1e-12)
    near = (np.sqrt(squared) < 0.3).mean(axis=2)
    assert 0.0 < near.mean() < 1.0
    np.testing.assert_array_equal(overlap(data), near)
    everyone = mean_squared_displacement(data, species=None)
    assert not np.allclose(everyone, squared.mean(axis=(1, 2)))


@pytest.mark.parametrize("n_dimensions", [2, 3])
def test_gaussian_motion(n_dimensions: int) -> None:
    """Oracle: F_s = exp(-k^2 s^2 / 2), MSD = d s^2 for Gaussian steps of size s; 5 standard errors."""
    rng = np.random.default_rng(2)
    n_atoms, n_runs, s, k = 500, 40, 0.2, 7.25
    moved = s * rng.standard_normal((1, n_runs, n_atoms, 3)) * (np.arange(3) < n_dimensions)
    data = IsoconfigurationalData(
        types=np.zeros(n_atoms, int),
        initial_positions=np.zeros((n_atoms, 3)),
        positions=moved,
        cell=np.eye(3) * 50.0,
        pbc=[True, True, n_dimensions == 3],
        times=[1.0],
        temperature=1.0,
    )
    n = n_atoms * n_runs * n_dimensions
    assert self_scattering(data)[0] == pytest.approx(
        np.exp(-((k * s) ** 2) / 2), abs=5 * 0.7 / n**0.5
    )
    assert mean_squared_displacement(data)[0] / n_dimensions == pytest.approx(
        s**2, abs=5 * s**2 * (2 / n) ** 0.5
    )


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (np.zeros((3, 2), int), r"edge_index has shape \(3, 2\)"),
        (np.zeros((2, 3)), "dtype float64; integers"),
        (np.array([[0, 1], [1, 8]]), r"pair 1 of edge_index is \(1, 8\)"),
        (np.array([[-1], [1]]), r"is \(-1, 1\)"),
        (np.array([[3], [3]]), "two different particles"),
    ],
)
def test_wrong_edges_are_refused(edges: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        edge_targets(ensemble("box"), edges)


def test_no_edges_are_no_problem() -> None:
    assert edge_targets(ensemble("box"), np.zeros((2, 0), int)).shape == (2, 0)
    assert edge_targets(ensemble("skewed"), np.zeros((2, 0), int)).shape == (2, 0)
