"""One configuration of a liquid with what models read of it: its inherent structure and its energies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kakehashi_botan.displacements import minimum_image
from kakehashi_botan.inherent_structures import FireSettings, inherent_structure
from kakehashi_botan.mixtures import Mixture
from kakehashi_botan.pair_potential import MixturePotential
from kakehashi_core.errors import ConvergenceError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A thermal configuration, the minimum below it, and the energies of both.

    Attributes:
        positions: Thermal, (n, 3), sigma_AA.
        types: Species, (n,).
        cell: Rows are lattice vectors, (3, 3); periodic in all directions.
        energies: Energy of each particle, (n,), epsilon_AA.
        inherent_positions: Of the minimum, continuing ``positions``, (n, 3); None if nothing was quenched.
        inherent_energies: Energy of each particle there, (n,).
    """

    positions: FloatArray
    types: IntArray
    cell: FloatArray
    energies: FloatArray
    inherent_positions: FloatArray | None = None
    inherent_energies: FloatArray | None = None

    @property
    def thermal_energy(self) -> float:
        """Potential energy per particle, epsilon_AA."""
        return float(self.energies.mean())

    @property
    def inherent_energy(self) -> float:
        """Potential energy per particle of the inherent structure, epsilon_AA.

        Raises:
            ValueError: If nothing was quenched.
        """
        if self.inherent_energies is None:
            raise ValueError("this snapshot has no inherent structure")
        return float(self.inherent_energies.mean())

    @property
    def quench_lengths(self) -> FloatArray:
        """How far the quench moved each particle, (n,), sigma_AA."""
        if self.inherent_positions is None:
            raise ValueError("this snapshot has no inherent structure")
        moved = minimum_image(
            self.inherent_positions - self.positions, self.cell, np.array([True, True, True])
        )
        return np.asarray(np.linalg.norm(moved, axis=1))


def snapshot(
    positions: npt.ArrayLike,
    types: npt.ArrayLike,
    cell: npt.ArrayLike,
    mixture: Mixture,
    *,
    quench: bool = True,
    settings: FireSettings | None = None,
) -> Snapshot:
    """Evaluate a configuration and, unless told otherwise, its inherent structure.

    Args:
        positions: (n, 3), sigma_AA, wrapped or not.
        types: Species, (n,).
        cell: (3, 3), rows are lattice vectors.
        mixture: What interacts how.
        quench: Whether the inherent structure is wanted.
        settings: Of the minimizer.

    Raises:
        ConvergenceError: If the quench does not reach its tolerance.
    """
    x = np.array(positions, dtype=np.float64, order="C")
    kinds, box = np.array(types, dtype=np.int64), np.array(cell, dtype=np.float64)
    periodic = np.ones(3, dtype=bool)
    energies = MixturePotential(mixture).evaluate(x, kinds, box, periodic).energies
    thermal = Snapshot(positions=x, types=kinds, cell=box, energies=energies)
    if not quench:
        return thermal
    minimum = inherent_structure(mixture, x, kinds, box, settings=settings)
    if not minimum.converged:
        raise ConvergenceError(
            f"the quench stopped after {minimum.n_steps} steps with a largest force of "
            f"{minimum.largest_force:.2g} epsilon/sigma; raise FireSettings.max_steps, or look at the start."
        )
    return replace(
        thermal, inherent_positions=minimum.positions, inherent_energies=minimum.energies
    )


def snapshot_arrays(stored: Snapshot) -> dict[str, npt.NDArray[np.generic]]:
    """Return a snapshot as named arrays, for files."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "positions": stored.positions,
        "types": stored.types,
        "cell": stored.cell,
        "energies": stored.energies,
    }
    if stored.inherent_positions is not None and stored.inherent_energies is not None:
        arrays["inherent_positions"] = stored.inherent_positions
        arrays["inherent_energies"] = stored.inherent_energies
    return arrays


def snapshot_from_arrays(arrays: Mapping[str, npt.NDArray[np.generic]]) -> Snapshot:
    """Return the snapshot that ``snapshot_arrays`` took apart."""
    numbers = {k: np.asarray(a, dtype=np.float64) for k, a in arrays.items() if k != "types"}
    return Snapshot(types=np.asarray(arrays["types"], dtype=np.int64), **numbers)
