"""Pearson coefficients against scipy, and intervals against their meaning."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from kakehashi_botan.pearson_scores import paired_gain, pearson, pearson_scores
from kakehashi_core.errors import InvalidInputError


def configurations(n: int, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Different sizes, and means that differ between configurations more than values within."""
    rng = np.random.default_rng(seed)
    targets = [1000.0 + 3 * k + rng.standard_normal(30 + k) for k in range(n)]
    predictions = [
        0.5 * k + 0.4 * (t - t.mean()) + 0.3 * rng.standard_normal(len(t))
        for k, t in enumerate(targets)
    ]
    return predictions, targets


def test_per_configuration_and_pooled() -> None:
    """Oracle: scipy.stats.pearsonr on each configuration and on all values together."""
    predictions, targets = configurations(6)
    scores = pearson_scores(predictions, targets)
    expected = [stats.pearsonr(p, t)[0] for p, t in zip(predictions, targets, strict=True)]
    np.testing.assert_allclose(scores.per_configuration, expected, rtol=1e-10)
    assert scores.mean == pytest.approx(np.mean(expected))
    pooled = stats.pearsonr(np.concatenate(predictions), np.concatenate(targets))[0]
    assert scores.pooled == pytest.approx(pooled, rel=1e-10)
    assert abs(scores.pooled - scores.mean) > 0.05
    ratios = [p.std() / t.std() for p, t in zip(predictions, targets, strict=True)]
    np.testing.assert_allclose(scores.spread_ratio, ratios, rtol=1e-10)


def test_masks_select_values() -> None:
    """Oracle: the same scores from arrays cut beforehand; masked values may be anything."""
    predictions, targets = configurations(3)
    masks = [np.arange(len(t)) % 3 != 1 for t in targets]
    spoiled = [np.where(m, p, np.nan) for p, m in zip(predictions, masks, strict=True)]
    found = pearson_scores(spoiled, targets, masks=masks)
    cut = pearson_scores(
        [p[m] for p, m in zip(predictions, masks, strict=True)],
        [t[m] for t, m in zip(targets, masks, strict=True)],
    )
    np.testing.assert_array_equal(found.per_configuration, cut.per_configuration)
    assert found.pooled == cut.pooled


def test_intervals_resample_configurations() -> None:
    """Oracle: for many configurations the interval of the mean is +-1.96 standard errors."""
    predictions, targets = configurations(60)
    scores = pearson_scores(predictions, targets, seed=4)
    error = scores.per_configuration.std() / 60**0.5
    low, high = scores.mean_interval
    assert low == pytest.approx(scores.mean - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(scores.mean + 1.96 * error, abs=0.2 * error)
    assert scores.pooled_interval[0] < scores.pooled < scores.pooled_interval[1]
    narrow = pearson_scores(predictions, targets, seed=4, confidence=0.5)
    assert narrow.mean_interval[1] - narrow.mean_interval[0] < 0.5 * (high - low)
    again = pearson_scores(predictions, targets, seed=4)
    assert again.mean_interval == scores.mean_interval


def test_one_configuration_has_no_interval() -> None:
    predictions, targets = configurations(1)
    scores = pearson_scores(predictions, targets)
    assert scores.mean == scores.pooled
    assert all(math.isnan(v) for v in (*scores.mean_interval, *scores.pooled_interval))


def test_pooled_interval_has_the_coverage_of_its_resamples() -> None:
    """Oracle: quantiles over all 27 resamples of three configurations, pooled by concatenation."""
    predictions, targets = configurations(3)
    values = [
        stats.pearsonr(
            np.concatenate([predictions[k] for k in rows]),
            np.concatenate([targets[k] for k in rows]),
        )[0]
        for rows in np.ndindex(3, 3, 3)
    ]
    found = pearson_scores(predictions, targets, n_bootstrap=20_000, confidence=0.8)
    low, high = np.quantile(values, [0.1, 0.9])
    assert found.pooled_interval == pytest.approx((low, high), abs=0.01)


def test_paired_gain() -> None:
    """Oracle: mean of the differences; differences that are all equal leave no uncertainty."""
    gain = paired_gain([0.6, 0.7, 0.9], [0.5, 0.6, 0.8])
    assert gain.gain == pytest.approx(0.1)
    assert gain.interval == pytest.approx((0.1, 0.1))
    assert gain.n_configurations == 3
    noisy = paired_gain([0.6, 0.7, 0.9], [0.5, 0.7, 0.7])
    assert noisy.interval == pytest.approx((0.0, 0.2))
    with pytest.raises(InvalidInputError, match="do not fit"):
        paired_gain([0.1, 0.2], [0.1])
    with pytest.raises(InvalidInputError, match=r"confidence is 1\.5"):
        paired_gain([0.1, 0.2], [0.1, 0.3], confidence=1.5)


def test_wrong_input_is_refused() -> None:
    good = np.arange(4.0)
    assert pearson(good, -good) == pytest.approx(-1.0)
    with pytest.raises(InvalidInputError, match="1 predictions, 2 targets"):
        pearson_scores([good], [good, good])
    with pytest.raises(InvalidInputError, match="at least one configuration"):
        pearson_scores([], [])
    with pytest.raises(InvalidInputError, match="configuration 1: prediction 2 is nan"):
        pearson_scores([good, np.array([0, 1, np.nan, 2])], [good, good])
    with pytest.raises(InvalidInputError, match="configuration 0: all 4 values of the prediction"):
        pearson_scores([np.ones(4)], [good])
    with pytest.raises(InvalidInputError, match="do not fit"):
        pearson_scores([good], [good[:3]])
    with pytest.raises(InvalidInputError, match=r"configuration 0: prediction .* differ in shape"):
        pearson_scores([good], [good], masks=[np.ones(3, bool)])
