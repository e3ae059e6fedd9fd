"""Lattices and their shells."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from kakehashi_core.errors import InvalidInputError, UnknownNameError
from kakehashi_slmc.distance_shells import distance_shells
from kakehashi_slmc.lattices import bipartition, lattice, lattice_of


@pytest.mark.parametrize(
    ("name", "lengths", "neighbors", "bipartite"),
    [
        ("chain", (6,), 2, True),
        ("square", (4, 6), 4, True),
        ("triangular", (4, 5), 6, False),
        ("cubic", (4, 4, 4), 6, True),
    ],
)
def test_neighbors_by_distance(name, lengths, neighbors, bipartite):
    """Oracle: pairs one lattice constant apart, counted from positions."""
    found = lattice(name, lengths)
    shells = distance_shells(found.positions, found.cell)
    assert np.array_equal(found.hopping != 0, shells.labels == 1)
    assert (np.abs(found.hopping).sum(axis=1) == neighbors).all()
    assert (found.sublattice is not None) is bipartite
    if bipartite:
        i, j = np.nonzero(found.hopping)
        assert (found.sublattice[i] == -found.sublattice[j]).all()


@pytest.mark.parametrize("name", ["chain", "square", "triangular", "cubic"])
def test_second_neighbors(name):
    """Oracle: the second shell of distance."""
    found = lattice(name, {"chain": (7,), "cubic": (5, 5, 5)}.get(name, (6, 7)), t=0.0, t_prime=1.0)
    shells = distance_shells(found.positions, found.cell)
    assert np.array_equal(found.hopping != 0, shells.labels == 2)


def test_free_electrons():
    """Oracle: -2 t cos k with k shifted by the twist; open chains."""
    ring = lattice("chain", (8,), twist=(0.3,))
    k = (2 * np.pi * np.arange(8) + 0.3) / 8
    assert np.linalg.eigvalsh(ring.hopping) == pytest.approx(np.sort(-2 * np.cos(k)))
    chain = lattice("chain", (5,), periodic=False)
    k = np.pi * np.arange(1, 6) / 6
    assert np.linalg.eigvalsh(chain.hopping) == pytest.approx(np.sort(-2 * np.cos(k)))
    torus = lattice("square", (2, 2))
    assert np.abs(torus.hopping).max() == 2.0  # both ways around


@pytest.mark.parametrize(
    ("lengths", "counts"),
    [
        ((4, 4), [4, 4, 2, 4, 1]),
        ((6, 6), [4, 4, 4, 8, 4, 2, 4, 4, 1]),
    ],
)
def test_shells_of_the_square_lattice(lengths, counts):
    """Oracle: the table of the literature, z_n of each class (|dx|, |dy|)."""
    found = lattice("square", lengths)
    shells = distance_shells(found.positions, found.cell)
    assert shells.counts.tolist() == counts
    assert (shells.labels == shells.labels.T).all()
    assert shells.adjacency(1).sum(axis=1) == pytest.approx(np.ones(len(shells.labels)))
    assert np.array_equal(shells.adjacency(0), np.eye(shells.n_sites))
    with pytest.raises(InvalidInputError, match="there are"):
        shells.adjacencies(99)


def test_equal_distances_that_are_no_equals():
    """Oracle: (0, 5) and (3, 4) on the open square lattice have four and eight members in the bulk."""
    found = lattice("square", (8, 8))
    shells = distance_shells(found.positions, found.cell)
    assert shells.n_shells == 14
    assert shells.counts.sum() == 63
    large = lattice("square", (11, 11))
    five = distance_shells(large.positions, large.cell)
    at_five = np.flatnonzero(np.abs(five.distances - 5.0) < 1e-6)
    assert sorted(five.counts[at_five].tolist()) == [4.0, 8.0]


def test_atoms_become_a_lattice():
    """Oracle: the square lattice by name; images of a small cell add up."""
    sites = np.indices((4, 4, 1)).reshape(3, -1).T * 3.0
    atoms = Atoms("Mn16", positions=sites, cell=[12, 12, 20], pbc=(True, True, False))
    found = lattice_of(atoms, cutoff=3.5, hopping=0.5)
    assert np.array_equal(found.hopping, 0.5 * lattice("square", (4, 4)).hopping)
    small = Atoms("Mn4", positions=sites[[0, 1, 4, 5]], cell=[6, 6, 20], pbc=(True, True, False))
    assert lattice_of(small, cutoff=3.5).hopping.min() == -2.0
    far = lattice_of(atoms, cutoff=4.5, hopping=lambda d: np.exp(-d))
    assert far.hopping.min() == pytest.approx(-np.exp(-3.0))
    with pytest.raises(InvalidInputError, match=r"cutoff = 1\.0"):
        lattice_of(atoms, cutoff=1.0)


def test_bipartition_of_an_odd_ring_is_impossible():
    assert bipartition(lattice("chain", (5,)).hopping) is None
    assert bipartition(lattice("chain", (4,)).hopping).tolist() == [1, -1, 1, -1]
    with_sites = lattice("chain", (4,)).hopping + np.diag([0.5, 0.0, 0.0, 0.0])
    assert bipartition(with_sites).tolist() == [1, -1, 1, -1]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("kagome", (3, 3)), {}, UnknownNameError, "kagome"),
        (("square", (3,)), {}, InvalidInputError, "2 positive numbers"),
        (("square", (0, 3)), {}, InvalidInputError, "2 positive numbers"),
        (("square", (3, 2.5)), {}, InvalidInputError, "integers"),
        (("chain", (3,)), {"t": 1j}, InvalidInputError, "t is 1j; real"),
        (("chain", (3,)), {"t_prime": np.nan}, InvalidInputError, "t_prime is nan"),
        (("chain", (3,)), {"twist": (np.nan,)}, InvalidInputError, "one angle"),
        (("chain", (3,)), {"twist": (1.0, 2.0)}, InvalidInputError, "one angle"),
        (("chain", (3,)), {"twist": (1.0,), "periodic": False}, InvalidInputError, "zero where"),
    ],
)
def test_lattices_that_cannot_be(arguments, options, error, message):
    with pytest.raises(error, match=message):
        lattice(*arguments, **options)


def test_sites_that_coincide():
    with pytest.raises(InvalidInputError, match="sites 0 and 1"):
        distance_shells([[0, 0, 0], [2, 0, 0]], np.diag([2.0, 0, 0]))
