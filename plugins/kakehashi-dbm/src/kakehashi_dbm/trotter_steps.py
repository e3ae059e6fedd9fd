"""The error of finite slices in imaginary time: measured, taken off, or kept below a bound."""

from __future__ import annotations

import math

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.results import Estimate

WIDEST, NARROWEST = 0.2, 0.01
"""Bounds of an automatic step."""
PILOT_STEPS = (0.2, 0.1)
PILOT_MEASUREMENTS = 200


def step_within(tolerance: float, wide: Estimate, narrow: Estimate, n_sites: int) -> float:
    """Return a step at which the energy of a site is off by no more than a tolerance.

    Args:
        tolerance: Of the energy of a site.
        wide: Energy at the first of ``PILOT_STEPS``.
        narrow: At the second.
        n_sites: Number of spins.

    Raises:
        InvalidInputError: If the tolerance is not positive.
    """
    if not (math.isfinite(tolerance) and tolerance > 0.0):
        raise InvalidInputError(f"tolerance is {tolerance!r}; it must be positive")
    first, second = PILOT_STEPS
    # E(step) = E(0) + c step^2, with c no larger than this at two standard errors.
    slope = (abs(wide.mean - narrow.mean) + 2.0 * math.hypot(wide.stderr, narrow.stderr)) / (
        first**2 - second**2
    )
    step = math.sqrt(tolerance * n_sites / slope) if slope > 0.0 else WIDEST
    return min(WIDEST, max(NARROWEST, step))


def trotter_bias(fine: Estimate, coarse: Estimate, ratio: float) -> Estimate:
    """Return how far an average is off, for errors that fall as the step squared.

    Args:
        fine: The average.
        coarse: The same at a step that is larger.
        ratio: By this factor.
    """
    parts = ratio**2 - 1.0
    return Estimate(
        mean=(coarse.mean - fine.mean) / parts,
        stderr=math.hypot(fine.stderr, coarse.stderr) / parts,
    )


def extrapolated(fine: Estimate, coarse: Estimate, ratio: float) -> Estimate:
    """Return an average at step zero; arguments as for ``trotter_bias``."""
    square = ratio**2
    return Estimate(
        mean=(square * fine.mean - coarse.mean) / (square - 1.0),
        stderr=math.hypot(square * fine.stderr, coarse.stderr) / (square - 1.0),
        tau_int=max(fine.tau_int, coarse.tau_int),
        n_samples=fine.n_samples,
    )
