"""The neighbor list of kakehashi-core against the one of ASE."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from kakehashi_core.neighbor_lists import NeighborList


@pytest.mark.parametrize("pbc", [*itertools.product([False, True], repeat=3)])
@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("cutoff", [2.9, 7.3])
def test_pairs_shifts_and_vectors(pbc: tuple[bool, ...], scale: int, cutoff: float) -> None:
    """Oracle: ase.neighborlist, integers exactly; the small cell has a height of 2 Å."""
    atoms: Atoms = bulk("Cu") * scale
    atoms.set_cell(atoms.cell.array @ [[1.1, 0.2, 0], [0, 0.9, 0.1], [0, 0, 1.0]], scale_atoms=True)
    atoms.rattle(0.3, seed=4)
    atoms.positions += [30.0, -20.0, 5.0]
    atoms.pbc = pbc
    neighbors = NeighborList(cutoff)
    ours = neighbors.update(atoms.positions, atoms.cell.array, atoms.pbc)
    i, j, shifts, vectors = neighbor_list("ijSD", atoms, cutoff)
    order = np.lexsort((*shifts.T[::-1], j, i))
    for mine, theirs in zip(ours, (i, j, shifts), strict=True):
        assert np.array_equal(mine, theirs[order])
    if scale > 1:
        assert len(i)
    found = neighbors.vectors(atoms.positions, atoms.cell.array)
    assert found == pytest.approx(vectors[order], abs=1e-12)
