"""Moves that a flow proposes: a hot sample, carried to the temperature of the chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_botan.sampling.flow import Flow
from kakehashi_botan.sampling.monte_carlo import ParticleMoves
from kakehashi_core.chains import ChainState, Kernel, Step
from kakehashi_core.chains.kernels import Positions, accept, chosen
from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]


class FlowProposals(Kernel):
    """Independence Metropolis: every proposal is a new sample of a hotter liquid that the flow carried.

    The hot samples come from chains of their own, one for each chain, which make ``n_hot_sweeps`` sweeps
    between proposals: as many as it takes to forget. The rest is exact whatever the flow.

    Args:
        flow: From the hot temperature to that of the chains.
        hot: Temperature of the samples that are carried.
        temperature: Of the chains.
        n_hot_sweeps: Sweeps of the hot chains between two proposals.
        swaps: Share of exchanges among the moves of the hot chains.

    Raises:
        InvalidInputError: If the temperatures are not those of the flow.
    """

    def __init__(
        self,
        flow: Flow,
        hot: float,
        temperature: float,
        *,
        n_hot_sweeps: int = 100,
        swaps: float = 0.2,
    ) -> None:
        if not hot > temperature:
            raise InvalidInputError(
                f"the hot temperature, {hot:g}, must be above that of the chains, {temperature:g}"
            )
        flow.check_temperature(hot, "hot")
        flow.check_temperature(temperature)
        self._flow, self.hot, self.temperature = flow, float(hot), float(temperature)
        self._moves = ParticleMoves(flow.liquid, hot, swaps=swaps, n_sweeps=n_hot_sweeps)
        self._reservoir: ChainState | None = None

    def start(self, positions: Positions) -> ChainState:
        """See the base class; the hot chains start at the same positions."""
        liquid = self._flow.liquid
        x = liquid.checked(positions)
        self._reservoir = self._moves.start(x)
        return ChainState(x, -liquid.energies(x) / self.temperature)

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """See the base class."""
        if self._reservoir is None:
            self.start(state.positions)
        assert self._reservoir is not None  # noqa: S101  for the type checker
        self._reservoir = self._moves.step(self._reservoir, rng).state
        liquid = self._flow.liquid
        there = self._flow(self._reservoir.positions, self.hot, self.temperature)
        back = self._flow(state.positions, self.temperature, self.hot)
        log_weights = -liquid.energies(there.positions) / self.temperature
        # log of target over proposal density, for the proposal and for where the chain stands
        proposed = log_weights - self._reservoir.log_weights + there.log_determinants
        source = -liquid.energies(back.positions) / self.hot
        current = state.log_weights - source - back.log_determinants
        accepted = accept(proposed - current, rng)
        moved = np.ones(state.n_chains, dtype=bool)
        return Step(chosen(accepted, there.positions, log_weights, state), accepted, moved)

    def adapt(self, step: Step) -> None:
        """Let the moves of the hot chains learn their step."""
        self._moves.adapt(step)

    def state_dict(self) -> dict[str, Any]:
        """See the base class; where the hot chains stand is part of it."""
        found: dict[str, Any] = {"moves": self._moves.state_dict()}
        if self._reservoir is not None:
            found["positions"] = self._reservoir.positions
            found["log_weights"] = self._reservoir.log_weights
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        self._moves.load_state_dict(state["moves"])
        if "positions" in state:
            self._reservoir = ChainState(
                np.array(state["positions"]), np.array(state["log_weights"])
            )
