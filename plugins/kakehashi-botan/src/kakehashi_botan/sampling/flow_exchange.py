"""Moves that a flow proposes: a chain and a hotter one change places, each carried to where it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_botan.sampling.flow import Flow, check_flow
from kakehashi_botan.sampling.monte_carlo import ParticleMoves
from kakehashi_core.chains import ChainState, Kernel, Step
from kakehashi_core.chains.kernels import Positions, accept, chosen
from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]


class FlowExchange(Kernel):
    """Exchange with hot chains through a flow: x becomes f(y) and y becomes the inverse of f at x.

    Every chain has a hot partner, which makes sweeps of its own before and after. The pair keeps the product
    of both distributions exactly, whatever the flow and however long the hot chain remembers; if it forgets
    between exchanges, this is independence Metropolis with carried samples as proposals.

    Args:
        flow: Carries samples between the two temperatures.
        hot: Temperature of the partners.
        temperature: Of the chains.
        n_hot_sweeps: Sweeps of a partner in each step, half of them before the exchange; at least 2.
        swaps: Share of exchanges of particles among the moves of the partners.

    Attributes:
        n_proposed: Exchanges tried so far, all chains together.
        n_accepted: Those that were accepted.

    Raises:
        InvalidInputError: If the temperatures are not those of the flow.

    Source:
        M. Invernizzi, A. Kraemer, C. Clementi, F. Noe, J. Phys. Chem. Lett. 13, 11643 (2022), for learned
        replica exchange.
    """

    def __init__(
        self,
        flow: Flow,
        hot: float,
        temperature: float,
        *,
        n_hot_sweeps: int = 40,
        swaps: float = 0.2,
    ) -> None:
        if not hot > temperature:
            raise InvalidInputError(
                f"the hot temperature, {hot:g}, must be above that of the chains, {temperature:g}"
            )
        if n_hot_sweeps < 2:
            raise InvalidInputError(f"n_hot_sweeps must be at least 2, got {n_hot_sweeps}")
        check_flow(flow)
        flow.check_temperature(hot, "hot")
        flow.check_temperature(temperature)
        self._flow, self.hot, self.temperature = flow, float(hot), float(temperature)
        self.hot_moves = ParticleMoves(flow.liquid, hot, swaps=swaps, n_sweeps=n_hot_sweeps // 2)
        self._partners: ChainState | None = None
        self.n_proposed = self.n_accepted = 0

    def start(self, positions: Positions) -> ChainState:
        """See the base class; the partners start at the same positions."""
        liquid = self._flow.liquid
        x = liquid.checked(positions)
        self._partners = self.hot_moves.start(x)
        return ChainState(x, -liquid.energies(x) / self.temperature)

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """See the base class."""
        if self._partners is None:
            self.start(state.positions)
        assert self._partners is not None  # noqa: S101  for the type checker
        partners = self.hot_moves.step(self._partners, rng).state
        there = self._flow(partners.positions, self.hot, self.temperature)
        back = self._flow(state.positions, self.temperature, self.hot)
        liquid = self._flow.liquid
        cold = -liquid.energies(there.positions) / self.temperature
        warm = -liquid.energies(back.positions) / self.hot
        ratio = cold + warm - state.log_weights - partners.log_weights
        accepted = accept(ratio + there.log_determinants + back.log_determinants, rng)
        self.n_proposed += state.n_chains
        self.n_accepted += int(accepted.sum())
        partners = chosen(accepted, back.positions, warm, partners)
        # The same kind of sweeps on both sides makes the whole step reversible.
        self._partners = self.hot_moves.step(partners, rng).state
        moved = np.ones(state.n_chains, dtype=bool)
        return Step(chosen(accepted, there.positions, cold, state), accepted, moved)

    def adapt(self, step: Step) -> None:
        """Let the moves of the partners learn their length."""
        self.hot_moves.adapt(step)

    def state_dict(self) -> dict[str, Any]:
        """See the base class; where the partners stand is part of it."""
        found: dict[str, Any] = {
            "moves": self.hot_moves.state_dict(),
            "n_proposed": self.n_proposed,
            "n_accepted": self.n_accepted,
        }
        if self._partners is not None:
            found["positions"] = self._partners.positions
            found["log_weights"] = self._partners.log_weights
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        self.hot_moves.load_state_dict(state["moves"])
        self.n_proposed, self.n_accepted = int(state["n_proposed"]), int(state["n_accepted"])
        self._partners = None
        if "positions" in state:
            self._partners = ChainState(
                np.array(state["positions"]), np.array(state["log_weights"])
            )
