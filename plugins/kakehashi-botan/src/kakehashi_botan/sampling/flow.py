"""The map that a vector field makes: from one temperature to another, with its Jacobian determinant."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_botan.sampling.liquids import Liquid, wrapped
from kakehashi_botan.sampling.transport_field import TransportField
from kakehashi_core.errors import ConvergenceError, InvalidInputError

FloatArray = npt.NDArray[np.float64]

TOLERANCE = 1e-6
FIRST_STEPS = 4
MOST_STEPS = 512
CHUNK_SAMPLES = 64


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """Samples that a flow carried.

    Attributes:
        positions: (n_samples, n, dimension), wrapped into the box.
        log_determinants: Logarithm of |det dx1/dx0|, (n_samples,).
        n_steps: Steps of the integration that reached the tolerance, the most of all samples.
    """

    positions: FloatArray
    log_determinants: FloatArray
    n_steps: int


class Flow:
    """Maps between temperatures by following a field.

    Args:
        field: The field.
        tolerance: Largest error of a position (sigma_AA) and of a log-determinant, estimated by halving
            the step.

    Raises:
        InvalidInputError: If the tolerance is not positive.
    """

    def __init__(self, field: TransportField, *, tolerance: float = TOLERANCE) -> None:
        if not 0.0 < tolerance < np.inf:
            raise InvalidInputError(f"tolerance is {tolerance}; it must be positive")
        self.field, self._tolerance = field, float(tolerance)

    @property
    def liquid(self) -> Liquid:
        """What is carried."""
        return self.field.liquid

    def __call__(self, positions: npt.ArrayLike, start: float, end: float) -> Carried:
        """Carry samples of one temperature toward another; the way back is the inverse.

        Args:
            positions: (n_samples, n, dimension), sigma_AA.
            start: Temperature of the samples.
            end: Temperature of the target.

        Raises:
            InvalidInputError: If particles overlap, shapes are wrong, or a temperature is outside the range
                of the field.
            NonFiniteError: If a position is no number.
            ConvergenceError: If the steps needed for the tolerance are too many.
        """
        for label, temperature in (("start", start), ("end", end)):
            self.check_temperature(temperature, label)
        x = self.liquid.checked(positions)
        parts = [
            self._carry(torch.as_tensor(x[low : low + CHUNK_SAMPLES]), start, end)
            for low in range(0, len(x), CHUNK_SAMPLES)
        ]
        if not parts:
            return Carried(x, np.empty(0), 0)
        return Carried(
            wrapped(np.concatenate([p.numpy() for p, _, _ in parts]), self.liquid.edge),
            np.concatenate([d.numpy() for _, d, _ in parts]),
            max(n for _, _, n in parts),
        )

    def check_temperature(self, temperature: float, label: str = "temperature") -> None:
        """Raise ``InvalidInputError`` for a temperature outside the range of the field."""
        low, high = self.field.temperatures
        if not low * (1.0 - 1e-9) <= temperature <= high * (1.0 + 1e-9):
            raise InvalidInputError(
                f"{label} is {temperature:g}; this flow was trained between {low:g} and {high:g} and says "
                "nothing outside"
            )

    def _carry(
        self, x: torch.Tensor, start: float, end: float
    ) -> tuple[torch.Tensor, torch.Tensor, int]:
        with torch.no_grad():
            n_steps = FIRST_STEPS
            coarse = integrate(self.field, x, start, end, n_steps)
            while n_steps <= MOST_STEPS:
                n_steps *= 2
                fine = integrate(self.field, x, start, end, n_steps)
                error = max(float((a - b).abs().max()) for a, b in zip(coarse, fine, strict=True))
                # The finer one is better by 2^4.
                if error / 15.0 < self._tolerance:
                    return *fine, n_steps
                coarse = fine
        raise ConvergenceError(
            f"following the field from T = {start:g} to {end:g} is not accurate to {self._tolerance:g} with "
            f"{MOST_STEPS} steps (error {error:.1e}); the weights of the field may be damaged"
        )


def integrate(
    field: TransportField, positions: torch.Tensor, start: float, end: float, n_steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Follow a field with fixed steps of the classical Runge-Kutta method; differentiable.

    Args:
        field: dx/dlambda and its divergence, lambda = -ln T.
        positions: (n_samples, n, dimension), float64.
        start: Temperature at the start.
        end: Temperature at the end.
        n_steps: Number of steps.

    Returns:
        Positions, not wrapped, and log-determinants, (n_samples,).
    """
    first, last = -math.log(start), -math.log(end)
    h = (last - first) / n_steps
    x = positions
    determinant = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for number in range(n_steps):
        here = first + number * h
        v1, d1 = field(x, math.exp(-here))
        v2, d2 = field(x + 0.5 * h * v1, math.exp(-here - 0.5 * h))
        v3, d3 = field(x + 0.5 * h * v2, math.exp(-here - 0.5 * h))
        v4, d4 = field(x + h * v3, math.exp(-here - h))
        x = x + h / 6.0 * (v1 + 2.0 * v2 + 2.0 * v3 + v4)
        determinant = determinant + h / 6.0 * (d1 + 2.0 * d2 + 2.0 * d3 + d4)
    return x, determinant
