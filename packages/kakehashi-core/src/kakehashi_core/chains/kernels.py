"""Steps of Markov chains: small objects that move many chains at once and keep a weight stationary.

A kernel is reversible: it satisfies detailed balance with respect to the weight that it was made for. Kernels
adapt during warm-up only; whoever runs them stops calling ``adapt`` before anything is measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError, NonFiniteError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Positions = npt.NDArray[Any]
LogWeight = Callable[[Positions], FloatArray]
"""Positions of some chains, (n_chains, ...), to the logarithm of their weights, (n_chains,)."""


@dataclass(frozen=True, slots=True, eq=False)
class ChainState:
    """Where all chains stand.

    Attributes:
        positions: (n_chains, ...).
        log_weights: Logarithm of the weight of each, (n_chains,).
    """

    positions: Positions
    log_weights: FloatArray

    @property
    def n_chains(self) -> int:
        """How many chains there are."""
        return len(self.positions)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What one step of a kernel did.

    Attributes:
        state: Where the chains stand now.
        accepted: Whose proposal was accepted, (n_chains,).
        moved: Whose proposal was another position at all, (n_chains,): a proposal that did not move is
            accepted whatever the weight, and says nothing about it.
    """

    state: ChainState
    accepted: BoolArray
    moved: BoolArray


class Kernel(ABC):
    """One reversible step of all chains."""

    @property
    def least_warmup(self) -> int:
        """Steps of the shortest warm-up that makes sense; 0 where there is little to learn."""
        return 0

    @abstractmethod
    def start(self, positions: Positions) -> ChainState:
        """Return positions with their weights."""

    @abstractmethod
    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """Move every chain once; the state that is given stays as it is."""

    def adapt(self, step: Step) -> None:  # noqa: B027  most kernels have nothing to learn
        """Learn from a step of the warm-up; nothing by default."""

    def state_dict(self) -> dict[str, Any]:
        """Return what was learned, for checkpoints."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what was learned."""
        if state:
            raise InvalidInputError(
                f"{type(self).__name__} learns nothing, and the state has {sorted(state)}; it belongs to "
                "another kernel"
            )


class Proposal(Protocol):
    """A symmetric proposal: going there is as likely as coming back."""

    def __call__(self, positions: Positions, scale: float, rng: np.random.Generator) -> Positions:
        """Return new positions, (n_chains, ...), the further away the larger the scale."""


class Metropolis(Kernel):
    """A symmetric proposal and the rule of Metropolis, with a scale that warm-up adapts.

    Args:
        log_weight: Of the distribution that is sampled.
        propose: Symmetric proposal.
        scale: Of the first proposals.
        target_acceptance: What the warm-up aims at; None keeps the scale.
        largest_scale: Where larger steps mean nothing any more.
    """

    def __init__(
        self,
        log_weight: LogWeight,
        propose: Proposal,
        *,
        scale: float = 1.0,
        target_acceptance: float | None = 0.5,
        largest_scale: float = np.inf,
    ) -> None:
        self._log_weight = log_weight
        self._propose = propose
        self.scale = AdaptedScale(scale, target=target_acceptance, largest=largest_scale)

    def start(self, positions: Positions) -> ChainState:
        """See the base class."""
        return ChainState(positions, checked_log_weights(self._log_weight, positions))

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """See the base class."""
        # A proposal may work in place: it gets positions of its own.
        proposed = np.asarray(self._propose(state.positions.copy(), self.scale.value, rng))
        log_weights = checked_log_weights(self._log_weight, proposed)
        accepted = accept(log_weights - state.log_weights, rng)
        moved = differ(proposed, state.positions)
        return Step(chosen(accepted, proposed, log_weights, state), accepted, moved)

    def adapt(self, step: Step) -> None:
        """Move the scale toward the target."""
        self.scale.adapt(float(step.accepted.mean()))

    def state_dict(self) -> dict[str, Any]:
        """See the base class."""
        return self.scale.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        self.scale.load_state_dict(state)


class Repeated(Kernel):
    """Several steps of one kernel as one: a power of a reversible kernel is reversible.

    Args:
        kernel: What is repeated.
        times: How often.
    """

    def __init__(self, kernel: Kernel, times: int) -> None:
        if times < 1:
            raise InvalidInputError(f"times must be at least 1, got {times}")
        self._kernel, self._times = kernel, times

    @property
    def least_warmup(self) -> int:
        """That of the kernel."""
        return self._kernel.least_warmup

    def start(self, positions: Positions) -> ChainState:
        """See the base class."""
        return self._kernel.start(positions)

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """Accepted and moved are those that were so at least once."""
        accepted = np.zeros(state.n_chains, dtype=bool)
        moved = accepted.copy()
        for _ in range(self._times):
            one = self._kernel.step(state, rng)
            state, accepted, moved = one.state, accepted | one.accepted, moved | one.moved
        return Step(state, accepted, moved)

    def adapt(self, step: Step) -> None:
        """Let the kernel learn."""
        self._kernel.adapt(step)

    def state_dict(self) -> dict[str, Any]:
        """See the base class."""
        return self._kernel.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        self._kernel.load_state_dict(state)


