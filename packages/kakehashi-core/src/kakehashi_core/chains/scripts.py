"""Any kernel inside somebody's own Monte Carlo script, with states and log-weights in the user's hands."""

from __future__ import annotations

from typing import Any

import numpy as np

from kakehashi_core.chains.kernels import ChainState, Kernel, warm_up
from kakehashi_core.errors import InvalidInputError


class ScriptKernel:
    """A kernel that is called as ``state, logw, accepted = kernel.step(state, logw, rng)``.

    ::

        kernel = ScriptKernel(Metropolis(log_weight, propose))
        state, logw = kernel.warmup(state, rng)
        for _ in range(10_000):
            state, logw, accepted = kernel.step(state, logw, rng)

    Args:
        kernel: What moves.
        vectorized: Whether states have a first axis of chains, (n_chains, ...), and log-weights are
            (n_chains,).
    """

    def __init__(self, kernel: Kernel, *, vectorized: bool = False) -> None:
        self._kernel, self._vectorized = kernel, vectorized

    def warmup(
        self, state: Any, rng: np.random.Generator, *, n_steps: int | None = None
    ) -> tuple[Any, Any]:
        """Move and adapt; what was learned is frozen afterwards.

        Args:
            state: One state, or several with ``vectorized``.
            rng: For all moves.
            n_steps: How many; None for twice the least that the kernel needs, and 100 if it needs none.

        Returns:
            State and log-weight.

        Raises:
            InvalidInputError: If there are too few steps.
        """
        least = self._kernel.least_warmup
        steps = (2 * least or 100) if n_steps is None else int(n_steps)
        if steps < least:
            raise InvalidInputError(f"n_steps is {steps}; learning takes at least {least} steps")
        states = np.asarray(state)
        first = self._kernel.start(states if self._vectorized else states[None])
        end = warm_up(self._kernel, first, rng, steps)
        return self._given(end.positions), self._given(end.log_weights)

    def step(self, state: Any, logw: Any, rng: np.random.Generator) -> tuple[Any, Any, Any]:
        """Move once.

        Args:
            state: One state, or several with ``vectorized``.
            logw: Its log-weight, as the last step returned it.
            rng: For everything.

        Returns:
            New state, its log-weight, and whether a move was accepted.

        Raises:
            InvalidInputError: If there is not one log-weight for each state.
        """
        states = np.asarray(state) if self._vectorized else np.asarray(state)[None]
        weights = np.atleast_1d(np.asarray(logw, dtype=np.float64))
        if weights.shape != (len(states),):
            raise InvalidInputError(
                f"logw has shape {np.shape(logw)}; one number for each of {len(states)} chains is needed"
            )
        one = self._kernel.step(ChainState(states, weights), rng)
        return (
            self._given(one.state.positions),
            self._given(one.state.log_weights),
            self._given(one.accepted),
        )

    def _given(self, values: Any) -> Any:
        if self._vectorized:
            return values
        first = values[0]
        return first.item() if np.ndim(first) == 0 else first
