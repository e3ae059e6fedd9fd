"""Pearson coefficients of predictions, per configuration and pooled, with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kakehashi_botan.isoconfigurational_data import FloatArray
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.random_streams import spawn

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class PearsonScores:
    """How well predictions of several configurations order their particles or edges.

    Attributes:
        per_configuration: Coefficient of each configuration, (n_configurations,).
        mean: Their mean, the score of the literature.
        mean_interval: Bootstrap interval of the mean over configurations; NaN for one configuration.
        pooled: Coefficient over the values of all configurations together; another number, because means of
            configurations differ.
        pooled_interval: Likewise for the pooled coefficient.
        spread_ratio: Predicted over true standard deviation within each configuration, (n_configurations,).
        confidence: Of the intervals.
    """

    per_configuration: FloatArray
    mean: float
    mean_interval: Interval
    pooled: float
    pooled_interval: Interval
    spread_ratio: FloatArray
    confidence: float


@dataclass(frozen=True, kw_only=True)
class PairedGain:
    """Mean difference of two models on the same configurations.

    Attributes:
        gain: Mean of better minus baseline.
        interval: Bootstrap interval over configurations; NaN for one configuration.
        n_configurations: Pairs that were compared.
        confidence: Of the interval.
    """

    gain: float
    interval: Interval
    n_configurations: int
    confidence: float


def pearson(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return the Pearson coefficient of two sets of values, (n_values,) each.

    Raises:
        InvalidInputError: If shapes differ, a value is not finite, or all values of a set are equal.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    _check_pair(a, b, "")
    return _pooled_coefficient([_moments(a, b)])


def pearson_scores(
    predictions: Sequence[npt.ArrayLike],
    targets: Sequence[npt.ArrayLike],
    *,
    masks: Sequence[npt.ArrayLike] | None = None,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int | None = 0,
) -> PearsonScores:
    """Score predictions against targets; configurations are the units of the bootstrap.

    Args:
        predictions: Values of each configuration, (n_values,) each.
        targets: Likewise.
        masks: Which values of each configuration count, (n_values,) bool each, for instance type A; None for
            all.
        n_bootstrap: Resamples of the configurations.
        confidence: Of the intervals, between 0 and 1.
        seed: Of the bootstrap; None for fresh entropy.

    Raises:
        InvalidInputError: If numbers or shapes do not fit, a value is not finite, or all values of a
            configuration are equal.
    """
    masks = [None] * len(targets) if masks is None else masks  # type: ignore[list-item]
    if not len(predictions) == len(targets) == len(masks) or not len(targets):
        raise InvalidInputError(
            f"{len(predictions)} predictions, {len(targets)} targets and {len(masks)} masks were given; one "
            "of each for at least one configuration is needed."
        )
    moments = []
    for number, (prediction, target, mask) in enumerate(
        zip(predictions, targets, masks, strict=True)
    ):
        a, b = np.asarray(prediction, dtype=float), np.asarray(target, dtype=float)
        if mask is not None:
            chosen = np.asarray(mask, dtype=bool)
            if not a.shape == b.shape == chosen.shape:
                raise InvalidInputError(
                    f"configuration {number}: prediction {a.shape}, target {b.shape} and mask "
                    f"{chosen.shape} differ in shape; (n_values,) of the same values is needed."
                )
            a, b = a[chosen], b[chosen]
        _check_pair(a, b, f"configuration {number}: ")
        moments.append(_moments(a, b))
    each = np.array([_pooled_coefficient([m]) for m in moments])
    table = np.array(moments)

    def pooled(rows: npt.NDArray[np.int64]) -> float:
        return _pooled_coefficient(table[rows])

    def mean(rows: npt.NDArray[np.int64]) -> float:
        return float(each[rows].mean())

    options = {"n": len(each), "n_bootstrap": n_bootstrap, "confidence": confidence, "seed": seed}
    everything = np.arange(len(each))
    return PearsonScores(
        per_configuration=each,
        mean=mean(everything),
        mean_interval=_bootstrap_interval(mean, **options),  # type: ignore[arg-type]
        pooled=pooled(everything),
        pooled_interval=_bootstrap_interval(pooled, **options),  # type: ignore[arg-type]
        spread_ratio=np.array([_spread_ratio(m) for m in moments]),
        confidence=confidence,
    )


def paired_gain(
    scores: npt.ArrayLike,
    baseline: npt.ArrayLike,
    *,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int | None = 0,
) -> PairedGain:
    """Compare two models by the differences of their scores on the same configurations.

    Args:
        scores: Of the model, (n_configurations,), for instance ``PearsonScores.per_configuration``.
        baseline: Of the other one, in the same order.
        n_bootstrap: Resamples of the configurations.
        confidence: Of the interval, between 0 and 1.
        seed: Of the bootstrap; None for fresh entropy.

    Raises:
        InvalidInputError: If shapes differ or a score is not finite.
    """
    a, b = np.asarray(scores, dtype=float), np.asarray(baseline, dtype=float)
    if a.ndim != 1 or a.shape != b.shape or not len(a) or not np.isfinite(a - b).all():
        raise InvalidInputError(
            f"scores {a.tolist()} and baseline {b.tolist()} do not fit; both need one finite number for "
            "every configuration."
        )
    differences = a - b
    return PairedGain(
        gain=float(differences.mean()),
        interval=_bootstrap_interval(
            lambda rows: float(differences[rows].mean()),
            n=len(a),
            n_bootstrap=n_bootstrap,
            confidence=confidence,
            seed=seed,
        ),
        n_configurations=len(a),
        confidence=confidence,
    )


def _bootstrap_interval(
    statistic: Callable[[npt.NDArray[np.int64]], float],
    *,
    n: int,
    n_bootstrap: int,
    confidence: float,
    seed: int | None,
) -> Interval:
    """Return percentiles of a statistic of resampled configurations; NaN for a single one."""
    if not 0.0 < confidence < 1.0 or n_bootstrap < 1:
        raise InvalidInputError(
            f"confidence is {confidence} and n_bootstrap {n_bootstrap}; a number between 0 and 1 and at "
            "least one resample are needed."
        )
    if n == 1:
        return math.nan, math.nan
    (generator,), _ = spawn(seed, 1)
    rows = generator.integers(n, size=(n_bootstrap, n))
    values = [statistic(row) for row in rows]
    outside = (1.0 - confidence) / 2.0
    low, high = np.quantile(values, [outside, 1.0 - outside])
    return float(low), float(high)


def _moments(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return count, means, and central second moments: all that pooling needs."""
    da, db = a - a.mean(), b - b.mean()
    return np.array([len(a), a.mean(), b.mean(), da @ da, db @ db, da @ db])


