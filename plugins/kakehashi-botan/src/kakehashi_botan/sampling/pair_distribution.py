"""Pair distribution functions of samples of small liquids."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from kakehashi_botan.sampling.liquids import Liquid
from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]

N_BINS = 60


def pair_distribution(
    liquid: Liquid, positions: npt.ArrayLike, *, n_bins: int = N_BINS
) -> tuple[FloatArray, FloatArray]:
    """Return g(r) of all particles for every sample, up to half the box.

    Args:
        liquid: What the samples are of.
        positions: (n_samples, n, dimension), sigma_AA.
        n_bins: Number of bins.

    Returns:
        Centers of the bins, (n_bins,), sigma_AA, and g, (n_samples, n_bins); 1 for an ideal gas of as many
        particles.

    Raises:
        InvalidInputError: If there are no bins.
    """
    if n_bins < 1:
        raise InvalidInputError(f"n_bins must be at least 1, got {n_bins}")
    x = np.ascontiguousarray(positions, dtype=np.float64)
    reach = 0.5 * liquid.edge
    edges = np.linspace(0.0, reach, n_bins + 1)
    counts = np.zeros((len(x), n_bins))
    _count(x, liquid.edge, n_bins / reach, counts)
    ball = np.pi if liquid.dimension == 2 else 4.0 / 3.0 * np.pi
    shells = ball * np.diff(edges**liquid.dimension)
    n = liquid.n_particles
    ideal = 0.5 * n * (n - 1) * shells / liquid.edge**liquid.dimension
    return 0.5 * (edges[1:] + edges[:-1]), counts / ideal


@numba.njit(cache=True)
def _count(x, edge, per_length, counts):  # type: ignore[no-untyped-def]  # pragma: no cover
    n_samples, n, dimension = x.shape
    for b in range(n_samples):
        for i in range(n):
            for j in range(i):
                square = 0.0
                for k in range(dimension):
                    d = x[b, i, k] - x[b, j, k]
                    d -= edge * np.rint(d / edge)
                    square += d * d
                place = int(np.sqrt(square) * per_length)
                if place < counts.shape[1]:
                    counts[b, place] += 1.0
