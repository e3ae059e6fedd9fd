"""When two molecules are the same for the purpose of leakage control."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kakehashi_nnxc.reaction_sets.reactions import Molecule

BOND_FACTOR = 1.31
"""Two atoms are bonded when closer than this many sums of their covalent radii.

The longest bond of AE148 and W4-11 is F2 at 1.25, the closest pair that is not bonded stands across the
ring of cyclobutene at 1.38: both keep their place when a geometry changes by a few percent.
"""

N_REFINEMENTS = 4


def molecular_identity(molecule: Molecule) -> str:
    """Return a text that is equal for equal formula, charge, spin and connectivity.

    Small changes of the geometry do not matter; isomers with another bond graph, ions and other spin states
    are different molecules. Checkpoints store these texts, so they must never change.

    Args:
        molecule: Any species.

    Returns:
        For instance "CH4 0 0 1f2a...": formula, charge, unpaired electrons, hash of the bond graph.
    """
    from ase.data import atomic_numbers, covalent_radii

    positions = np.asarray(molecule.positions)
    radii = np.array([covalent_radii[atomic_numbers[s]] for s in molecule.symbols])
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    bonded = distances < BOND_FACTOR * (radii[:, None] + radii[None])
    np.fill_diagonal(bonded, val=False)
    counts = Counter(molecule.symbols)
    formula = "".join(f"{s}{counts[s] if counts[s] > 1 else ''}" for s in sorted(counts))
    return f"{formula} {molecule.charge} {molecule.spin} {graph_hash(molecule.symbols, bonded)}"


def graph_hash(symbols: Sequence[str], bonded: npt.NDArray[np.bool_]) -> str:
    """Hash a bond graph, independent of the order of the atoms.

    Args:
        symbols: Chemical symbols.
        bonded: (n_atoms, n_atoms), symmetric, False on the diagonal.

    Source:
        Shervashidze et al., J. Mach. Learn. Res. 12, 2539 (2011), refinement of labels by those of the
        neighbors. Written out here because hashes of networkx have changed between its versions.
    """
    labels = list(symbols)
    for _ in range(N_REFINEMENTS):
        labels = [
            _digest([label, *sorted(labels[j] for j in np.flatnonzero(row))])
            for label, row in zip(labels, bonded, strict=True)
        ]
    return _digest(sorted(labels))


def _digest(labels: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(labels).encode()).hexdigest()[:32]