def _pooled_coefficient(moments: Sequence[FloatArray] | FloatArray) -> float:
    count, mean_a, mean_b, aa, bb, ab = np.asarray(moments).T
    da = mean_a - count @ mean_a / count.sum()
    db = mean_b - count @ mean_b / count.sum()
    covariance = ab.sum() + count @ (da * db)
    return float(covariance / math.sqrt((aa.sum() + count @ da**2) * (bb.sum() + count @ db**2)))


def _spread_ratio(moments: FloatArray) -> float:
    return math.sqrt(moments[3] / moments[4])


def _check_pair(a: FloatArray, b: FloatArray, where: str) -> None:
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise InvalidInputError(
            f"{where}prediction {a.shape} and target {b.shape} do not fit; (n_values,) of the same at least "
            "two values is needed."
        )
    for name, values in (("prediction", a), ("target", b)):
        if not np.isfinite(values).all():
            i = int(np.argmin(np.isfinite(values)))
            raise InvalidInputError(
                f"{where}{name} {i} is {values[i]}; every value must be finite. Look at the model or the "
                "file."
            )
        if values.min() == values.max():
            raise InvalidInputError(
                f"{where}all {len(values)} values of the {name} are {values[0]}; a correlation needs values "
                "that differ. A network that returns a constant has not learned yet."
            )
