"""Configurations of a small glass former at one temperature: a trained flow and local moves together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from kakehashi_botan.sampling.flow_exchange import FlowExchange
from kakehashi_botan.sampling.liquid_samples import equilibrium_samples
from kakehashi_botan.sampling.liquids import Liquid, checked_temperature
from kakehashi_botan.sampling.monte_carlo import ParticleMoves
from kakehashi_botan.sampling.trained_flow import TrainedFlow, load_flow, load_packaged_flow
from kakehashi_core.chains import ChainSampler, EitherWay, Kernel, jackknife
from kakehashi_core.errors import InvalidInputError, unknown_name
from kakehashi_core.results import Estimate

FloatArray = npt.NDArray[np.float64]
Moves = Literal["mixture", "flow", "local"]

OBSERVABLES = ("energy", "energy_per_particle")
WARMUP = 50
TOLERANCE = 1e-3
"""Of positions and log-determinants along a chain: small beside the spread of log-weights, about 1."""


class GlassSampler(ChainSampler):
    """Configurations of a glass former at one temperature.

    Chains make local moves and exchange, through the flow, with partners at the next higher temperature of
    its ladder. The first call that needs samples equilibrates, cold chains by exchanges with hotter copies,
    and warms up; further calls go on where the chains stand.

    Args:
        temperature: In epsilon_AA / k_B, within the ladder of the flow and below its top; with local moves
            alone, any.
        flow: A trained flow, a file of one, or None for the shipped "flow-ka2d".
        liquid: If given, checked to be the one that the flow was trained for.
        moves: "mixture" of local moves and exchanges through the flow; "flow" or "local" alone.
        n_chains: Chains that move together.
        n_sweeps: Sweeps of local moves in each step.
        swaps: Share of exchanges of unlike particles among local moves; 0 for displacements only.
        warmup: Steps before the first measurement; None for enough.
        thin: Steps between measurements.
        seed: Of everything; None draws one and records it.
        device: Where the flow is followed.

    Attributes:
        seed: What all random numbers come from.
        temperature: As given.

    Raises:
        InvalidInputError: If the temperature is outside the ladder, the liquid another one, or a number
            makes no sense.
        UnknownNameError: If there are no such moves.
    """

    def __init__(
        self,
        temperature: float,
        *,
        flow: TrainedFlow | str | Path | None = None,
        liquid: Liquid | None = None,
        moves: Moves = "mixture",
        n_chains: int = 8,
        n_sweeps: int = 20,
        swaps: float = 0.2,
        warmup: int | None = None,
        thin: int = 1,
        seed: int | None = None,
        device: str = "cpu",
    ) -> None:
        if moves not in get_args(Moves):
            raise unknown_name("moves", moves, get_args(Moves))
        if n_chains < 1:
            raise InvalidInputError(f"n_chains must be at least 1, got {n_chains}")
        trained = trained_flow(flow)
        if liquid is not None:
            trained.check_liquid(liquid)
        checked_temperature(temperature)
        self.temperature, self._trained = float(temperature), trained
        self._moves, self._swaps, self._n_sweeps = moves, float(swaps), int(n_sweeps)
        self._exchange: FlowExchange | None = None
        self._local: ParticleMoves | None = None
        kernels: list[Kernel] = []
        if moves != "flow":
            self._local = ParticleMoves(trained.liquid, temperature, swaps=swaps, n_sweeps=n_sweeps)
            kernels.append(self._local)
        if moves != "local":
            hot = trained.rungs(temperature)[-2]
            carried = trained.flow(tolerance=TOLERANCE, device=device)
            self._exchange = FlowExchange(carried, hot, temperature)
            kernels.append(self._exchange)
        super().__init__(
            EitherWay(kernels),
            lambda rng: equilibrium_samples(trained.liquid, temperature, n_chains, rng),
            warmup=WARMUP if warmup is None else warmup,
            thin=thin,
            seed=seed,
        )

    def __repr__(self) -> str:
        return (
            f"GlassSampler({self.temperature:g}, moves={self._moves!r}, n_chains={self._state.n_chains}, "
            f"seed={self.seed}), {len(self._measured)} configurations of each chain"
        )

    @property
    def liquid(self) -> Liquid:
        """What is sampled."""
        return self._trained.liquid

    @property
    def types(self) -> npt.NDArray[np.int64]:
        """Species of each particle, (n_particles,)."""
        return self.liquid.types

    def expt_value(self, operator: Any) -> Estimate:
        """Return the average of an observable with its error.

        Args:
            operator: "energy" (of all particles), "energy_per_particle", or a function of positions,
                (n, n_particles, 2), to numbers, (n,).

        Raises:
            InvalidInputError: If the shape of what a function returns is wrong.
            UnknownNameError: If there is no such observable.
        """
        return self.autocorrelation(operator).estimate()

    def heat_capacity(self) -> Estimate:
        """Return the excess heat capacity per particle, Var(U) / (N T^2), k_B."""
        energies = self.series("energy")
        energies = energies - energies.mean()
        unit = self.liquid.n_particles * self.temperature**2
        return jackknife(
            lambda square, mean: (square - mean**2) / unit, np.square(energies), energies
        )

    def diagnostics(self) -> Mapping[str, float]:
        """Return tau_int, ESS and R-hat of the energy, and the accepted shares of each kind of move."""
        found = dict(super().diagnostics())
        # A step is many moves: that one of them was accepted says nothing.
        del found["acceptance"]
        if self._local is not None:
            found |= self._local.acceptances()
        if self._exchange is not None:
            found["flow acceptance"] = self._exchange.n_accepted / max(self._exchange.n_proposed, 1)
        return found

    def series(self, operator: Any) -> FloatArray:
        """See the base class; arguments as of ``expt_value``."""
        if callable(operator):
            return self.applied(operator)
        if operator == "energy":
            return self.applied(self.liquid.energies)
        if operator == "energy_per_particle":
            return self.applied(self.liquid.energies) / self.liquid.n_particles
        raise unknown_name("observable", str(operator), OBSERVABLES)

    def arguments(self) -> dict[str, Any]:
        """See the base class."""
        return {
            "temperature": self.temperature,
            "liquid": self.liquid.describe(),
            "flow": self._trained.sha256,
            "moves": self._moves,
            "n_sweeps": self._n_sweeps,
            "swaps": self._swaps,
        }


def trained_flow(flow: TrainedFlow | str | Path | None) -> TrainedFlow:
    """Return a flow from itself, its file, its name, or the shipped one."""
    if flow is None:
        return load_packaged_flow()
    if isinstance(flow, str) and not Path(flow).suffix and not Path(flow).exists():
        return load_packaged_flow(flow)
    if isinstance(flow, str | Path):
        return load_flow(flow)
    if not isinstance(flow, TrainedFlow):
        raise InvalidInputError(
            f"flow is {flow!r}; a trained flow, the path of its file, or None is needed"
        )
    return flow


def small_sampler(*, seed: int | None = None) -> GlassSampler:
    """Return a sampler of a few short chains, for checks."""
    return GlassSampler(0.8, n_chains=2, warmup=5, seed=seed)
