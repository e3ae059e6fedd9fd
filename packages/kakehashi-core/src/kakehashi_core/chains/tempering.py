"""Parallel tempering: copies at several temperatures that exchange places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains.kernels import ChainState, Kernel, Positions, Step, accept
from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]


class ParallelTempering(Kernel):
    """One kernel at each temperature, then exchanges of neighbors.

    Positions have a second axis for the temperatures, (n_chains, n_temperatures, ...), and so have
    log-weights. "Accepted" and "moved" of a step are those of the coldest copy, the first.

    Args:
        kernels: One for each temperature, coldest first, each reversible at its own.
        log_weights: Positions (n, ...) to their log-weights at all temperatures, (n, n_temperatures): one
            spectrum or energy often serves them all.

    Attributes:
        exchanges: Accepted exchanges of each pair of neighbors, (n_temperatures - 1,).
        attempts: Attempted ones.

    Source:
        K. Hukushima, K. Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996).
    """

    def __init__(
        self, kernels: Sequence[Kernel], log_weights: Callable[[Positions], FloatArray]
    ) -> None:
        if len(kernels) < 2:
            raise InvalidInputError(
                f"parallel tempering needs at least two temperatures, got {len(kernels)}"
            )
        self._kernels, self._log_weights = tuple(kernels), log_weights
        self._last: list[Step] = []
        self.exchanges = np.zeros(len(kernels) - 1, dtype=np.int64)
        self.attempts = np.zeros(len(kernels) - 1, dtype=np.int64)

    def start(self, positions: Positions) -> ChainState:
        """Take positions (n_chains, n_temperatures, ...)."""
        n = len(self._kernels)
        if positions.ndim < 2 or positions.shape[1] != n:
            raise InvalidInputError(
                f"positions have shape {positions.shape}; the second axis must hold the {n} temperatures"
            )
        each = [kernel.start(positions[:, k]).log_weights for k, kernel in enumerate(self._kernels)]
        return ChainState(positions, np.stack(each, axis=1))

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """Move at every temperature, then exchange pairs; a coin decides which come first."""
        positions, weights = state.positions.copy(), state.log_weights.copy()
        self._last = []
        for k, kernel in enumerate(self._kernels):
            one = kernel.step(ChainState(positions[:, k], weights[:, k]), rng)
            positions[:, k], weights[:, k] = one.state.positions, one.state.log_weights
            self._last.append(one)
        self._exchange(positions, weights, rng)
        coldest = self._last[0]
        return Step(ChainState(positions, weights), coldest.accepted, coldest.moved)

    def adapt(self, step: Step) -> None:  # noqa: ARG002  each kernel learns from its own part
        """Let every kernel learn from its part of the last step."""
        for kernel, own in zip(self._kernels, self._last, strict=True):
            kernel.adapt(own)

    def state_dict(self) -> dict[str, Any]:
        """See the base class."""
        return {
            "kernels": [kernel.state_dict() for kernel in self._kernels],
            "exchanges": self.exchanges.copy(),
            "attempts": self.attempts.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        for kernel, own in zip(self._kernels, state["kernels"], strict=True):
            kernel.load_state_dict(own)
        self.exchanges = np.array(state["exchanges"])
        self.attempts = np.array(state["attempts"])

    def _exchange(
        self, positions: Positions, weights: FloatArray, rng: np.random.Generator
    ) -> None:
        first = int(rng.random() < 0.5)
        lower = np.arange(first, len(self._kernels) - 1, 2)
        if not len(lower):
            return
        n_chains = len(positions)
        flat = positions.reshape(-1, *positions.shape[2:])
        table = np.asarray(self._log_weights(flat)).reshape(n_chains, len(self._kernels), -1)
        for k in lower:
            ratio = (
                table[:, k + 1, k] + table[:, k, k + 1] - table[:, k, k] - table[:, k + 1, k + 1]
            )
            swapped = np.flatnonzero(accept(ratio, rng))
            self.exchanges[k] += len(swapped)
            self.attempts[k] += n_chains
            pair = [k, k + 1]
            positions[swapped[:, None], pair] = positions[swapped[:, None], pair[::-1]]
            weights[swapped, k] = table[swapped, k + 1, k]
            weights[swapped, k + 1] = table[swapped, k, k + 1]
