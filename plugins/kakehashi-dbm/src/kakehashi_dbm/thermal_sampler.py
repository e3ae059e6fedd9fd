"""Thermal states of spin models as samplers: states, averages with errors, correlators in imaginary time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.random_streams import recorded_seed
from kakehashi_core.results import Estimate
from kakehashi_dbm.arguments import number, spin_model, whole
from kakehashi_dbm.compact_network import CompactNetwork
from kakehashi_dbm.engines import Spins, engine_for
from kakehashi_dbm.measured_chains import MeasuredChains
from kakehashi_dbm.thermal_averages import ThermalAverages
from kakehashi_dbm.trotter_steps import (
    PILOT_MEASUREMENTS,
    PILOT_STEPS,
    extrapolated,
    step_within,
    trotter_bias,
)
from kakehashi_quspin.basis_integers import integers_of
from kakehashi_quspin.spin_model import SpinModel

TROTTER_STEP = 0.1
"""Imaginary time of a slice times the largest coupling; the error of energies falls with its square."""
TOLERANCE = 1e-4
FIRST_RUN = 500
"""Measurements of each chain that are made when an average is asked for before anything was sampled."""


class ThermalDBM(ThermalAverages):
    """Samples of a thermal state from the deep Boltzmann machine that is written down for it.

    Args:
        model: Ising model in a transverse field, with longitudinal fields and disorder, on any graph; or XXZ
            model without frustration of its exchange, with fields along z.
        beta: Inverse temperature, at least 0.
        trotter_step: Imaginary time of a slice times the largest coupling, 0.1 by default; "auto" measures in
            short runs which one keeps the energy within the tolerance.
        tolerance: Error of the energy of a site by finite slices, for "auto"; 1e-4 by default.
        n_slices: Number of slices instead, even.
        network: Learned layers instead of slices, see ``fit_network``; or the file where they are.
        n_chains: Chains that move together.
        warmup: Updates before the first measurement.
        thin: Updates between measurements.
        seed: Of everything; None draws one and records it.
        device: Where the chains of Ising models move: "cpu", "cuda[:i]" or "auto"; a GPU wants hundreds of
            chains.

    Attributes:
        trotter_step: What was given, or found.

    Raises:
        UnsupportedError: If the model has other terms, or a sign problem; the message names them.
        InvalidInputError: If a number makes no sense.
    """

    def __init__(
        self,
        model: SpinModel,
        *,
        beta: float,
        trotter_step: float | Literal["auto"] | None = None,
        tolerance: float | None = None,
        n_slices: int | None = None,
        network: CompactNetwork | str | Path | None = None,
        n_chains: int = 8,
        warmup: int = 50,
        thin: int = 1,
        seed: int | None = None,
        device: str = "cpu",
    ) -> None:
        spin_model(model)
        beta = number("beta", beta, least=0.0)
        whole("n_chains", n_chains, least=1)
        if n_slices is not None and whole("n_slices", n_slices, least=2) % 2:
            raise InvalidInputError(f"n_slices must be even, got {n_slices}")
        ways = {"trotter_step": trotter_step, "n_slices": n_slices, "network": network}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise InvalidInputError(f"{' and '.join(given)} exclude each other; pass one of them")
        if tolerance is not None and trotter_step != "auto":
            raise InvalidInputError("tolerance belongs to trotter_step='auto'")
        seed = recorded_seed(seed)
        if trotter_step == "auto":
            trotter_step = _automatic_step(
                model, beta, TOLERANCE if tolerance is None else tolerance, seed
            )
        if trotter_step is None:
            trotter_step = TROTTER_STEP
        if not (isinstance(trotter_step, int | float) and 0.0 < trotter_step <= 1.0):
            raise InvalidInputError(
                f"trotter_step must be between 0 and 1, or 'auto', got {trotter_step!r}"
            )
        self.trotter_step = float(trotter_step)
        if isinstance(network, str | Path):
            network = CompactNetwork.load(network)
        if network is not None:
            network.check(model, beta)
        engine = engine_for(
            model,
            beta,
            self.trotter_step,
            n_slices=n_slices,
            network=network,
            device=device,
        )
        super().__init__(model, engine, n_chains)
        self._thin, self._warmup = thin, warmup
        self._chains = MeasuredChains(
            engine.kernel,
            lambda rng: engine.random_start(rng, n_chains),
            warmup=warmup,
            thin=thin,
            seed=seed,
        )
        self._coarse: ThermalDBM | None = None

    @property
    def seed(self) -> int:
        """What all random numbers come from."""
        return self._chains.seed

    def run(self, n_measurements: int) -> None:
        """Measure each chain so many times more.

        Raises:
            InvalidInputError: If the number is not positive.
        """
        self._chains.run(n_measurements, self.add)

    def sample(self, n: int) -> npt.NDArray[Any]:
        """Return n new states as basis integers of QuSpin, (n,); chains one after the other."""
        return integers_of(self.sample_spins(n))

    def sample_spins(self, n: int) -> Spins:
        """Return n new states as spins, (n, n_sites), +1 for up.

        Raises:
            InvalidInputError: If n is not positive.
        """
        whole("the number of states", n, least=1)
        before = len(self._record)
        self.run(math.ceil(n / len(self._chains.positions)))
        new = [self._engine.states(p)[:, 0] for p in self._record.since(before)]
        return np.concatenate(new)[:n]

    def trotter_bias(self, operator: Any = None) -> Estimate:
        """Return how far the energy is off because slices are finite, with the error of this estimate.

        A second sampler with half of the slices measures as often as this one did.

        Args:
            operator: Of this operator instead, see ``expt_value``.

        Raises:
            UnsupportedError: For learned layers, which are as many as they are.
        """
        return trotter_bias(*self._both(operator))

    def extrapolated(self, operator: Any = None) -> Estimate:
        """Return the energy, or the average of an operator, without the error of finite slices.

        The error bar grows by about 4/3; worth it where ``trotter_bias`` is larger than the error bar.

        Args:
            operator: See ``expt_value``; None for the energy.

        Raises:
            UnsupportedError: For learned layers.
        """
        return extrapolated(*self._both(operator))

    def state_dict(self) -> Mapping[str, Any]:
        """Return what is needed to go on to the last bit."""
        return {
            **self._chains.state_dict(),
            "beta": self.beta,
            "measured": self.measured(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state of a sampler with the same arguments.

        Raises:
            InvalidInputError: If the state is that of another model or temperature.
        """
        shape = np.shape(state["positions"])
        if shape != self._chains.positions.shape or float(state["beta"]) != self.beta:
            raise InvalidInputError(
                f"the state has the shape {shape} at beta = {state['beta']}, this sampler has "
                f"{self._chains.positions.shape} at {self.beta}"
            )
        self._chains.load_state_dict(state)
        self.load_measured(state["measured"])

    def _ensure(self) -> None:
        if not len(self._record):
            self.run(FIRST_RUN)

    def _both(self, operator: Any) -> tuple[Estimate, Estimate, float]:
        """Return an average here and with half of the slices, and how many times more there are here."""
        self._need_uniform("errors of finite slices")
        if self.n_slices < 4:
            raise InvalidInputError("two slices cannot be halved; take more")
        self._ensure()
        if self._coarse is None:
            self._coarse = ThermalDBM(
                self._model,
                beta=self.beta,
                n_slices=2 * ((self.n_slices + 2) // 4),
                n_chains=len(self._chains.positions),
                warmup=self._warmup,
                thin=self._thin,
                seed=self.seed + 1,
            )
        missing = len(self._record) - len(self._coarse._record)
        if missing > 0:
            self._coarse.run(missing)
        ratio = self.n_slices / self._coarse.n_slices
        if operator is None:
            return self.energy(), self._coarse.energy(), ratio
        return self.expt_value(operator), self._coarse.expt_value(operator), ratio


def _automatic_step(model: SpinModel, beta: float, tolerance: float, seed: int) -> float:
    def energy(step: float) -> Estimate:
        pilot = ThermalDBM(model, beta=beta, trotter_step=step, seed=seed + 1)
        pilot.run(PILOT_MEASUREMENTS)
        return pilot.energy()

    wide, narrow = (energy(step) for step in PILOT_STEPS)
    return step_within(tolerance, wide, narrow, model.n_sites)
