"""Parallel tempering: copies at several temperatures that exchange places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains.kernels import ChainState, Kernel, Positions, Step, accept
from kakehashi_core.errors import InvalidInputError, NonFiniteError

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

    @property
    def least_warmup(self) -> int:
        """The longest of the kernels."""
        return max(kernel.least_warmup for kernel in self._kernels)

    def start(self, positions: Positions) -> ChainState:
        """Take positions (n_chains, n_temperatures, ...).

        Raises:
            InvalidInputError: If positions have no axis of the temperatures, or log-weights at all
                temperatures have another shape or other values than those of the kernels.
            NonFiniteError: If a log-weight is NaN or plus infinity.
        """
        n = len(self._kernels)
        if positions.ndim < 2 or positions.shape[1] != n:
            raise InvalidInputError(
                f"positions have shape {positions.shape}; the second axis must hold the {n} temperatures"
            )
        each = [kernel.start(positions[:, k]).log_weights for k, kernel in enumerate(self._kernels)]
        weights = np.stack(each, axis=1)
        own = np.einsum("bkk->bk", self._table(positions))
        wrong = ~np.isclose(own, weights, rtol=1e-8, atol=1e-8)
        if wrong.any():
            chain, k = (int(i) for i in np.argwhere(wrong)[0])
            raise InvalidInputError(
                f"kernel {k} gives chain {chain} the log-weight {weights[chain, k]:.10g}, log_weights gives "
                f"{own[chain, k]:.10g} in column {k}; column k must be the weight of kernel k, coldest first"
            )
        return ChainState(positions, weights)

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
        table = self._table(positions)
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

    def _table(self, positions: Positions) -> FloatArray:
        """Return log-weights of every copy at all temperatures, (n_chains, n_copies, n_temperatures)."""
        n_chains, n = len(positions), len(self._kernels)
        found = np.asarray(
            self._log_weights(positions.reshape(-1, *positions.shape[2:])), dtype=np.float64
        )
        if found.shape != (n_chains * n, n):
            raise InvalidInputError(
                f"log_weights returned shape {found.shape} for {n_chains * n} states and {n} kernels; "
                f"({n_chains * n}, {n}), one column for each temperature, is needed"
            )
        wrong = np.isnan(found) | (found == np.inf)
        if wrong.any():
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            raise NonFiniteError(
                f"log_weights returned {found[row, column]} for copy {row % n} of chain {row // n} at "
                f"temperature {column}; it must be a number or minus infinity"
            )
        return found.reshape(n_chains, n, n)
