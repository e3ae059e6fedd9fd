"""Imaginary time for parameters: the change of a state, projected on what its parameters can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import NonFiniteError

FloatArray = npt.NDArray[np.float64]
Array = npt.NDArray[np.float64] | npt.NDArray[np.complex128]

SMALLEST_SHARE = 1.0 / 64.0
"""Steps are not halved below this share of the largest one: sampling makes some difference of its own."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WeightedStates:
    """States with what stochastic reconfiguration needs of each.

    Attributes:
        weights: |Psi|^2 of each, normalized, (n_states,).
        derivatives: d ln Psi / d theta_k, (n_states, n_parameters).
        local_energies: sum_s2 <s|H|s2> Psi(s2) / Psi(s), (n_states,).
        energy_error: Standard error of their mean by sampling; 0 for sums over all states.
    """

    weights: FloatArray
    derivatives: Array
    local_energies: Array
    energy_error: float = 0.0

    @property
    def energy(self) -> float:
        """Return the mean local energy."""
        return float((self.weights @ self.local_energies).real)


def velocity(states: WeightedStates, shift: float) -> FloatArray:
    """Return d theta / d tau = -S^-1 F, (n_parameters,), for real parameters.

    S is shifted by ``shift`` times its mean diagonal. Where there are fewer states than parameters, the
    equivalent problem among states is solved.

    Source:
        S. Sorella, Phys. Rev. B 64, 024512 (2001); A. Chen, M. Heyl, Nat. Phys. 20, 1476 (2024).

    Raises:
        NonFiniteError: If derivatives or energies are not finite.
    """
    root = np.sqrt(states.weights)[:, None]
    o = (states.derivatives - states.weights @ states.derivatives) * root
    e = (states.local_energies - states.weights @ states.local_energies) * root[:, 0]
    if np.iscomplexobj(o) or np.iscomplexobj(e):
        # Real parameters: real and imaginary parts are equations of their own.
        o, e = np.concatenate([o.real, o.imag]), np.concatenate([e.real, e.imag])
    if not (np.isfinite(o).all() and np.isfinite(e).all()):
        raise NonFiniteError("derivatives or local energies of the network are not finite")
    n_states, n_parameters = o.shape
    if n_parameters <= n_states:
        metric = o.T @ o
        metric[np.diag_indices(n_parameters)] += shift * float(np.diag(metric).mean())
        return np.asarray(-np.linalg.solve(metric, o.T @ e).real)
    overlaps = o @ o.T
    overlaps[np.diag_indices(n_states)] += shift * float(np.diag(overlaps).mean())
    return np.asarray(-(o.T @ np.linalg.solve(overlaps, e)).real)


def evolve(
    start: FloatArray,
    states: Callable[[FloatArray], WeightedStates],
    first: float,
    last: float,
    *,
    growth: float,
    tolerance: float,
    shift: float,
) -> Iterator[tuple[float, FloatArray, WeightedStates]]:
    """Yield imaginary time, parameters and states, from the first time to the last, by Heun's method.

    Args:
        start: Parameters at the first time.
        states: Parameters to states.
        first: Imaginary time of the start, positive.
        last: Of the end.
        growth: Largest step, relative to the time; derivatives fall as one over it.
        tolerance: Distance of normalized states by which Euler's method may differ in one step.
        shift: See ``velocity``.
    """
    theta, now, share = start, first, 1.0
    here = states(theta)
    yield now, theta, here
    slope = velocity(here, shift)
    while now < last * (1.0 - 1e-12):
        step = min(share * growth * now, last - now)
        there = states(theta + step * slope)
        change = 0.5 * step * (velocity(there, shift) - slope)
        error = _length(there, change)
        if error > tolerance and share > SMALLEST_SHARE:
            share *= 0.5
            continue
        if error < 0.3 * tolerance:
            share = min(1.0, 1.5 * share)
        theta, now = theta + step * slope + change, now + step
        here = states(theta)
        yield now, theta, here
        slope = velocity(here, shift)


def _length(states: WeightedStates, change: FloatArray) -> float:
    """Return how far a change of parameters moves the normalized state."""
    moved = states.derivatives @ change
    moved = moved - states.weights @ moved
    return float(np.sqrt(states.weights @ np.abs(moved) ** 2))
