"""Training samples from an isoconfigurational ensemble: its start, and every end of a run, read backwards.

Equilibrium dynamics is reversible in time. The end of a run is an equilibrium configuration of its own, and
the same trajectory, run backwards, is one run of *its* isoconfigurational ensemble: the lengths of the
displacements back to the start are an unbiased, if noisy, sample of its propensities. So an ensemble of 32
runs is one configuration with 32 runs, and 32 configurations with one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kakehashi_botan.displacements import displacement_lengths
from kakehashi_botan.isoconfigurational_data import IsoconfigurationalData

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PropensitySample:
    """A configuration with the mean displacement lengths of the runs that are known of it.

    Attributes:
        positions: (n, 3), sigma_AA.
        types: Species, (n,).
        cell: Rows are lattice vectors, (3, 3).
        propensity: (n,), sigma_AA.
        displaced: Positions at the other end of each run, (n_runs, n, 3), unwrapped.
        temperature: epsilon_AA / k_B.
    """

    positions: FloatArray
    types: npt.NDArray[np.int64]
    cell: FloatArray
    propensity: FloatArray
    displaced: FloatArray
    temperature: float

    @property
    def n_runs(self) -> int:
        """Number of runs behind the propensity."""
        return len(self.displaced)


def start_sample(data: IsoconfigurationalData, time_index: int = -1) -> PropensitySample:
    """Return the start of an ensemble with the mean over all its runs."""
    lengths = displacement_lengths(data, time_index)
    return PropensitySample(
        np.array(data.initial_positions),
        np.array(data.types),
        np.array(data.cell),
        lengths.mean(axis=0),
        np.array(data.positions[time_index]),
        data.temperature,
    )


def reversed_end(data: IsoconfigurationalData, run: int, time_index: int = -1) -> PropensitySample:
    """Return the end of a run with the one displacement that is known of it."""
    end = data.positions[time_index, run]
    return PropensitySample(
        np.array(end),
        np.array(data.types),
        np.array(data.cell),
        np.linalg.norm(end - data.initial_positions, axis=1),
        np.array(data.initial_positions)[None],
        data.temperature,
    )
