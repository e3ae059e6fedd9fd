"""Self-learning steps inside somebody's own Monte Carlo script: ``accelerate(log_weight)``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains.kernels import accept, differ
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
SAME_WEIGHT = 1e-6
"""Log-weights that differ by less, relative or absolute, are alike."""
MEMORY = 12_000_000
"""Numbers of remembered states; of longer warm-ups every second, third, ... proposal is fitted."""


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
        InvalidInputError: If something that should be a function is none.
    """
    functions = {"log_weight": log_weight, "grad": grad, "proposal": proposal}
    for name, function in functions.items():
        if not callable(function) and (function is not None or name == "log_weight"):
            raise InvalidInputError(f"{name} is {function!r}; a function of a state is needed")
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
        acceptance: Of the last round of the warm-up, of proposals that moved.
        n_evaluations: How often the exact log-weight was asked so far, for each chain; checks and the ends of
            all leapfrog steps are among them, gradients are not.
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
        self._compared = False

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
        _check_rng(rng)
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
        # One proposal costs its vectors, and in the fit a feature for each class of pairs.
        size = vectors.size + len(vectors) * (int(labels.max()) + vectors.shape[2])
        stride, n_asked = 1 + budget * size // MEMORY, 0
        for number in range(ROUNDS):
            accepted: list[float] = []
            n_accepted = n_moved = 0
            for _ in range(budget // ROUNDS):
                if number == 0 or self.model is None:
                    proposed, log_ratio, asked = self._plain(vectors, weights, rng)
                else:
                    proposed, log_ratio, asked = self._learned(vectors, weights, rng)
                taken = accept(log_ratio, rng)
                moved = differ(proposed, vectors)
                n_accepted, n_moved = (
                    n_accepted + int((taken & moved).sum()),
                    n_moved + int(moved.sum()),
                )
                n_asked += 1
                if n_asked % stride == 0:
                    finite = np.isfinite(asked)
                    seen.append((proposed[finite], asked[finite]))
                vectors = np.where(taken[:, None, None], proposed, vectors)
                weights = np.where(taken, asked, weights)
                accepted.append(float(taken.mean()))
                if number == 0:
                    self._scale *= float(np.exp((accepted[-1] - TARGET) / np.sqrt(len(accepted))))
                    self._scale = min(self._scale, 10.0)
            self.acceptance = n_accepted / max(n_moved, 1)
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
            New state, its log-weight, and whether the proposal was accepted; one that did not move always is.

        Raises:
            InvalidInputError: If ``logw`` is not a finite number or, at the first step, not that of the
                state.
            NonFiniteError: If a log-weight is NaN or plus infinity.
        """
        _check_rng(rng)
        states = self._batch(state)
        vectors = self._kind.vectors(states)
        weights = self._given_weights(logw)
        if weights.shape != (len(vectors),):
            raise InvalidInputError(
                f"logw has shape {np.shape(logw)}; one number for each of the {len(vectors)} chains is needed"
            )
        if not self._compared:
            self._compare(states, weights)
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
            # A copy each way: the proposal may work in place, or return the same array each time.
            states = np.array(self._kind.states(vectors))
            raw = np.array(self._proposal(states if self._vectorized else states[0], rng))
            raw = raw if self._vectorized else raw[None]
            if raw.shape != states.shape:
                raise InvalidInputError(
                    f"proposal returned shape {raw.shape[0 if self._vectorized else 1 :]} for a state of "
                    f"shape {states.shape[0 if self._vectorized else 1 :]}"
                )
            proposed = self._kind.vectors(raw)
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
        given = np.array(states)
        if self._vectorized:
            found = np.array(self._grad(given), dtype=np.float64)
        else:
            found = np.array(self._grad(given[0]), dtype=np.float64)[None]
        if found.shape != states.shape:
            first = 0 if self._vectorized else 1
            raise InvalidInputError(
                f"grad returned shape {found.shape[first:]} for a state of shape {states.shape[first:]}"
            )
        return found

    def _checked_gradient(self, states: Any, weights: FloatArray) -> FloatArray:
        """Return the gradient, finite wherever the weight is not zero."""
        gradient = self._gradient(states)
        bad = ~np.isfinite(gradient).all(axis=(1, 2)) & np.isfinite(weights)
        if bad.any():
            chain = int(np.argmax(bad))
            site = int(np.argwhere(~np.isfinite(gradient[chain]))[0][0])
            raise NonFiniteError(
                f"grad returned {gradient[chain, site].tolist()} for site {site} of chain {chain}, where "
                f"log_weight is {weights[chain]:.6g}; it must be finite"
            )
        return gradient

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
        if self._kind.name == "angle":
            self._check_period(states, weights)
        if self._grad is not None:
            self._check_gradient(states, weights, rng)
        return weights

    def _check_period(self, states: Any, weights: FloatArray) -> None:
        other = np.array(states, dtype=np.float64)
        # Every second one: a function of differences would not notice all of them.
        other[:, ::2] += 2.0 * np.pi
        turned = self._evaluate(other)
        wrong = ~np.isclose(turned, weights, rtol=SAME_WEIGHT, atol=SAME_WEIGHT)
        if wrong.any():
            chain = int(np.argmax(wrong))
            raise InvalidInputError(
                f"log_weight is {weights[chain]:.10g} for chain {chain}, and {turned[chain]:.10g} with "
                "every second angle 2 pi larger; it must be a function of angles"
            )

    def _given_weights(self, logw: Any) -> FloatArray:
        try:
            weights = np.atleast_1d(np.array(logw, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"logw is {logw!r}; the log-weight of the state is needed, as warmup or step returned it"
            ) from error
        if not np.isfinite(weights).all():
            chain = int(np.argwhere(~np.isfinite(weights))[0][0])
            raise InvalidInputError(
                f"logw is {logw if weights.size == 1 else weights[chain]!r} for chain {chain}; a finite "
                "number is needed, as warmup or step returned it"
            )
        return weights

    def _compare(self, states: Any, weights: FloatArray) -> None:
        """Refuse, once, log-weights that are not those of the states."""
        own = self._evaluate(states)
        wrong = ~np.isclose(own, weights, rtol=SAME_WEIGHT, atol=SAME_WEIGHT)
        if wrong.any():
            chain = int(np.argmax(wrong))
            raise InvalidInputError(
                f"logw is {weights[chain]:.10g} for chain {chain}, and log_weight of its state is "
                f"{own[chain]:.10g}; give what belongs to the state"
            )
        self._compared = True

    def _check_gradient(self, states: Any, weights: FloatArray, rng: np.random.Generator) -> None:
        if self._kind.name != "sphere":
            raise InvalidInputError(
                f"grad is of use on the sphere only, not for {self._kind.name!r}; leave it out"
            )
        gradient = self._checked_gradient(states, weights)
        site = int(rng.integers(states.shape[1]))
        axis = np.cross(states[:, site], rng.normal(size=(len(states), 3)))
        alone = np.zeros(states.shape)
        alone[:, site] = axis / np.linalg.norm(axis, axis=1, keepdims=True)
        # Directions of a stream of their own: the numbers of a seed stay what they were.
        every = tangential(np.random.default_rng(0).normal(size=states.shape), states)
        every /= np.linalg.norm(every, axis=-1, keepdims=True)
        for where, directions in ((f"at site {site}", alone), ("at all sites", every)):
            self._check_slope(states, gradient, directions, where)

    def _check_slope(
        self, states: Any, gradient: FloatArray, directions: FloatArray, where: str
    ) -> None:
        """Compare with differences along unit tangents, or none, at each site."""
        moving = np.linalg.norm(directions, axis=-1, keepdims=True)
        values = [
            self._evaluate(
                np.cos(GRADIENT_STEP * moving) * states + sign * np.sin(GRADIENT_STEP) * directions
            )
            for sign in (1.0, -1.0)
        ]
        difference = (values[0] - values[1]) / (2.0 * GRADIENT_STEP)
        analytic = np.einsum("bia,bia->b", gradient, directions)
        wrong = np.abs(analytic - difference) > GRADIENT_TOLERANCE * (1.0 + np.abs(difference))
        if wrong.any():
            chain = int(np.argmax(wrong))
            raise InvalidInputError(
                f"grad is not the derivative of log_weight: {where} of chain {chain} it gives "
                f"{analytic[chain]:.6g} along a direction, differences give {difference[chain]:.6g}"
            )

    def _evaluate(self, states: Any) -> FloatArray:
        self.n_evaluations += len(states)
        if self._vectorized:
            values = np.array(self._log_weight(np.array(states)), dtype=np.float64)
        else:
            # A copy: the function may work in place.
            raw = np.asarray(self._log_weight(np.array(states[0])), dtype=np.float64)
            values = raw.reshape(1) if raw.size == 1 else raw
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
        weights = self._kernel._evaluate(spins)
        return weights, self._kernel._checked_gradient(spins, weights)


def _check_rng(rng: Any) -> None:
    if not isinstance(rng, np.random.Generator):
        raise InvalidInputError(
            f"rng is {type(rng).__name__}; a numpy.random.Generator is needed, as np.random.default_rng gives"
        )
