"""What spins do together: magnetization, structure factor, correlations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kakehashi_slmc.distance_shells import DistanceShells
from kakehashi_slmc.linear_model import shell_features

FloatArray = npt.NDArray[np.float64]


def magnetization(spins: FloatArray, signs: npt.ArrayLike | None = None) -> FloatArray:
    """Return |sum_i s_i S_i| / N of each chain, (n_chains,).

    Args:
        spins: (n_chains, n_sites, 3).
        signs: s_i, (n_sites,): ``Lattice.sublattice`` for the staggered magnetization; None for all ones.
    """
    weights = np.ones(spins.shape[1]) if signs is None else np.asarray(signs, dtype=float)
    total = np.einsum("i,bia->ba", weights, spins) / spins.shape[1]
    return np.asarray(np.linalg.norm(total, axis=1))


def spin_structure_factor(
    spins: FloatArray, positions: npt.ArrayLike, wave_vectors: npt.ArrayLike
) -> FloatArray:
    """Return S(q) = |sum_i S_i exp(i q.r_i)|^2 / N, (n_chains, n_wave_vectors).

    Args:
        spins: (n_chains, n_sites, 3).
        positions: r_i, (n_sites, 3).
        wave_vectors: q, (n_wave_vectors, 3), in inverse units of the positions.
    """
    phases = np.exp(1j * np.asarray(wave_vectors, dtype=float) @ np.asarray(positions).T)
    sums = np.einsum("qi,bia->bqa", phases, spins)
    return np.asarray((np.abs(sums) ** 2).sum(axis=-1) / spins.shape[1])


def shell_correlations(shells: DistanceShells, spins: FloatArray) -> FloatArray:
    """Return the mean of S_i . S_j over the pairs of each shell, (n_chains, n_shells)."""
    return np.asarray(shell_features(shells, spins) / shells.n_sites)
