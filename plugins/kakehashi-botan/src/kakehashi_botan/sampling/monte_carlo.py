"""Metropolis Monte Carlo of small liquids: displacements, and exchanges of unlike particles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_botan.sampling.liquids import Liquid, checked_temperature
from kakehashi_botan.sampling.particle_moves import sweep
from kakehashi_core.chains import AdaptedScale, ChainState, Kernel, Step
from kakehashi_core.chains.kernels import Positions
from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]

TARGET_ACCEPTANCE = 0.4
FIRST_STEP = 0.1
"""Of the largest displacement at temperature 1, sigma_AA."""


class ParticleMoves(Kernel):
    """Sweeps of single-particle moves at one temperature, compiled.

    Log-weights of the states are -U/T. Every move is reversible, and moves are drawn independently.

    Args:
        liquid: What is sampled.
        temperature: In epsilon_AA / k_B.
        swaps: Share of moves that exchange the places of two unlike particles; 0 is plain Metropolis.
        n_sweeps: Sweeps per step; a sweep tries as many moves as there are particles.

    Attributes:
        scale: Largest displacement, sigma_AA, adapted in the warm-up.
        n_moves: Moves tried so far by each chain: what a comparison counts as energy evaluations of one
            particle each (an exchange as two).

    Raises:
        InvalidInputError: If a number makes no sense.

    Source:
        A. Ninarello, L. Berthier, D. Coslovich, Phys. Rev. X 7, 021039 (2017), for the exchanges.
    """

    def __init__(
        self, liquid: Liquid, temperature: float, *, swaps: float = 0.2, n_sweeps: int = 10
    ) -> None:
        checked_temperature(temperature)
        if not 0.0 <= swaps < 1.0:
            raise InvalidInputError(
                f"swaps is {swaps}; it is the share of exchanges among the moves, at least 0 and below 1"
            )
        if n_sweeps < 1:
            raise InvalidInputError(f"n_sweeps must be at least 1, got {n_sweeps}")
        self.liquid, self.temperature = liquid, float(temperature)
        self._swaps, self._n_sweeps = float(swaps), n_sweeps
        self._types, self._terms, self._edge = liquid.types, liquid.terms, liquid.edge
        self.scale = AdaptedScale(
            FIRST_STEP * np.sqrt(temperature), target=TARGET_ACCEPTANCE, largest=0.5 * liquid.edge
        )
        self._last_acceptance = TARGET_ACCEPTANCE
        self.n_moves = 0
        # Accepted displacements and swaps, then tried ones.
        self._counts = np.zeros(4, dtype=np.int64)

    def acceptances(self) -> dict[str, float]:
        """Return the accepted shares of all displacements and swaps so far, by name."""
        shares = self._counts[:2] / np.maximum(self._counts[2:], 1)
        found = {"displacement acceptance": float(shares[0])}
        if self._swaps:
            found["swap acceptance"] = float(shares[1])
        return found

    def start(self, positions: Positions) -> ChainState:
        """See the base class; positions (n_chains, n_particles, dimension)."""
        x = self.liquid.checked(positions)
        return ChainState(x, -self.liquid.energies(x) / self.temperature)

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """Sweep every chain; accepted and moved are those in which a move was accepted."""
        x = np.array(state.positions)
        n_chains = len(x)
        energies = -self.temperature * state.log_weights
        counts = np.zeros((n_chains, 4), dtype=np.int64)
        betas, scales = (
            np.full(n_chains, 1.0 / self.temperature),
            np.full(n_chains, self.scale.value),
        )
        system = (self._types, self._terms, self._edge)
        for _ in range(self._n_sweeps):
            sweep(x, *system, betas, scales, self._swaps, energies, rng, counts)
        self.n_moves += self._n_sweeps * x.shape[1]
        self._counts += counts.sum(axis=0)
        self._last_acceptance = float(counts[:, 0].sum() / max(counts[:, 2].sum(), 1))
        moved = counts[:, :2].sum(axis=1) > 0
        return Step(ChainState(x, -energies / self.temperature), moved, moved)

    def adapt(self, step: Step) -> None:  # noqa: ARG002  the counts are kept by the step
        """Move the largest displacement toward the target acceptance."""
        self.scale.adapt(self._last_acceptance)

    def state_dict(self) -> dict[str, Any]:
        """See the base class."""
        return {
            "scale": self.scale.state_dict(),
            "n_moves": self.n_moves,
            "counts": self._counts.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        self.scale.load_state_dict(state["scale"])
        self.n_moves = int(state["n_moves"])
        self._counts = np.array(state["counts"])


def equilibrated(
    liquid: Liquid,
    temperature: float,
    n_chains: int,
    rng: np.random.Generator,
    *,
    n_sweeps: int = 2000,
    hottest: float = 3.0,
) -> tuple[ChainState, ParticleMoves]:
    """Cool chains from a hot state, and return them with a kernel that has learned its steps.

    The kernel counts all moves, those of the cooling included.

    Args:
        liquid: What is sampled.
        temperature: Where it ends.
        n_chains: How many chains.
        rng: Random numbers.
        n_sweeps: Sweeps of the cooling, and as many again at the temperature.
        hottest: Temperature of the start.
    """
    x = liquid.random_positions(n_chains, rng)
    n_stages = 20
    stages = np.linspace(1.0 / max(hottest, temperature), 1.0 / temperature, n_stages)
    cooling = 0
    for beta in stages:
        kernel = ParticleMoves(liquid, 1.0 / beta, n_sweeps=10)
        x = _warm(kernel, x, rng, max(n_sweeps // (10 * n_stages), 5)).positions
        cooling += kernel.n_moves
    kernel = ParticleMoves(liquid, temperature, n_sweeps=10)
    kernel.n_moves = cooling
    return _warm(kernel, x, rng, max(n_sweeps // 10, 5)), kernel


def _warm(
    kernel: ParticleMoves, positions: FloatArray, rng: np.random.Generator, n_steps: int
) -> ChainState:
    state = kernel.start(positions)
    for _ in range(n_steps):
        step = kernel.step(state, rng)
        state = step.state
        kernel.adapt(step)
    return state
