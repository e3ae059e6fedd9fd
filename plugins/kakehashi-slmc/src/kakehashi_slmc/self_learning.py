"""Self-learning Monte Carlo: an effective model proposes, the exact weight decides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import ChainState, Kernel, LogWeight, Step
from kakehashi_core.chains.kernels import accept, checked_log_weights, chosen, differ

FloatArray = npt.NDArray[np.float64]
Inner = Callable[[FloatArray, np.random.Generator], FloatArray]
"""Spins to new spins; reversible with respect to an effective weight, with choices that ignore the spins."""


class SelfLearning(Kernel):
    """Accept what an effective model did with min(1, [W(S') / W(S)] [W_eff(S) / W_eff(S')]).

    The distribution is exact whatever the effective model; its quality changes the acceptance only. Where
    nothing moved, no exact weight is evaluated.

    Args:
        log_weight: Exact.
        effective: Effective log-weight, a deterministic function.
        inner: Moves that are reversible with respect to the effective weight; being stationary is not enough.

    Source:
        J. Liu, H. Shen, Y. Qi, Z. Y. Meng, L. Fu, Phys. Rev. B 95, 241104 (2017).
    """

    def __init__(self, log_weight: LogWeight, effective: LogWeight, inner: Inner) -> None:
        self._log_weight, self._effective, self._inner = log_weight, effective, inner

    def start(self, positions: FloatArray) -> ChainState:
        """See the base class."""
        return ChainState(positions, checked_log_weights(self._log_weight, positions))

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """See the base class."""
        proposed = self._inner(state.positions, rng)
        moved = differ(proposed, state.positions)
        weights = state.log_weights.copy()
        log_ratio = np.zeros(state.n_chains)
        if moved.any():
            weights[moved] = checked_log_weights(self._log_weight, proposed[moved])
            here = checked_log_weights(self._effective, state.positions[moved])
            there = checked_log_weights(self._effective, proposed[moved])
            log_ratio[moved] = weights[moved] - state.log_weights[moved] - (there - here)
        accepted = accept(log_ratio, rng)
        return Step(chosen(accepted, proposed, weights, state), accepted, moved)


class Nested:
    """Several moves of a cheap model, each accepted by a better one: the inner moves of ``SelfLearning``.

    P^M of a kernel P that is reversible with respect to the better model, so it is reversible too.

    Args:
        better: Effective log-weight of the better model.
        cheap: Effective log-weight of the cheap one.
        inner: Moves that are reversible with respect to the cheap one.
        times: M.

    Source:
        Delayed acceptance: J. A. Christen, C. Fox, J. Comput. Graph. Stat. 14, 795 (2005).
    """

    def __init__(
        self, better: LogWeight, cheap: LogWeight, inner: Inner, *, times: int = 4
    ) -> None:
        self._kernel = SelfLearning(better, cheap, inner)
        self._times = times

    def __call__(self, spins: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Return new spins, (n_chains, n_sites, 3)."""
        state = self._kernel.start(spins)
        for _ in range(self._times):
            state = self._kernel.step(state, rng).state
        return np.asarray(state.positions)
