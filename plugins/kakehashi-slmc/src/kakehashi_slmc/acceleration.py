"""Self-learning steps inside somebody's own Monte Carlo script: ``accelerate(log_weight)``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains.kernels import accept
from kakehashi_core.errors import InvalidInputError, NonFiniteError
from kakehashi_slmc.manifolds import Manifold, manifold
from kakehashi_slmc.pair_model import PairModel, pair_classes
from kakehashi_slmc.spin_kernels import trajectory
from kakehashi_slmc.unit_vectors import tangential

FloatArray = npt.NDArray[np.float64]

ROUNDS = 3
"""Fits of the warm-up: after plain moves, and twice after moves of the model of the round before."""
TARGET = 0.5
LEAST_ACCEPTANCE = 0.02
"""Below this the model is of no use, and plain moves go on."""
TRAJECTORY = 5
"""Leapfrog steps of a trajectory of hybrid Monte Carlo."""
GRADIENT_STEP = 1e-5
GRADIENT_TOLERANCE = 1e-3


def accelerate(
    log_weight: Callable[..., Any],
    grad: Callable[..., Any] | None = None,
    proposal: Callable[..., Any] | None = None,
    manifold: str = "sphere",
    *,
    neighbors: npt.ArrayLike | None = None,
    vectorized: bool = False,
) -> AcceleratedKernel:
    """Make a kernel that samples exp(log_weight) exactly, with an effective model that it learns.

    ::

        kernel = accelerate(log_weight)
        state, logw = kernel.warmup(state, rng)
        for _ in range(10_000):
            state, logw, accepted = kernel.step(state, logw, rng)

    Args:
        log_weight: State to the logarithm of its weight.
        grad: State to the derivative by its components, the same shape as a state ("sphere" only); checked by
            differences before anything runs. With it the plain moves of the warm-up are those of hybrid Monte
            Carlo, without it they move one site at a time.
        proposal: Your own symmetric proposal, ``proposal(state, rng)``, for the plain moves of the warm-up.
        manifold: "sphere", states (n_sites, 3) of unit vectors; "ising", (n_sites,) of +1 and -1; "angle",
            (n_sites,) in radians.
        neighbors: Bonds of the lattice, (n_bonds, 2) or a matrix (n_sites, n_sites): pairs equally many bonds
            apart share a coupling. None gives every pair its own.
        vectorized: Whether states have a first axis of chains, (n_chains, ...), and log-weights are
            (n_chains,).

    Raises:
        UnknownNameError: If the manifold is not known.
    """
    return AcceleratedKernel(
        log_weight,
        proposal=proposal,
        kind=_manifold(manifold),
        neighbors=neighbors,
        vectorized=vectorized,
        grad=grad,
    )


def _manifold(name: str) -> Manifold:
    return manifold(name)


class AcceleratedKernel:
    """What ``accelerate`` returns. ``warmup`` learns and freezes; ``step`` never adapts.

    Attributes:
        model: The effective model; None before the warm-up.
        acceptance: Of the last round of the warm-up.
        n_evaluations: How often the exact log-weight was asked so far.
        frozen: Whether the warm-up is over.
    """

    def __init__(
        self,
        log_weight: Callable[..., Any],
        *,
        proposal: Callable[..., Any] | None,
        kind: Manifold,
        neighbors: npt.ArrayLike | None,
        vectorized: bool,
        grad: Callable[..., Any] | None,
    ) -> None:
        self._log_weight, self._proposal, self._grad = log_weight, proposal, grad
        self._kind, self._neighbors, self._vectorized = kind, neighbors, vectorized
        self._scale, self._n_sweeps = 0.5, 2
        self.model: PairModel | None = None
        self.acceptance = 0.0
        self.n_evaluations = 0
        self.frozen = False
        self._useful = False

    def warmup(
        self, state: Any, rng: np.random.Generator, *, n_evaluations: int | None = None
    ) -> tuple[Any, Any]:
        """Learn an effective model, freeze it, and return where the chains stand.

        Args:
            state: One state, or several with ``vectorized``.
            rng: For all moves.
            n_evaluations: Exact log-weights of each chain that this may cost; 60 for each site by default.

        Returns:
            State and log-weight.

        Raises:
            InvalidInputError: If the state is none, the log-weight is not deterministic, or the gradient is
                not that of the log-weight.
            NonFiniteError: If a log-weight is NaN or plus infinity.
        """
        states = self._batch(state)
        vectors = self._kind.vectors(states)
        n_sites = vectors.shape[1]
        weights = self._check(states, rng)
        budget = 60 * n_sites if n_evaluations is None else int(n_evaluations)
        if budget < 4 * ROUNDS:
            raise InvalidInputError(
                f"n_evaluations is {budget}; the warm-up needs some {60 * n_sites}"
            )
        labels = pair_classes(n_sites, self._neighbors)
        seen: list[tuple[FloatArray, FloatArray]] = [(vectors, weights)]
        for number in range(ROUNDS):
            accepted: list[float] = []
            for _ in range(budget // ROUNDS):
                if number == 0 or self.model is None:
                    proposed, log_ratio, asked = self._plain(vectors, weights, rng)
                else:
                    proposed, log_ratio, asked = self._learned(vectors, weights, rng)
                taken = accept(log_ratio, rng)
                finite = np.isfinite(asked)
                seen.append((proposed[finite], asked[finite]))
                vectors = np.where(taken[:, None, None], proposed, vectors)
                weights = np.where(taken, asked, weights)
                accepted.append(float(taken.mean()))
                if number == 0:
                    self._scale *= float(np.exp((accepted[-1] - TARGET) / np.sqrt(len(accepted))))
                    self._scale = min(self._scale, 10.0)
            self.acceptance = float(np.mean(accepted))
            self.model = PairModel.fit(
                np.concatenate([v for v, _ in seen]), np.concatenate([w for _, w in seen]), labels
            )
        self._useful = self.acceptance >= LEAST_ACCEPTANCE
        if not self._useful:
            warnings.warn(
                f"the effective model is accepted in {100 * self.acceptance:.1f} % of its proposals; plain "
                "moves go on. Give neighbors=..., or a longer warm-up.",
                UserWarning,
                stacklevel=2,
            )
        self.frozen = True
        return self._unbatch(self._kind.states(vectors)), self._unbatch(weights)

    def step(self, state: Any, logw: Any, rng: np.random.Generator) -> tuple[Any, Any, Any]:
        """Move once.

        Args:
            state: One state, or several with ``vectorized``.
            logw: Its log-weight, as the last step returned it.
            rng: For everything.

        Returns:
            New state, its log-weight, and whether the proposal was accepted.
        """
        states = self._batch(state)
        vectors = self._kind.vectors(states)
        weights = np.atleast_1d(np.asarray(logw, dtype=np.float64))
        if weights.shape != (len(vectors),):
            raise InvalidInputError(
                f"logw has shape {np.shape(logw)}; one number for each of the {len(vectors)} chains is needed"
            )
        move = self._learned if self.model is not None and self._useful else self._plain
        proposed, log_ratio, asked = move(vectors, weights, rng)
        taken = accept(log_ratio, rng)
        shape = (-1,) + (1,) * (states.ndim - 1)
        new = np.where(taken.reshape(shape), self._kind.states(proposed), states)
        return (
            self._unbatch(new),
            self._unbatch(np.where(taken, asked, weights)),
            self._unbatch(taken),
        )

    def _learned(
        self, vectors: FloatArray, weights: FloatArray, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return what sweeps of the model did, the log of the ratio that accepts it, and its log-weight."""
        model = self.model
        assert model is not None  # noqa: S101  asked only then
        proposed = vectors
        for _ in range(self._n_sweeps):
            proposed = self._kind.sweep(proposed, model.couplings, model.field, rng)
        asked = self._evaluate(self._kind.states(proposed))
        return proposed, asked - weights - (model(proposed) - model(vectors)), asked

    def _plain(
        self, vectors: FloatArray, weights: FloatArray, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the proposal of the user, the end of a trajectory, or one site moved, likewise."""
        if self._proposal is None and self._grad is not None:
            return self._hybrid(vectors, weights, rng)
        if self._proposal is not None:
            states = self._kind.states(vectors)
            if self._vectorized:
                raw = self._proposal(states, rng)
            else:
                raw = np.asarray(self._proposal(states[0], rng))[None]
            proposed = self._kind.vectors(np.asarray(raw))
        else:
            proposed = vectors.copy()
            site = int(rng.integers(vectors.shape[1]))
            proposed[:, site] = self._kind.moved(vectors[:, site], self._scale, rng)
        asked = self._evaluate(self._kind.states(proposed))
        return proposed, asked - weights, asked

    def _hybrid(
        self, vectors: FloatArray, weights: FloatArray, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        momenta = tangential(rng.normal(size=vectors.shape), vectors)
        proposed, final, asked = trajectory(
            _WithGradient(self), vectors, momenta, step_size=self._scale, n_steps=TRAJECTORY
        )
        kinetic = 0.5 * (final**2 - momenta**2).sum(axis=(1, 2))
        return proposed, asked - weights - kinetic, asked

    def _gradient(self, states: Any) -> FloatArray:
        assert self._grad is not None  # noqa: S101  asked only then
        if self._vectorized:
            return np.asarray(self._grad(states), dtype=np.float64)
        return np.asarray(self._grad(states[0]), dtype=np.float64)[None]

    def _check(self, states: Any, rng: np.random.Generator) -> FloatArray:
        """Return log-weights of the start after asking twice, and check the gradient."""
        weights, again = self._evaluate(states), self._evaluate(states)
        if not np.array_equal(weights, again):
            chain = int(np.argmax(weights != again))
            raise InvalidInputError(
                f"log_weight is not deterministic: chain {chain} gives {weights[chain]!r}, then "
                f"{again[chain]!r}. Exact sampling needs a function; fix its seed, or average."
            )
        if not np.isfinite(weights).all():
            raise InvalidInputError(
                f"the start of chain {int(np.argmin(np.isfinite(weights)))} has weight zero; start elsewhere"
            )
        if self._grad is not None:
            self._check_gradient(states, rng)
        return weights

    def _check_gradient(self, states: Any, rng: np.random.Generator) -> None:
        if self._kind.name != "sphere":
            raise InvalidInputError(
                f"grad is of use on the sphere only, not for {self._kind.name!r}; leave it out"
            )
        gradient = self._gradient(states)
        if gradient.shape != states.shape:
            raise InvalidInputError(
                f"grad returned shape {gradient.shape} for states of shape {states.shape}"
            )
        site = int(rng.integers(states.shape[1]))
        axis = np.cross(states[:, site], rng.normal(size=(len(states), 3)))
        axis /= np.linalg.norm(axis, axis=1, keepdims=True)
        values = []
        for sign in (1.0, -1.0):
            moved = states.copy()
            moved[:, site] = (
                np.cos(GRADIENT_STEP) * moved[:, site] + sign * np.sin(GRADIENT_STEP) * axis
            )
            values.append(self._evaluate(moved))
        difference = (values[0] - values[1]) / (2.0 * GRADIENT_STEP)
        analytic = np.einsum("ba,ba->b", gradient[:, site], axis)
        wrong = np.abs(analytic - difference) > GRADIENT_TOLERANCE * (1.0 + np.abs(difference))
        if wrong.any():
            chain = int(np.argmax(wrong))
            raise InvalidInputError(
                f"grad is not the derivative of log_weight: at site {site} of chain {chain} it gives "
                f"{analytic[chain]:.6g} along a direction, differences give {difference[chain]:.6g}"
            )

    def _evaluate(self, states: Any) -> FloatArray:
        self.n_evaluations += len(states)
        if self._vectorized:
            values = np.asarray(self._log_weight(states), dtype=np.float64)
        else:
            values = np.array([float(self._log_weight(states[0]))])
        if values.shape != (len(states),):
            raise InvalidInputError(
                f"log_weight returned shape {values.shape} for {len(states)} chains; one number for each is "
                "needed"
            )
        wrong = np.isnan(values) | (values == np.inf)
        if wrong.any():
            chain = int(np.argmax(wrong))
            shown = np.array2string(np.asarray(states[chain]), threshold=12, precision=4)
            raise NonFiniteError(
                f"log_weight returned {values[chain]} for chain {chain} at {shown}; it must be a number or "
                "minus infinity"
            )
        return values

    def _batch(self, state: Any) -> Any:
        array = np.asarray(state)
        return array if self._vectorized else array[None]

    def _unbatch(self, values: Any) -> Any:
        if self._vectorized:
            return values
        first = values[0]
        return first.item() if np.ndim(first) == 0 else first


class _WithGradient:
    """The user's functions as what trajectories follow."""

    def __init__(self, kernel: AcceleratedKernel) -> None:
        self._kernel = kernel

    def value_and_gradient(self, spins: FloatArray, /) -> tuple[FloatArray, FloatArray]:
        """Return log W and its derivative."""
        return self._kernel._evaluate(spins), self._kernel._gradient(spins)
