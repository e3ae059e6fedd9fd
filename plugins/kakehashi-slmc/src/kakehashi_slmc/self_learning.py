"""Self-learning Monte Carlo: an effective model proposes, the exact weight decides."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import ChainState, Kernel, LogWeight, Step
from kakehashi_core.chains.kernels import accept, checked_log_weights, chosen, differ
from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]


class Inner(Protocol):
    """Moves that an effective weight makes."""

    def __call__(
        self, spins: FloatArray, rng: np.random.Generator, /
    ) -> tuple[FloatArray, FloatArray]:
        """Return new spins, and log W_eff(S') - log W_eff(S), (n_chains,).

        The moves must be reversible with respect to W_eff, with choices that ignore the spins; that they
        leave it stationary is not enough.
        """


class SelfLearning(Kernel):
    """Accept what an effective model did with min(1, [W(S') / W(S)] [W_eff(S) / W_eff(S')]).

    The distribution is exact whatever the effective model; its quality changes the acceptance only. Where
    nothing moved, no exact weight is evaluated.

    Args:
        log_weight: Exact.
        inner: Moves that are reversible with respect to an effective weight.

    Source:
        J. Liu, H. Shen, Y. Qi, Z. Y. Meng, L. Fu, Phys. Rev. B 95, 241104 (2017).
    """

    def __init__(self, log_weight: LogWeight, inner: Inner) -> None:
        self._log_weight, self._inner = log_weight, inner

    def start(self, positions: FloatArray) -> ChainState:
        """See the base class."""
        return ChainState(positions, checked_log_weights(self._log_weight, positions))

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """See the base class."""
        proposed, change = self._inner(state.positions, rng)
        moved = differ(proposed, state.positions)
        weights = state.log_weights.copy()
        log_ratio = np.zeros(state.n_chains)
        if moved.any():
            weights[moved] = checked_log_weights(self._log_weight, proposed[moved])
            log_ratio[moved] = weights[moved] - state.log_weights[moved] - change[moved]
        accepted = accept(log_ratio, rng)
        return Step(chosen(accepted, proposed, weights, state), accepted, moved)


class Nested:
    """Several moves of a cheap model, each accepted by a better one: the inner moves of ``SelfLearning``.

    P^M of a kernel P that is reversible with respect to the better model, so it is reversible too.

    Args:
        better: Effective log-weight of the better model, a deterministic function.
        inner: Moves that are reversible with respect to a cheaper one.
        times: M.

    Source:
        Delayed acceptance: J. A. Christen, C. Fox, J. Comput. Graph. Stat. 14, 795 (2005).
    """

    def __init__(self, better: LogWeight, inner: Inner, *, times: int = 4) -> None:
        if times < 1:
            raise InvalidInputError(f"times must be at least 1, got {times}")
        self._kernel, self._times = SelfLearning(better, inner), times

    def __call__(
        self, spins: FloatArray, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Return new spins, (n_chains, n_sites, 3), and the change of log W_eff, (n_chains,)."""
        first = state = self._kernel.start(spins)
        for _ in range(self._times):
            state = self._kernel.step(state, rng).state
        return np.asarray(state.positions), state.log_weights - first.log_weights
