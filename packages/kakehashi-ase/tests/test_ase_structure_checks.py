"""The overlap check against brute force."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from ase import Atoms

from kakehashi_ase import CalculatorInputError, check_overlap, check_structure


def closest_distance(atoms: Atoms) -> float:
    """Smallest distance by brute force over eight images in each periodic direction, Å."""
    atoms = atoms.copy()
    atoms.wrap()
    ranges = [range(-8, 9) if periodic else (0,) for periodic in atoms.pbc]
    shifts = np.array(list(itertools.product(*ranges)))
    vectors = atoms.positions[:, None, None] - atoms.positions[None, :, None] - shifts @ atoms.cell
    distances = np.linalg.norm(vectors, axis=-1)
    n = len(atoms)
    distances[np.arange(n), np.arange(n), np.flatnonzero(~shifts.any(axis=1))[0]] = np.inf
    return float(distances.min())


@pytest.mark.parametrize("seed", range(20))
def test_overlaps_are_found_exactly_when_they_exist(seed: int) -> None:
    """Oracle: brute force, in skewed cells with mixed periodicity and unwrapped atoms."""
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) + 2.5 * np.eye(3)
    n = int(rng.integers(1, 5))
    atoms = Atoms("H" * n, positions=rng.normal(scale=4, size=(n, 3)), cell=cell)
    atoms.pbc = rng.random(3) < 0.7
    distance = closest_distance(atoms)
    if np.isfinite(distance):
        check_overlap(atoms, 0.999 * distance)
        with pytest.raises(CalculatorInputError, match=f"are {distance:.3g} Å apart"):
            check_overlap(atoms, 1.001 * distance)
    else:
        check_overlap(atoms, 100.0)


def test_an_atom_can_overlap_with_its_own_image() -> None:
    atoms = Atoms("H", cell=[9, 9, 0.3], pbc=True)
    with pytest.raises(CalculatorInputError, match=r"and its own periodic image are 0\.3 Å apart"):
        check_overlap(atoms, 0.5)


def test_many_coincident_atoms_are_found_without_listing_all_pairs() -> None:
    atoms = Atoms("H" * 20000, positions=np.zeros((20000, 3)))
    tracemalloc.start()
    with pytest.raises(CalculatorInputError, match="are 0 Å apart"):
        check_overlap(atoms, 0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # 20000² pairs would take 3 GB


def test_a_slab_needs_no_third_vector() -> None:
    atoms = Atoms("H", cell=[3, 3, 0], pbc=[True, True, False])
    check_structure(atoms, minimum_distance=1.0)
