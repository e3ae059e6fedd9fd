"""Exact kernels for spins: single-site Metropolis, and hybrid Monte Carlo on the sphere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import AdaptedScale, ChainState, Kernel, LogWeight, Step
from kakehashi_core.chains.kernels import accept, checked_log_weights, chosen
from kakehashi_core.errors import InvalidInputError, NonFiniteError
from kakehashi_slmc.unit_vectors import normalized, tangential

FloatArray = npt.NDArray[np.float64]

JITTER = (0.8, 1.2)
"""Step sizes of trajectories are multiplied by a number in between: fixed lengths resonate."""


class DifferentiableWeight(Protocol):
    """A log-weight of spins that also gives its gradient."""

    def value_and_gradient(self, spins: FloatArray, /) -> tuple[FloatArray, FloatArray]:
        """Return log W, (n_chains,), and its derivative, (n_chains, n_sites, 3)."""


class SpinMetropolis(Kernel):
    """A sweep of single-spin moves, S' = normalize(S + scale xi), each accepted or not: n_sites weights.

    Sites are visited in an order drawn anew for each sweep, the same for all chains.

    Args:
        log_weight: Of spins, (n_chains, n_sites, 3).
        scale: Width of the Gaussian numbers xi at first.
        target_acceptance: What the warm-up aims at; None keeps the scale.
    """

    def __init__(
        self, log_weight: LogWeight, *, scale: float = 0.5, target_acceptance: float | None = 0.5
    ) -> None:
        self._log_weight = log_weight
        self.scale = AdaptedScale(scale, target=target_acceptance, largest=10.0)
        self._share = 0.0

    def start(self, positions: FloatArray) -> ChainState:
        """See the base class."""
        return ChainState(positions, checked_log_weights(self._log_weight, positions))

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """Accepted are chains in which at least one spin moved."""
        n_chains, n_sites, _ = state.positions.shape
        counts = np.zeros(n_chains)
        for site in rng.permutation(n_sites):
            proposed = state.positions.copy()
            noise = rng.normal(size=(n_chains, 3))
            proposed[:, site] = normalized(proposed[:, site] + self.scale.value * noise)
            weights = checked_log_weights(self._log_weight, proposed)
            accepted = accept(weights - state.log_weights, rng)
            state = chosen(accepted, proposed, weights, state)
            counts += accepted
        self._share = float(counts.mean()) / n_sites
        return Step(state, counts > 0, np.ones(n_chains, dtype=bool))

    @property
    def site_acceptance(self) -> float:
        """Share of single-spin moves that the last sweep accepted."""
        return self._share

    def adapt(self, step: Step) -> None:  # noqa: ARG002  it counts single moves
        """Move the scale toward the target."""
        self.scale.adapt(self._share)

    def state_dict(self) -> dict[str, Any]:
        """See the base class."""
        return self.scale.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        self.scale.load_state_dict(state)


class SphereHMC(Kernel):
    """Hybrid Monte Carlo on products of spheres: leapfrog along great circles.

    With a weight of its own for the decision this is self-learning hybrid Monte Carlo: a trajectory follows
    the gradient of an effective model, and one exact weight accepts its end.

    Args:
        weight: Log-weight with the gradient that trajectories follow.
        step_size: Of the leapfrog at first.
        n_steps: Leapfrog steps of a trajectory.
        target_acceptance: What the warm-up aims at; None keeps the step size.
        log_weight: Exact log-weight, which decides; None for ``weight`` itself.

    Source:
        J. L. Alonso et al., Nucl. Phys. B 596, 587 (2001), for double exchange; S. Byrne, M. Girolami, Scand.
        J. Stat. 40, 825 (2013), for geodesics; Y. Nagai, M. Okumura, K. Kobayashi, M. Shiga, Phys. Rev. B
        102, 041124 (2020), for self-learning hybrid Monte Carlo.
    """

    def __init__(
        self,
        weight: DifferentiableWeight,
        *,
        step_size: float = 0.35,
        n_steps: int = 8,
        target_acceptance: float | None = 0.8,
        log_weight: LogWeight | None = None,
    ) -> None:
        if n_steps < 1:
            raise InvalidInputError(f"n_steps must be at least 1, got {n_steps}")
        self._weight, self._n_steps, self._log_weight = weight, n_steps, log_weight
        self.step_size = AdaptedScale(step_size, target=target_acceptance, largest=3.0)

    def start(self, positions: FloatArray) -> ChainState:
        """See the base class."""
        return ChainState(
            positions, checked_log_weights(self._log_weight or self._value, positions)
        )

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """Draw momenta, follow one trajectory, and accept by the energy error."""
        spins = state.positions
        momenta = tangential(rng.normal(size=spins.shape), spins)
        size = self.step_size.value * rng.uniform(*JITTER)
        moved, final, weights = trajectory(
            self._weight, spins, momenta, step_size=size, n_steps=self._n_steps
        )
        if self._log_weight is not None:
            weights = checked_log_weights(self._log_weight, moved)
        kinetic = 0.5 * (final**2 - momenta**2).sum(axis=(1, 2))
        accepted = accept(weights - state.log_weights - kinetic, rng)
        return Step(
            chosen(accepted, moved, weights, state), accepted, np.ones(len(spins), dtype=bool)
        )

    def adapt(self, step: Step) -> None:
        """Move the step size toward the target."""
        self.step_size.adapt(float(step.accepted.mean()))

    def state_dict(self) -> dict[str, Any]:
        """See the base class."""
        return self.step_size.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        self.step_size.load_state_dict(state)

    def _value(self, spins: FloatArray) -> FloatArray:
        return self._weight.value_and_gradient(spins)[0]


def trajectory(
    weight: DifferentiableWeight,
    spins: FloatArray,
    momenta: FloatArray,
    *,
    step_size: float,
    n_steps: int,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Follow one trajectory of the leapfrog on great circles.

    Args:
        weight: Log-weight with gradient; its negative is the potential.
        spins: (n_chains, n_sites, 3).
        momenta: Tangential, the same shape.
        step_size: Of each step.
        n_steps: How many.

    Returns:
        Spins and momenta at the end, and log W there, (n_chains,).

    Raises:
        NonFiniteError: If log W is NaN or plus infinity, or a gradient not finite where the weight is not
            zero; the message names the chain. Where it is zero, such a force counts as zero.
    """
    _, gradient = _finite(*weight.value_and_gradient(spins))
    value = np.zeros(len(spins))
    for _ in range(n_steps):
        momenta = momenta + 0.5 * step_size * tangential(gradient, spins)
        speed = np.linalg.norm(momenta, axis=-1, keepdims=True)
        angle = step_size * speed
        direction = momenta / np.maximum(speed, 1e-300)
        turned = spins * np.cos(angle) + direction * np.sin(angle)
        momenta = momenta * np.cos(angle) - spins * speed * np.sin(angle)
        spins = normalized(turned)
        value, gradient = _finite(*weight.value_and_gradient(spins))
        momenta = tangential(momenta, spins) + 0.5 * step_size * tangential(gradient, spins)
    return spins, momenta, value


def _finite(values: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return both, without forces that are not finite where the weight is zero."""
    wrong = np.isnan(values) | (values == np.inf)
    if wrong.any():
        chain = int(np.argmax(wrong))
        raise NonFiniteError(
            f"the log-weight is {values[chain]} for chain {chain} on a trajectory; it must be a number or "
            "minus infinity. Look at the weight, or take a smaller step_size."
        )
    bad = ~np.isfinite(gradient).all(axis=tuple(range(1, gradient.ndim)))
    if not bad.any():
        return values, gradient
    named = bad & np.isfinite(values)
    if named.any():
        raise NonFiniteError(
            f"the gradient of the log-weight is not finite for chain {int(np.argmax(named))} on a "
            "trajectory, where the log-weight is; look at the gradient there"
        )
    return values, np.where(np.isfinite(gradient), gradient, 0.0)
