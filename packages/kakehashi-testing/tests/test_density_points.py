from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kakehashi_testing.density_points import (
    CLASSES,
    CLOSED_SHELL_CHAIN,
    ROWS,
    closed_shell_as_spin_resolved,
    density_points,
    polarized_points,
    swap_spins,
    vanishing_points,
)

FAMILIES = ("LDA", "GGA", "MGGA", "NONLOCAL")


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("spin", [0, 1])
def test_shape_follows_the_contract(family: Any, spin: Any) -> None:
    points = density_points(family, spin, 17, rng=rng())
    assert points.shape == (len(ROWS[family, spin]), 17)
    assert points.dtype == np.float64
    assert points.flags.c_contiguous
    assert set(ROWS[family, spin]) <= set(CLASSES)


def test_points_are_physical_and_cover_decades() -> None:
    """Oracle: positivity, the Cauchy-Schwarz inequality and the von Weizsaecker bound."""
    rho_a, rho_b, s_aa, s_ab, s_bb, tau_a, tau_b = density_points("MGGA", 1, 2000, rng=rng())
    total = rho_a + rho_b
    assert total.min() < 1e-4
    assert total.max() > 1e2
    assert min(rho_a.min(), rho_b.min(), s_aa.min(), s_bb.min()) > 0.0
    assert (s_ab**2 <= s_aa * s_bb).all()
    assert (s_ab < 0.0).any()
    assert (tau_a > s_aa / (8.0 * rho_a)).all()
    assert (tau_b > s_bb / (8.0 * rho_b)).all()
    rho, sigma, tau = density_points("MGGA", 0, 2000, rng=rng())
    assert (tau > sigma / (8.0 * rho)).all()


def test_same_seed_same_points() -> None:
    assert np.array_equal(
        density_points("GGA", 1, 5, rng=rng()), density_points("GGA", 1, 5, rng=rng())
    )


def test_polarized_points_have_one_empty_channel() -> None:
    """Oracle: definition; half the points lie exactly on the one-electron bound."""
    rho_a, rho_b, s_aa, s_ab, s_bb, tau_a, tau_b = polarized_points("MGGA", 40, rng=rng())
    for empty in (rho_b, s_ab, s_bb, tau_b):
        assert not empty.any()
    on_bound = tau_a == s_aa / (8.0 * rho_a)
    assert on_bound.sum() == 20
    other = polarized_points("MGGA", 40, rng=rng(), occupied="b")
    assert not other[0].any()
    assert (other[1] > 0.0).all()


def test_vanishing_points_start_at_zero() -> None:
    points = vanishing_points("MGGA", 0, 50, rng=rng())
    assert not points[:, 0].any()
    assert 0.0 < points[0, 1:].min() < 1e-20
    assert points[0].max() <= 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_swapping_spins_twice_gives_the_points_back(family: Any) -> None:
    points = density_points(family, 1, 10, rng=rng())
    swapped = swap_spins(points)
    assert np.array_equal(swap_spins(swapped), points)
    names = ROWS[family, 1]
    assert np.array_equal(swapped[names.index("rho_a")], points[names.index("rho_b")])
    assert not np.array_equal(swapped, points)


@pytest.mark.parametrize("family", FAMILIES)
def test_closed_shell_splits_evenly(family: Any) -> None:
    """Oracle: the totals recovered from the two channels."""
    points = density_points(family, 0, 10, rng=rng())
    named = dict(zip(ROWS[family, 1], closed_shell_as_spin_resolved(points), strict=True))
    totals = {"rho": named["rho_a"] + named["rho_b"]}
    if "s_aa" in named:
        totals["sigma"] = named["s_aa"] + 2 * named["s_ab"] + named["s_bb"]
    if "tau_a" in named:
        totals["tau"] = named["tau_a"] + named["tau_b"]
    if "convolved" in named:
        totals["convolved"] = named["convolved"]
    for name, row in zip(ROWS[family, 0], points, strict=True):
        np.testing.assert_allclose(totals[name], row, rtol=1e-14)
        assert name in CLOSED_SHELL_CHAIN