class EitherWay(Kernel):
    """Several kernels one after the other, or in the reverse order: a coin decides, for all chains.

    A fixed order of reversible kernels is stationary but not reversible; with the coin it is both.

    Args:
        kernels: At least one, all reversible with respect to the same weight.
    """

    def __init__(self, kernels: Sequence[Kernel]) -> None:
        if not kernels:
            raise InvalidInputError("at least one kernel is needed, got none")
        self._kernels = tuple(kernels)

    @property
    def least_warmup(self) -> int:
        """The longest of the kernels."""
        return max(kernel.least_warmup for kernel in self._kernels)

    def start(self, positions: Positions) -> ChainState:
        """See the base class.

        Raises:
            InvalidInputError: If kernels give a state different log-weights: they sample different things.
        """
        states = [kernel.start(positions) for kernel in self._kernels]
        for k, state in enumerate(states[1:], start=1):
            if not np.allclose(state.log_weights, states[0].log_weights, rtol=1e-8, atol=1e-8):
                raise InvalidInputError(
                    f"kernel {k} has other log-weights than kernel 0: {state.log_weights[0]:.10g} and "
                    f"{states[0].log_weights[0]:.10g} for chain 0. Mix kernels of one distribution only."
                )
        return states[0]

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """Accepted and moved are those that were so at least once."""
        forward = rng.random() < 0.5
        accepted = np.zeros(state.n_chains, dtype=bool)
        moved = accepted.copy()
        for kernel in self._kernels if forward else self._kernels[::-1]:
            one = kernel.step(state, rng)
            state, accepted, moved = one.state, accepted | one.accepted, moved | one.moved
        return Step(state, accepted, moved)

    def adapt(self, step: Step) -> None:
        """Let all kernels learn."""
        for kernel in self._kernels:
            kernel.adapt(step)

    def state_dict(self) -> dict[str, Any]:
        """See the base class."""
        return {"kernels": [kernel.state_dict() for kernel in self._kernels]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        for kernel, own in zip(self._kernels, state["kernels"], strict=True):
            kernel.load_state_dict(own)


class AdaptedScale:
    """A positive number that is driven to where a target share of proposals is accepted.

    Args:
        value: At first.
        target: Share of accepted proposals; None keeps the value.
        largest: Upper limit.

    Source:
        H. Robbins, S. Monro, Ann. Math. Stat. 22, 400 (1951), on the logarithm.
    """

    def __init__(self, value: float, *, target: float | None, largest: float = np.inf) -> None:
        if not value > 0.0:
            raise InvalidInputError(f"a scale must be positive, got {value!r}")
        if target is not None and not 0.0 < target < 1.0:
            raise InvalidInputError(f"a target acceptance is between 0 and 1, got {target!r}")
        self.value = float(min(value, largest))
        self._target, self._largest, self._n = target, largest, 0

    def adapt(self, acceptance: float) -> None:
        """Take a step of shrinking size toward the target."""
        if self._target is None:
            return
        self._n += 1
        factor = np.exp((acceptance - self._target) / np.sqrt(self._n))
        self.value = float(min(self.value * factor, self._largest))

    def state_dict(self) -> dict[str, Any]:
        """Return value and number of steps."""
        return {"value": self.value, "n": self._n}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them over."""
        self.value, self._n = float(state["value"]), int(state["n"])


def warm_up(
    kernel: Kernel, state: ChainState, rng: np.random.Generator, n_steps: int
) -> ChainState:
    """Move and adapt, and return where the chains stand; the kernel is ready to measure with."""
    for _ in range(n_steps):
        step = kernel.step(state, rng)
        state = step.state
        kernel.adapt(step)
    return state


def accept(log_ratio: FloatArray, rng: np.random.Generator) -> BoolArray:
    """Return who goes to the proposal: with probability min(1, exp(log_ratio)) each, (n_chains,)."""
    # 1 - u is in (0, 1]: a ratio of zero is never accepted, and one is always.
    return np.log1p(-rng.random(len(log_ratio))) < log_ratio


def chosen(
    accepted: BoolArray, proposed: Positions, log_weights: FloatArray, state: ChainState
) -> ChainState:
    """Return the proposal where it was accepted and the old state elsewhere."""
    shape = (-1,) + (1,) * (proposed.ndim - 1)
    return ChainState(
        np.where(accepted.reshape(shape), proposed, state.positions),
        np.where(accepted, log_weights, state.log_weights),
    )


def differ(first: Positions, second: Positions) -> BoolArray:
    """Return which chains stand at different positions, (n_chains,)."""
    return np.asarray((first != second).reshape(len(first), -1).any(axis=1))


def checked_log_weights(log_weight: LogWeight, positions: Positions) -> FloatArray:
    """Return log-weights, (n_chains,); minus infinity is a weight of zero, NaN and infinity are mistakes.

    Raises:
        NonFiniteError: If one is NaN or plus infinity; the message names the chain.
        InvalidInputError: If their shape is wrong.
    """
    # A copy: the function may return the same array each time.
    values = np.array(log_weight(positions), dtype=np.float64)
    if values.shape != (len(positions),):
        raise InvalidInputError(
            f"log_weight returned shape {values.shape} for {len(positions)} chains; one number for each is "
            "needed"
        )
    wrong = np.isnan(values) | (values == np.inf)
    if wrong.any():
        chain = int(np.argmax(wrong))
        shown = np.array2string(np.asarray(positions[chain]), threshold=12, precision=4)
        raise NonFiniteError(
            f"log_weight returned {values[chain]} for chain {chain} at {shown}; it must be a number or minus "
            "infinity. Look at the weight there."
        )
    return values
