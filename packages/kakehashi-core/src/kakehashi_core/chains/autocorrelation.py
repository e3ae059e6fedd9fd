"""Errors of averages over Markov chains: the Gamma method."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError, NonFiniteError
from kakehashi_core.results import Estimate

FloatArray = npt.NDArray[np.float64]

WINDOW_FACTOR = 1.5
"""S of Wolff: the autocorrelation is assumed to decay S times slower than its integral says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Autocorrelation:
    """How long chains remember, in units of the distance between two measurements.

    Attributes:
        tau_int: Integrated autocorrelation time; 0.5 for independent measurements.
        tau_int_error: Its standard error.
        window: Where the sum over times was cut off.
        mean: Average over all chains.
        stderr: Standard error of the average.
        n_samples: Measurements of all chains together.
    """

    tau_int: float
    tau_int_error: float
    window: int
    mean: float
    stderr: float
    n_samples: int

    @property
    def n_effective(self) -> float:
        """How many independent measurements would give this error."""
        return self.n_samples / (2.0 * self.tau_int)

    def estimate(self) -> Estimate:
        """Return average and error in the form that all plugins share."""
        return Estimate(
            mean=self.mean, stderr=self.stderr, tau_int=self.tau_int, n_samples=self.n_samples
        )


def autocorrelation(
    series: npt.ArrayLike, *, window_factor: float = WINDOW_FACTOR
) -> Autocorrelation:
    """Estimate the integrated autocorrelation time and the error of the mean.

    Deviations are from the mean over all chains, so that chains which disagree make the error larger.

    Args:
        series: Measurements in the order in which they were taken, (n_chains, n_measurements), or of one
            chain, (n_measurements,).
        window_factor: Larger values cut later: less bias, more noise.

    Raises:
        InvalidInputError: For fewer than four measurements per chain.
        NonFiniteError: If a measurement is not finite.

    Source:
        U. Wolff, Comput. Phys. Commun. 156, 143 (2004), eqs. 31, 41, 42, 49, 52, for one observable.
    """
    values = _checked(series)
    n_chains, length = values.shape
    total = values.size
    mean = float(values.mean())
    gamma = _autocovariance(values - mean)
    if gamma[0] <= 0.0:
        return Autocorrelation(
            tau_int=0.5, tau_int_error=0.0, window=0, mean=mean, stderr=0.0, n_samples=total
        )
    sums = np.cumsum(gamma / gamma[0]) - 0.5
    window = _window(sums, length, window_factor, n_chains)
    # The mean is that of the data: every Gamma(t) is too small by the variance of the mean.
    variance = 2.0 * gamma[0] * sums[window] / total
    corrected = gamma + variance
    tau = float(np.sum(corrected[: window + 1]) / corrected[0] - 0.5)
    tau = max(tau, 0.5 / total)
    return Autocorrelation(
        tau_int=tau,
        tau_int_error=tau * 2.0 * math.sqrt(max(window + 0.5 - tau, 0.0) / total),
        window=window,
        mean=mean,
        stderr=math.sqrt(2.0 * tau * float(corrected[0]) / total),
        n_samples=total,
    )


def estimate(series: npt.ArrayLike) -> Estimate:
    """Return the average of measurements with its error; see ``autocorrelation``."""
    return autocorrelation(series).estimate()


def _autocovariance(deviations: FloatArray) -> FloatArray:
    """Return Gamma(t) up to half of the length, averaged over chains, (n_times,)."""
    n_chains, length = deviations.shape
    n_times = length // 2
    padded = np.fft.rfft(deviations, n=2 * length, axis=1)
    sums = np.fft.irfft(np.abs(padded) ** 2, n=2 * length, axis=1)[:, :n_times].sum(axis=0)
    return np.asarray(sums / (n_chains * (length - np.arange(n_times))))


def _window(sums: FloatArray, length: int, factor: float, n_chains: int) -> int:
    """Return the time at which truncation and noise are equally large."""
    for w in range(1, len(sums)):
        integral = max(float(sums[w]), 0.5 + 1e-12)
        decay = factor / math.log((2.0 * integral + 1.0) / (2.0 * integral - 1.0))
        if math.exp(-w / decay) - decay / math.sqrt(w * length * n_chains) < 0.0:
            return w
    return len(sums) - 1


def _checked(series: npt.ArrayLike) -> FloatArray:
    values = np.atleast_2d(np.asarray(series, dtype=float))
    if values.ndim != 2 or values.shape[1] < 4:
        raise InvalidInputError(
            f"measurements have shape {np.shape(series)}; (n_chains, n_measurements) with at least four of "
            "each chain is needed. Run longer, or thin less."
        )
    if not np.isfinite(values).all():
        chain, step = (int(k) for k in np.argwhere(~np.isfinite(values))[0])
        raise NonFiniteError(
            f"measurement {step} of chain {chain} is {values[chain, step]}; averages need finite ones. Look "
            "at the state that was measured."
        )
    return values
