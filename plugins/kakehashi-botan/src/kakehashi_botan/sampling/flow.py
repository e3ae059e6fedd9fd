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
from kakehashi_botan.sampling.liquids import Liquid, checked_temperature, wrapped
from kakehashi_botan.sampling.reweighting import WeightedSamples
from kakehashi_botan.sampling.transport_field import TransportField
from kakehashi_core.devices import resolve_device
from kakehashi_core.errors import ConvergenceError, InvalidInputError

FloatArray = npt.NDArray[np.float64]

TOLERANCE = 1e-6
MOST_STEPS = 512
SAFETY = 10.0
"""Where radial functions end the field has finitely many derivatives, and the estimate is so much too low."""
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
        tolerance: Largest error of a position (sigma_AA) and of a log-determinant, estimated by an
            embedded formula of lower order.
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
        if not low * (1.0 - 1e-9) <= checked_temperature(temperature, label) <= high * (1.0 + 1e-9):
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
        n_steps, error = 1, math.inf
        while n_steps <= MOST_STEPS:
            positions, determinants, error = integrate(self._velocity, x, start, end, n_steps)
            if SAFETY * error < self._tolerance:
                return positions, determinants, n_steps
            n_steps *= 2
        raise ConvergenceError(
            f"following the field from T = {start:g} to {end:g} is not accurate to {self._tolerance:g} with "
            f"{MOST_STEPS} steps (error {error:.1e}). No tolerance is reached below round-off, some 1e-12; "
            "otherwise the weights of the field may be damaged"
        )


def check_flow(flow: object) -> None:
    """Raise ``InvalidInputError`` for what is no flow, a trained one among them."""
    if not isinstance(flow, Flow):
        raise InvalidInputError(
            f"flow is a {type(flow).__name__}; a Flow is needed, trained.flow() of a TrainedFlow"
        )


# Dormand and Prince: places, stages, the solution of fifth order and its difference from that of fourth.
_PLACES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_DIFFERENCE = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def integrate(
    field: Callable[[Any, float], tuple[Any, Any]],
    positions: Any,
    start: float,
    end: float,
    n_steps: int,
) -> tuple[Any, Any, Any]:
    """Follow a field with equal steps of an embedded Runge-Kutta pair.

    Args:
        field: Positions and temperature to dx/dlambda, lambda = -ln T, and its divergence. Tensors or
            arrays; differentiable with tensors.
        positions: (n_samples, n, dimension), float64.
        start: Temperature at the start.
        end: Temperature at the end.
        n_steps: Number of steps.

    Returns:
        Positions, not wrapped; log-determinants, (n_samples,); and an estimate of the largest error of both,
        the sum over the steps. Arrays or tensors as ``positions``.

    Source:
        J. R. Dormand, P. J. Prince, J. Comput. Appl. Math. 6, 19 (1980).
    """
    first, last = -math.log(start), -math.log(end)
    h = (last - first) / n_steps
    x = positions
    determinant: Any = 0.0
    error: Any = 0.0
    known: tuple[Any, Any] | None = None
    for number in range(n_steps):
        here = first + number * h
        velocities: list[Any] = []
        divergences: list[Any] = []
        for place, stage in zip(_PLACES, _STAGES, strict=True):
            if not stage and known is not None:
                # The last place of a step is the first one of the next.
                v, d = known
            else:
                v, d = field(x + h * _sum(stage, velocities), math.exp(-here - place * h))
            velocities.append(v)
            divergences.append(d)
        known = velocities[-1], divergences[-1]
        x = x + h * _sum(_STAGES[-1], velocities)
        determinant = determinant + h * _sum(_STAGES[-1], divergences)
        for parts in (velocities, divergences):
            error = error + abs(h * _sum(_DIFFERENCE, parts)).max()
    return x, determinant, error


def _sum(weights: tuple[float, ...], parts: list[Any]) -> Any:
    total: Any = 0.0
    for weight, part in zip(weights, parts, strict=False):
        if weight:
            total = total + weight * part
    return total
