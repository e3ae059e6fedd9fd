"""Errors of functions of averages: bins, jackknife, Binder cumulants."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains.autocorrelation import autocorrelation
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.results import Estimate

FloatArray = npt.NDArray[np.float64]

FEWEST_BINS = 8
BIN_LENGTH = 10.0
"""Bins are so many integrated autocorrelation times long, if there are enough measurements."""


def binned(series: npt.ArrayLike, length: int) -> FloatArray:
    """Return means over consecutive measurements; what does not fill a bin at the end of a chain is left out.

    Args:
        series: (n_chains, n_measurements) or (n_measurements,).
        length: Measurements of a bin.

    Returns:
        (n_bins,), the bins of one chain after those of the other.

    Raises:
        InvalidInputError: If a chain has less than one bin.
    """
    values = np.atleast_2d(np.asarray(series, dtype=float))
    n_bins = values.shape[1] // length if length > 0 else 0
    if n_bins < 1:
        raise InvalidInputError(
            f"bins of {length} measurements do not fit into chains of {values.shape[1]}; make them shorter"
        )
    kept = values[:, : n_bins * length].reshape(len(values), n_bins, length)
    return np.asarray(kept.mean(axis=2).ravel())


def jackknife(
    function: Callable[..., float], *series: npt.ArrayLike, bin_length: int | None = None
) -> Estimate:
    """Return a function of averages with its error, and without its bias to first order.

    Args:
        function: Of one average per series, in their order.
        series: Measurements of the same states, (n_chains, n_measurements) or (n_measurements,) each.
        bin_length: Measurements of a bin; by default ten times the longest autocorrelation time among the
            series, but so short that there are eight bins at least.

    Raises:
        InvalidInputError: If shapes differ, or there is too little of anything.

    Source:
        B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans (SIAM, 1982).
    """
    arrays = [np.atleast_2d(np.asarray(one, dtype=float)) for one in series]
    if not arrays or len({a.shape for a in arrays}) != 1:
        raise InvalidInputError(
            f"series have shapes {[a.shape for a in arrays]}; at least one is needed, all of the same states"
        )
    times = [autocorrelation(a).tau_int for a in arrays]
    n_chains, n = arrays[0].shape
    longest = max(1, n // math.ceil(FEWEST_BINS / n_chains))
    length = bin_length or min(max(1, math.ceil(BIN_LENGTH * max(times))), longest)
    bins = np.array([binned(a, length) for a in arrays])
    n_bins = bins.shape[1]
    if n_bins < 2:
        raise InvalidInputError(
            f"bins of {length} measurements give {n_bins} bin; at least two are needed"
        )
    totals = bins.sum(axis=1)
    center = float(function(*(totals / n_bins)))
    left_out = np.array(
        [float(function(*row)) for row in ((totals[:, None] - bins) / (n_bins - 1)).T]
    )
    spread = (n_bins - 1) / n_bins * float(((left_out - left_out.mean()) ** 2).sum())
    return Estimate(
        mean=n_bins * center - (n_bins - 1) * float(left_out.mean()),
        stderr=math.sqrt(spread),
        tau_int=max(times),
        n_samples=arrays[0].size,
    )


def binder_cumulant(
    square: npt.ArrayLike, fourth: npt.ArrayLike, *, n_components: int = 3
) -> Estimate:
    """Return U = 1 + n/2 - (n/2) <m^4> / <m^2>^2 of an order parameter of n components.

    It is 0 for Gaussian fluctuations and 1 for an order parameter of fixed length.

    Args:
        square: m^2 of every measurement, (n_chains, n_measurements).
        fourth: m^4, the same states.
        n_components: n; 1 for Ising spins, 2 for planar ones, 3 for Heisenberg spins.

    Source:
        K. Binder, Z. Phys. B 43, 119 (1981), normalized.
    """
    half = 0.5 * n_components

    def cumulant(m2: float, m4: float) -> float:
        return 1.0 + half - half * m4 / m2**2

    return jackknife(cumulant, square, fourth)
