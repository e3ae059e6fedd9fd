"""Molecules with bonds, angles and torsions set by hand, or with a group in place of a hydrogen atom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

GROUPS = {"methyl": "CH4", "amino": "NH3", "hydroxyl": "H2O"}
"""What is bound in place of a hydrogen atom, and the molecule it is taken from."""
BONDS = {6: 1.51, 7: 1.46, 8: 1.42}
"""From carbon, Å."""
N_TURNS = 24


def bonded(atoms: Atoms) -> list[list[int]]:
    """Return the neighbors of each atom, from covalent radii."""
    from ase.neighborlist import natural_cutoffs, neighbor_list

    first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.15))
    return [sorted(int(j) for j in second[first == i]) for i in range(len(atoms))]


def behind(atoms: Atoms, near: int, far: int) -> list[int]:
    """Return ``far`` and everything that hangs on it when the bond to ``near`` is cut.

    Raises:
        ValueError: If the bond is part of a ring.
    """
    neighbors = bonded(atoms)
    found, waiting = {far}, [far]
    while waiting:
        here = waiting.pop()
        for one in neighbors[here]:
            if (here, one) == (far, near) or one in found:
                continue
            if one == near:
                raise ValueError(f"atoms {near} and {far} are in a ring")
            found.add(one)
            waiting.append(one)
    return sorted(found)


def stretched(atoms: Atoms, near: int, far: int, factor: float) -> Atoms:
    """Return the molecule with one bond that many times as long."""
    found: Atoms = atoms.copy()
    found.set_distance(
        near,
        far,
        factor * found.get_distance(near, far),
        fix=0,
        indices=behind(atoms, near, far),
    )
    return found


def bent(atoms: Atoms, first: int, middle: int, last: int, degrees: float) -> Atoms:
    """Return the molecule with one angle changed; what hangs on ``last`` moves."""
    found: Atoms = atoms.copy()
    found.set_angle(first, middle, last, degrees, indices=behind(atoms, middle, last))
    return found


def twisted(atoms: Atoms, a: int, b: int, c: int, d: int, degrees: float) -> Atoms:
    """Return the molecule with one torsion set; what hangs on ``c`` moves."""
    found: Atoms = atoms.copy()
    moving = [k for k in behind(atoms, b, c) if k != c]
    found.set_dihedral(a, b, c, d, degrees, indices=moving)
    return found


def beside(atoms: Atoms, other: Atoms, distance: float) -> Atoms:
    """Return both with so many Å between their closest atoms."""
    moved = other.copy()
    direction = np.array([0.3, 0.4, 1.0]) / np.linalg.norm([0.3, 0.4, 1.0])
    moved.positions += atoms.positions.mean(axis=0) - moved.positions.mean(axis=0)
    while True:
        gaps = np.linalg.norm(atoms.positions[:, None] - moved.positions, axis=-1)
        if gaps.min() >= distance:
            both: Atoms = atoms + moved
            return both
        moved.positions += 0.02 * direction


def grown(atoms: Atoms, hydrogen: int, group: str) -> Atoms:
    """Return the molecule with a group in place of a hydrogen atom, as far as possible from the others.

    Args:
        atoms: With the hydrogen atom on a carbon atom.
        hydrogen: Its number.
        group: One of ``GROUPS``.
    """
    from ase.build import molecule
    from scipy.spatial.transform import Rotation

    (root,) = bonded(atoms)[hydrogen]
    axis = atoms.positions[hydrogen] - atoms.positions[root]
    axis /= np.linalg.norm(axis)
    part = molecule(GROUPS[group])
    part.positions -= part.positions[0]
    gone = part.positions[1] / np.linalg.norm(part.positions[1])
    del part[1]
    turn, _ = Rotation.align_vectors([-axis], [gone])
    part.positions = turn.apply(part.positions)
    rest = atoms.copy()
    del rest[hydrogen]
    best, largest = None, -1.0
    for angle in 2.0 * np.pi * np.arange(N_TURNS) / N_TURNS:
        tried = part.copy()
        tried.positions = Rotation.from_rotvec(angle * axis).apply(part.positions)
        tried.positions += atoms.positions[root] + BONDS[int(part.numbers[0])] * axis
        gaps = np.linalg.norm(rest.positions[:, None] - tried.positions[1:], axis=-1)
        if gaps.min() > largest + 1e-6:
            best, largest = tried, float(gaps.min())
    found: Atoms = rest + best
    return found
