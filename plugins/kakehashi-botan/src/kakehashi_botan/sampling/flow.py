"""The map that a vector field makes: from one temperature to another, with its Jacobian determinant."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_botan.sampling.compiled_field import CompiledField
from kakehashi_botan.sampling.liquids import Liquid, wrapped
from kakehashi_botan.sampling.reweighting import WeightedSamples
from kakehashi_botan.sampling.transport_field import TransportField
from kakehashi_core.devices import resolve_device
from kakehashi_core.errors import ConvergenceError, InvalidInputError

FloatArray = npt.NDArray[np.float64]

TOLERANCE = 1e-6
FIRST_STEPS = 2
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
        device: "cpu" (compiled loops), "cuda[:i]" or "auto".

    Raises:
        InvalidInputError: If the tolerance is not positive, or there is no device of that name.
        UnsupportedError: If this machine has no such device.
    """

    def __init__(
        self, field: TransportField, *, tolerance: float = TOLERANCE, device: str = "cpu"
    ) -> None:
        if not 0.0 < tolerance < np.inf:
            raise InvalidInputError(f"tolerance is {tolerance}; it must be positive")
        self._tolerance = float(tolerance)
        self._device = resolve_device(device)
        self.field = field
        if self._device.type == "cpu":
            self._velocity: Callable[[FloatArray, float], tuple[FloatArray, FloatArray]]
            self._velocity = CompiledField(field)
        else:
            field.to(self._device)
            self._velocity = self._by_tensors

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
            self._carry(x[low : low + CHUNK_SAMPLES], start, end)
            for low in range(0, len(x), CHUNK_SAMPLES)
        ]
        if not parts:
            return Carried(x, np.empty(0), 0)
        return Carried(
            wrapped(np.concatenate([p for p, _, _ in parts]), self.liquid.edge),
            np.concatenate([d for _, d, _ in parts]),
            max(n for _, _, n in parts),
        )

    def weighted(self, positions: npt.ArrayLike, start: float, end: float) -> WeightedSamples:
        """Return equilibrium samples of one temperature, carried, with weights for the other one.

        The mean weight estimates Z(end)/Z(start), configurational. Arguments and errors as of a call.
        """
        x = self.liquid.checked(positions)
        carried = self(x, start, end)
        before = self.liquid.energies(x) / start
        after = self.liquid.energies(carried.positions) / end
        return WeightedSamples(carried.positions, before - after + carried.log_determinants)

    def check_temperature(self, temperature: float, label: str = "temperature") -> None:
        """Raise ``InvalidInputError`` for a temperature outside the range of the field."""
        low, high = self.field.temperatures
        if not low * (1.0 - 1e-9) <= temperature <= high * (1.0 + 1e-9):
            raise InvalidInputError(
                f"{label} is {temperature:g}; this flow was trained between {low:g} and {high:g} and says "
                "nothing outside"
            )

    def _by_tensors(
        self, positions: FloatArray, temperature: float
    ) -> tuple[FloatArray, FloatArray]:
        x = torch.as_tensor(positions, device=self._device)
        with torch.no_grad():
            velocity, divergence = self.field(x, temperature)
        return velocity.cpu().numpy(), divergence.cpu().numpy()

    def _carry(self, x: FloatArray, start: float, end: float) -> tuple[FloatArray, FloatArray, int]:
        n_steps = FIRST_STEPS
        coarse = integrate(self._velocity, x, start, end, n_steps)
        while n_steps <= MOST_STEPS:
            n_steps *= 2
            fine = integrate(self._velocity, x, start, end, n_steps)
            error = max(float(np.abs(a - b).max()) for a, b in zip(coarse, fine, strict=True))
            # The finer one is better by 2^4.
            if error / 15.0 < self._tolerance:
                return *fine, n_steps
            coarse = fine
        raise ConvergenceError(
            f"following the field from T = {start:g} to {end:g} is not accurate to {self._tolerance:g} with "
            f"{MOST_STEPS} steps (error {error:.1e}); the weights of the field may be damaged"
        )


def integrate(
    field: Callable[[Any, float], tuple[Any, Any]],
    positions: Any,
    start: float,
    end: float,
    n_steps: int,
) -> tuple[Any, Any]:
    """Follow a field with fixed steps of the classical Runge-Kutta method.

    Args:
        field: Positions and temperature to dx/dlambda, lambda = -ln T, and its divergence. Tensors or
            arrays; differentiable with tensors.
        positions: (n_samples, n, dimension), float64.
        start: Temperature at the start.
        end: Temperature at the end.
        n_steps: Number of steps.

    Returns:
        Positions, not wrapped, and log-determinants, (n_samples,), of the type of ``positions``.
    """
    first, last = -math.log(start), -math.log(end)
    h = (last - first) / n_steps
    x = positions
    determinant: Any = 0.0
    for number in range(n_steps):
        here = first + number * h
        v1, d1 = field(x, math.exp(-here))
        v2, d2 = field(x + 0.5 * h * v1, math.exp(-here - 0.5 * h))
        v3, d3 = field(x + 0.5 * h * v2, math.exp(-here - 0.5 * h))
        v4, d4 = field(x + h * v3, math.exp(-here - h))
        x = x + h / 6.0 * (v1 + 2.0 * v2 + 2.0 * v3 + v4)
        determinant = determinant + h / 6.0 * (d1 + 2.0 * d2 + 2.0 * d3 + d4)
    return x, determinant
