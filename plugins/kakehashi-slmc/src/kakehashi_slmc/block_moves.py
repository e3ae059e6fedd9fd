"""Inner moves of a part of a large lattice: the acceptance of whole-lattice moves falls with its size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError
from kakehashi_slmc.distance_shells import DistanceShells
from kakehashi_slmc.heat_bath import PairSweeps

FloatArray = npt.NDArray[np.float64]


class BlockSweeps:
    """Sweeps over one block of neighboring sites, drawn without looking at the spins, all others frozen.

    A choice that ignores the spins keeps the moves reversible. All chains move the same block.

    Args:
        sweeps: Of the whole lattice.
        shells: Classes of pairs, by growing distance.
        size: Sites of a block: one that is drawn, and those nearest to it.

    Raises:
        InvalidInputError: If a block would be empty or larger than the lattice.
    """

    def __init__(self, sweeps: PairSweeps, shells: DistanceShells, size: int) -> None:
        if not 1 <= size <= shells.n_sites:
            raise InvalidInputError(
                f"a block of {size} sites does not fit a lattice of {shells.n_sites}"
            )
        self._sweeps = sweeps
        self._blocks = np.argsort(shells.labels, axis=1, kind="stable")[:, :size]

    def __call__(
        self, spins: FloatArray, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Return new spins, (n_chains, n_sites, 3), and the change of log W_eff, (n_chains,)."""
        block = self._blocks[rng.integers(len(self._blocks))]
        return self._sweeps(spins, rng, sites=block)


def best_block_size(variance_per_site: float) -> float:
    """Return the number of sites at which block size times acceptance is largest, 2.8 / v.

    Args:
        variance_per_site: v, the variance of log W - log W_eff over the number of sites.

    Source:
        Maximum of b erfc(sqrt(v b) / 2), where a block of b sites is accepted with probability 0.234.
    """
    return 2.8 / variance_per_site
