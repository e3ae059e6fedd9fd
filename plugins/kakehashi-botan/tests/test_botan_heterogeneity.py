"""Susceptibilities, spatial correlations and distributions against loops, expectations and closed forms."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from kakehashi_botan.heterogeneity import (
    correlation_of_pairs,
    distribution,
    overlap_susceptibility,
    propensity_susceptibility,
    spatial_correlation,
)
from kakehashi_core.errors import InvalidInputError


def test_plain_parts_add_up_to_the_variance_of_everything() -> None:
    """Oracle: law of total variance, N Var over all runs of all configurations."""
    values = np.random.default_rng(0).random((5, 4)) + np.arange(5)[:, None] / 4
    found = overlap_susceptibility(values, n_atoms=100, unbiased=False)
    assert found.total == pytest.approx(100 * values.var())
    assert found.isoconfigurational + found.configurational == pytest.approx(found.total)
    assert found.configurational == pytest.approx(100 * values.mean(axis=1).var())
    assert found.isoconfigurational == pytest.approx(100 * values.var(axis=1).mean())


def test_unbiased_parts_have_the_expectation_of_many_runs() -> None:
    """Oracle: true variances 0.04 within and 0.09 between; |z| < 4 over 4000 ensembles of 3 x 4 values.

    Control: the plain form misses both.
    """
    rng = np.random.default_rng(1)
    samples = 0.3 * rng.standard_normal((4000, 3, 1)) + 0.2 * rng.standard_normal((4000, 3, 4))
    for unbiased in (True, False):
        parts = [overlap_susceptibility(s, n_atoms=1, unbiased=unbiased) for s in samples]
        table = np.array([[p.isoconfigurational, p.configurational, p.total] for p in parts])
        error = table.std(axis=0) / len(table) ** 0.5
        z = np.abs(table.mean(axis=0) - [0.04, 0.09, 0.13]) / error
        assert (z < 4).all() if unbiased else (z > 4).all()
        np.testing.assert_allclose(table[:, 0] + table[:, 1], table[:, 2], atol=1e-12)


def test_one_configuration_has_no_configurational_part() -> None:
    found = overlap_susceptibility([[0.1, 0.2, 0.6]], n_atoms=10)
    assert found.isoconfigurational == pytest.approx(10 * 0.07)
    assert math.isnan(found.configurational)
    assert math.isnan(found.total)
    for wrong in ([0.1, 0.2], [[0.1], [0.2]], np.zeros((0, 3))):
        with pytest.raises(InvalidInputError, match="at least two runs"):
            overlap_susceptibility(wrong, n_atoms=10)


def test_propensity_susceptibility() -> None:
    """Oracle: variance of 1, 2, 4 with n - 1 is 7/3."""
    assert propensity_susceptibility([1.0, 2.0, 4.0], n_atoms=30) == pytest.approx(70.0)
    with pytest.raises(InvalidInputError, match="at least two configurations"):
        propensity_susceptibility([1.0], n_atoms=30)


CELLS = {
    "box": (np.diag([4.0, 5.0, 6.0]), (True, True, True)),
    "skewed": (
        np.array([[4.0, 0.0, 0.0], [1.9, 4.0, 0.0], [-1.7, 1.9, 4.5]]),
        (True, True, True),
    ),
    "plane": (np.array([[5.0, 0.0, 0.0], [1.9, 4.0, 0.0], [0.0, 0.0, 0.0]]), (True, True, False)),
}


@pytest.mark.parametrize("kind", CELLS)
def test_spatial_correlation_is_a_sum_over_pairs_and_images(kind: str) -> None:
    """Oracle: loop over all pairs and images; bins include their lower edge."""
    cell, pbc = CELLS[kind]
    rng = np.random.default_rng(2)
    starts, values = rng.random((20, 3)) @ cell, rng.random(20)
    edges = [0.5, 1.0, 1.7, 2.5]
    deviations = values - values.mean()
    sums, counts = np.zeros(3), np.zeros(3)
    shifts = np.array([n for n in product(range(-2, 3), repeat=3) if pbc[2] or n[2] == 0]) @ cell
    for i, j in product(range(20), repeat=2):
        r = np.linalg.norm(starts[j] - starts[i] + shifts, axis=1)
        for place in range(3):
            n_images = int(((edges[place] <= r) & (r < edges[place + 1])).sum())
            sums[place] += n_images * deviations[i] * deviations[j]
            counts[place] += n_images
    found = spatial_correlation(starts, values, cell, pbc=pbc, bin_edges=edges)
    assert (counts > 0).all()
    np.testing.assert_array_equal(2 * found.n_pairs, counts)
    np.testing.assert_allclose(found.values, sums / counts / values.var(), rtol=1e-10)


def test_given_pairs_by_hand() -> None:
    """Oracle: values -1, 0, 1 with variance 2/3; a pair at the upper edge belongs to the next bin."""
    found = correlation_of_pairs(
        [1.0, 2.0, 3.0],
        [[0, 0, 1], [2, 1, 2]],
        [1.0, 2.0, 5.0],
        bin_edges=[0.5, 2.0, 3.0, 4.0],
    )
    assert found.n_pairs.tolist() == [1, 1, 0]
    np.testing.assert_allclose(found.values, [-1.5, 0.0, math.nan], atol=1e-15)
    with pytest.raises(InvalidInputError, match="do not fit"):
        correlation_of_pairs([1.0, 2.0], [[0], [2]], [1.0], bin_edges=[0.0, 2.0])
    with pytest.raises(InvalidInputError, match=r"all 2 values are 1\.0"):
        correlation_of_pairs([1.0, 1.0], [[0], [1]], [1.0], bin_edges=[0.0, 2.0])


def test_distribution_of_known_values() -> None:
    """Oracle: 0, 0, 0, 4: mean 1, variance 3, third moment 6; density integrates to one."""
    found = distribution([[0.0, 0.0], [0.0, 4.0]], n_bins=4)
    assert found.mean == 1.0
    assert found.standard_deviation == pytest.approx(3**0.5)
    assert found.skewness == pytest.approx(6 / 3**1.5)
    np.testing.assert_allclose(found.density, [0.75, 0, 0, 0.25])
    assert np.sum(found.density * np.diff(found.bin_edges)) == pytest.approx(1.0)


def test_distribution_counts_values_outside_the_limits() -> None:
    """Oracle: two of four values lie inside, so that the density integrates to one half."""
    found = distribution([0.0, 1.0, 2.0, 3.0], n_bins=2, limits=(0.5, 2.5))
    assert np.sum(found.density * np.diff(found.bin_edges)) == pytest.approx(0.5)
    assert distribution([2.0, 2.0]).skewness == 0.0
    with pytest.raises(InvalidInputError, match="1 of them not finite"):
        distribution([1.0, math.nan])
    with pytest.raises(InvalidInputError, match="0 values"):
        distribution([])
