"""How much of a mean over few runs is noise, and how well a perfect predictor could score against it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kakehashi_botan.isoconfigurational_data import FloatArray
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.random_streams import spawn


@dataclass(frozen=True, kw_only=True)
class SamplingNoise:
    """Spread of means over runs, and the share of it that more runs would keep.

    Attributes:
        standard_deviation: Of the means over particles or edges (ddof = 0).
        corrected_standard_deviation: The same for infinitely many runs; zero if noise explains all of it.
        reliability: R = corrected variance over variance; negative if the noise alone would give a larger
            spread.
        n_runs: Runs behind each mean.
    """

    standard_deviation: float
    corrected_standard_deviation: float
    reliability: float
    n_runs: int

    @property
    def ceiling(self) -> float:
        """Largest Pearson coefficient that knowledge of the infinite-run means gives, sqrt(R)."""
        return math.sqrt(max(self.reliability, 0.0))


def sampling_noise(values: npt.ArrayLike, *, center_runs: bool = False) -> SamplingNoise:
    """Compare the spread of means with the scatter of the runs behind them.

    R = 1 - mean_i(s_i^2) / (n_runs var_i(p_i)), with s_i^2 the unbiased variance over runs of particle i.

    Args:
        values: Displacement lengths or bond changes of every run, (n_runs, n_values); of one configuration
            and one species, in sigma_AA.
        center_runs: Subtract the mean over particles from each run first. A run that is faster everywhere
            then counts as no noise, as in a Pearson coefficient within one configuration, and the corrected
            variance is unbiased. Without it R is the formula above as it stands, a little smaller.

    Raises:
        InvalidInputError: For fewer than two runs, fewer than two values, or means that are all equal.
    """
    runs = _checked(values)
    if center_runs:
        runs = runs - runs.mean(axis=1, keepdims=True)
    noise = float(runs.var(axis=0, ddof=1).mean()) / len(runs)
    variance = float(runs.mean(axis=0).var())
    if variance == 0.0:
        raise InvalidInputError(
            f"the means over {len(runs)} runs of all {runs.shape[1]} values are equal; a reliability needs "
            "means that differ. Use a later time."
        )
    return SamplingNoise(
        standard_deviation=math.sqrt(variance),
        corrected_standard_deviation=math.sqrt(max(variance - noise, 0.0)),
        reliability=1.0 - noise / variance,
        n_runs=len(runs),
    )


def split_half_reliability(
    values: npt.ArrayLike, *, n_splits: int = 20, seed: int | None = 0
) -> float:
    """Estimate the reliability R = 2 r / (1 + r) from the Pearson coefficient r of means of half the runs.

    Args:
        values: As for ``sampling_noise``; of an odd number of runs, one is left out of each split.
        n_splits: Random splits whose r is averaged.
        seed: Of the splits; None for fresh entropy.

    Raises:
        InvalidInputError: For fewer than two runs or values, or halves whose means are all equal.

    Source:
        Spearman-Brown formula.
    """
    runs = _checked(values)
    half = len(runs) // 2
    (generator,), _ = spawn(seed, 1)
    coefficients = []
    for _ in range(n_splits):
        order = generator.permutation(len(runs))
        first = runs[order[:half]].mean(axis=0)
        second = runs[order[half : 2 * half]].mean(axis=0)
        if first.std() == 0.0 or second.std() == 0.0:
            raise InvalidInputError(
                f"the means over {half} runs of all {runs.shape[1]} values are equal; a reliability needs "
                "means that differ. Use a later time."
            )
        coefficients.append(float(np.corrcoef(first, second)[0, 1]))
    mean = math.fsum(coefficients) / len(coefficients)
    return 2.0 * mean / (1.0 + mean)


def _checked(values: npt.ArrayLike) -> FloatArray:
    runs = np.asarray(values, dtype=float)
    if runs.ndim != 2 or len(runs) < 2 or runs.shape[1] < 2:
        raise InvalidInputError(
            f"values have shape {runs.shape}; (n_runs, n_values) with at least two of each is needed. Hand "
            "in the runs, not their mean."
        )
    return runs
