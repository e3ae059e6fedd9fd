"""Numerical derivatives that return their own error estimate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

STEPS = (4e-3, 1e-3, 2.5e-4, 6.25e-5, 1.5625e-5)
"""Step lengths that are tried, in units of the direction; the best one is chosen point by point."""

SAFETY = 10.0
"""Factor on the change between two steps; beside a weak kink the true error is up to ten times it."""

_OFFSETS = (1.0, -1.0, 2.0, -2.0)
_WEIGHTS = (8.0 / 12.0, -8.0 / 12.0, -1.0 / 12.0, 1.0 / 12.0)


@dataclass(frozen=True, slots=True)
class Difference:
    """A numerical derivative.

    Attributes:
        value: The derivative along the direction.
        error: Estimated error, same shape: the change between the two best steps times ``SAFETY``,
            its distance from the finest step, or the difference of the two one-sided derivatives,
            whichever is largest (the last two see kinks).
    """

    value: Array
    error: Array


def directional_difference(
    function: Callable[[Array], Array], points: Array, direction: Array
) -> Difference:
    """Differentiate ``function`` along ``direction`` at many points in one call.

    Args:
        function: Maps (n_var, m) to (..., m); must treat columns independently.
        points: (n_var, n_points).
        direction: (n_var, n_points); its length sets the scale that the steps refer to.

    Returns:
        d/ds function(points + s * direction) at s = 0, shape (..., n_points).

    Source:
        Five-point central differences, the step chosen as in Ridders, Adv. Eng. Softw. 4, 75 (1982):
        where two neighboring steps agree best.
    """
    n_points = points.shape[1]
    batch = np.concatenate(
        [points + step * offset * direction for step in STEPS for offset in _OFFSETS] + [points],
        axis=1,
    )
    everything = np.asarray(function(batch), dtype=np.float64)
    center = everything[..., -n_points:]
    values = everything[..., :-n_points]
    values = values.reshape(*values.shape[:-1], len(STEPS), len(_OFFSETS), n_points)
    estimates = np.einsum("...sog,o->s...g", values, np.array(_WEIGHTS))
    estimates /= np.array(STEPS).reshape(-1, *[1] * (estimates.ndim - 1))
    errors = SAFETY * np.abs(np.diff(estimates, axis=0))
    best = np.argmin(errors, axis=0)[np.newaxis]
    value = np.take_along_axis(estimates[1:], best, axis=0)[0]
    # Beside a kink, two coarse steps may agree by chance; then the finest one does not.
    disagreement = np.abs(value - estimates[-1])
    # A kink closer to the point than the smallest step shifts all central differences alike, to the
    # mean of both sides; one-sided differences of second order tell the sides apart.
    plus, minus, plus_two, minus_two = np.moveaxis(values[..., -1, :, :], -2, 0)
    forward = (4.0 * plus - plus_two - 3.0 * center) / (2.0 * STEPS[-1])
    backward = (3.0 * center + minus_two - 4.0 * minus) / (2.0 * STEPS[-1])
    change = np.take_along_axis(errors, best, axis=0)[0]
    return Difference(value, np.maximum.reduce([change, disagreement, np.abs(forward - backward)]))


def matrix_difference(function: Callable[[float], Array], step: float) -> Array:
    """Differentiate a function of one number at zero by a five-point central difference."""
    total = sum(
        weight * np.asarray(function(offset * step), dtype=np.float64)
        for offset, weight in zip(_OFFSETS, _WEIGHTS, strict=True)
    )
    return np.asarray(total / step)
