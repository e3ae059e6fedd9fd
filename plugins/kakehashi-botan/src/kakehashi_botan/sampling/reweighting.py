"""Weighted samples: effective size, averages with errors, ratios of partition functions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from kakehashi_core.errors import InvalidInputError, NonFiniteError
from kakehashi_core.results import Estimate

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

COLLAPSED = 0.01
"""Effective share of the samples below which averages rest on a few of them."""
FEW = 10.0
"""Effective number of samples below which they do, if most of the samples were lost."""


class CollapsedWeightsWarning(UserWarning):
    """Nearly all weight is on a few samples."""


@dataclass(frozen=True, slots=True, eq=False)
class WeightedSamples:
    """Samples of one distribution with weights that make them samples of another.

    Attributes:
        positions: (n_samples, ...).
        log_weights: (n_samples,), up to a common constant; minus infinity is a weight of zero.
        groups: Numbers of the groups the samples belong to, (n_samples,): errors then allow for samples of
            one group, as of one chain, that depend on each other. None if all are independent.
    """

    positions: FloatArray
    log_weights: FloatArray
    groups: IntArray | None = None

    def __post_init__(self) -> None:
        if len(self.positions) != len(self.log_weights) or not len(self.log_weights):
            raise InvalidInputError(
                f"{len(self.positions)} samples have {len(self.log_weights)} weights; one for each, and at "
                "least one, is needed"
            )
        if self.groups is not None and np.shape(self.groups) != np.shape(self.log_weights):
            raise InvalidInputError(
                f"groups have shape {np.shape(self.groups)}; one number for each of "
                f"{len(self.log_weights)} samples is needed"
            )
        if np.isnan(self.log_weights).any() or (self.log_weights == np.inf).any():
            number = int(np.argmax(~(self.log_weights < np.inf)))
            raise NonFiniteError(f"the log-weight of sample {number} is {self.log_weights[number]}")
        if np.max(self.log_weights) == -np.inf:
            raise NonFiniteError(
                f"all of {len(self.log_weights)} weights are zero: no sample is possible in the target"
            )

    @property
    def weights(self) -> FloatArray:
        """Weights that sum to one, (n_samples,)."""
        return np.asarray(np.exp(self.log_weights - logsumexp(self.log_weights)))

    @property
    def effective_share(self) -> float:
        """Effective sample size over the number of samples (Kish)."""
        return float(1.0 / (len(self.log_weights) * np.square(self.weights).sum()))

    @property
    def log_mean_weight(self) -> float:
        """Logarithm of the mean weight: ln Z_target - ln Z_source for normalized log-weights."""
        return float(logsumexp(self.log_weights) - np.log(len(self.log_weights)))

    def log_mean_weight_estimate(self) -> Estimate:
        """Return ``log_mean_weight`` with its error."""
        self.warn_if_collapsed()
        n_samples = len(self.log_weights)
        error = float(self.spread(self.weights - 1.0 / n_samples))
        return Estimate(mean=self.log_mean_weight, stderr=error, n_samples=n_samples)

    def expectation(self, values: npt.ArrayLike) -> Estimate:
        """Return the weighted average of one number per sample, with its error.

        Raises:
            InvalidInputError: If there is not one number for each sample.
            NonFiniteError: If one of them is not finite.
        """
        x = np.asarray(values, dtype=np.float64)
        if x.shape != self.log_weights.shape:
            raise InvalidInputError(
                f"values have shape {x.shape}; one number for each of {len(self.log_weights)} samples is "
                "needed"
            )
        if not np.isfinite(x).all():
            number = int(np.argmin(np.isfinite(x)))
            raise NonFiniteError(f"the value of sample {number} is {x[number]}")
        self.warn_if_collapsed()
        mean = float(self.weights @ x)
        # Delta method for a ratio of sums.
        error = float(self.spread(self.weights * (x - mean)))
        return Estimate(mean=mean, stderr=error, n_samples=len(x))

    def group_sums(self, parts: FloatArray) -> FloatArray:
        """Return the sums over groups of what samples contribute, (n_samples, ...) to (n_groups, ...)."""
        if self.groups is None:
            return parts
        numbers, group = np.unique(self.groups, return_inverse=True)
        sums: FloatArray = np.zeros((len(numbers), *parts.shape[1:]))
        np.add.at(sums, group, parts)
        return sums

    def spread(self, parts: FloatArray) -> FloatArray:
        """Return the standard error of a sum of contributions of mean zero, (n_samples, ...) to (...)."""
        sums = self.group_sums(parts)
        if len(sums) < 2:
            return np.full(parts.shape[1:], np.inf)
        return np.asarray(
            np.sqrt(np.square(sums).sum(axis=0) * (len(sums) / max(len(sums) - 1, 1)))
        )

    def resampled(self, n_samples: int, rng: np.random.Generator) -> FloatArray:
        """Return samples of the target without weights, drawn systematically, (n_samples, ...)."""
        chosen = systematic(self.weights, n_samples, rng)
        return np.asarray(self.positions[chosen])

    def warn_if_collapsed(self) -> None:
        """Warn if a few samples carry nearly all weight."""
        effective = self.effective_share * len(self.log_weights)
        if self.effective_share < COLLAPSED or (effective < FEW and self.effective_share < 0.5):
            warnings.warn(
                f"the weights have collapsed: {effective:.1f} effective samples of "
                f"{len(self.log_weights)}. Averages and their errors cannot be trusted; take "
                "closer temperatures, more samples, or Monte Carlo moves in between (annealing).",
                CollapsedWeightsWarning,
                stacklevel=3,
            )


def systematic(
    weights: FloatArray, n_samples: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return numbers of samples, each as often as its weight says, to less than one, (n_samples,)."""
    places = (rng.random() + np.arange(n_samples)) / n_samples
    cumulative = np.cumsum(weights)
    return np.searchsorted(cumulative / cumulative[-1], places, side="right").astype(np.int64)
