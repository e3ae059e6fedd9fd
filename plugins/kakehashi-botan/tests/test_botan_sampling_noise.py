"""Reliability of means over runs, against the variances that made the runs."""

from __future__ import annotations

import numpy as np
import pytest

from kakehashi_botan.sampling_noise import sampling_noise, split_half_reliability
from kakehashi_core.errors import InvalidInputError


def runs(n_runs: int, *, noise: float, common: float, seed: int, n: int = 3000) -> np.ndarray:
    """True values of variance one (exactly), independent noise, and an offset that a run shares."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(n)
    truth = (truth - truth.mean()) / truth.std()
    offsets = common * rng.standard_normal((n_runs, 1))
    return truth + noise * rng.standard_normal((n_runs, n)) + offsets


def test_formula_by_hand() -> None:
    """Oracle: means 1 and 4 with variance 9/4; unbiased variances 2 and 8, so R = 1 - (5/2)/(9/4)."""
    found = sampling_noise([[0.0, 2.0], [2.0, 6.0]])
    assert found.standard_deviation == pytest.approx(1.5)
    assert found.reliability == pytest.approx(1 - 2.5 / 2.25)
    assert found.corrected_standard_deviation == 0.0
    assert found.ceiling == 0.0
    assert found.n_runs == 2


def test_corrected_variance_and_ceiling() -> None:
    """Oracle: true variance 1 and noise 4/8: R = 1/1.5, within 4 standard errors of 3000 values.

    The ceiling is the measured Pearson coefficient of the truth against the mean over runs.
    """
    values = runs(8, noise=2.0, common=0.0, seed=0)
    found = sampling_noise(values)
    assert found.reliability == pytest.approx(1 / 1.5, abs=0.02)
    assert found.corrected_standard_deviation == pytest.approx(1.0, abs=0.04)
    assert found.standard_deviation == pytest.approx(1.5**0.5, abs=0.04)
    truth = runs(8, noise=0.0, common=0.0, seed=0)[0]
    measured = np.corrcoef(truth, values.mean(axis=0))[0, 1]
    assert found.ceiling == pytest.approx(measured, abs=0.01)


def test_offsets_of_whole_runs_are_noise_only_without_centering() -> None:
    """Oracle: corrected variance 1; |z| < 4 over 300 ensembles with centering, biased low by 1/5 without."""
    ensembles = [runs(5, noise=1.0, common=1.0, seed=s, n=200) for s in range(300)]
    means = {}
    for center in (True, False):
        squares = [
            sampling_noise(e, center_runs=center).corrected_standard_deviation ** 2
            for e in ensembles
        ]
        means[center] = np.mean(squares), np.std(squares) / len(squares) ** 0.5
    assert abs(means[True][0] - 1.0) < 4 * means[True][1]
    assert means[False][0] == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("n_runs", [8, 9])
def test_split_halves_agree_with_the_variances(n_runs: int) -> None:
    """Oracle: R = 1/(1 + 4/8) from halves of four runs (a ninth run is left out)."""
    values = runs(n_runs, noise=2.0, common=1.0, seed=3)
    assert split_half_reliability(values) == pytest.approx(1 / 1.5, abs=0.03)


def test_splits_follow_the_seed() -> None:
    values = runs(8, noise=2.0, common=0.0, seed=3, n=50)
    first = split_half_reliability(values, n_splits=2, seed=1)
    assert first == split_half_reliability(values, n_splits=2, seed=1)
    assert first != split_half_reliability(values, n_splits=2, seed=2)


def test_wrong_input_is_refused() -> None:
    for wrong in ([1.0, 2.0], [[1.0, 2.0]], [[1.0], [2.0]]):
        with pytest.raises(InvalidInputError, match="at least two of each"):
            sampling_noise(wrong)
        with pytest.raises(InvalidInputError, match="at least two of each"):
            split_half_reliability(wrong)
    with pytest.raises(InvalidInputError, match="are equal"):
        sampling_noise(np.ones((3, 4)))
    with pytest.raises(InvalidInputError, match="are equal"):
        split_half_reliability(np.ones((3, 4)))
