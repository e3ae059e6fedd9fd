"""All temperatures in one run: chains at neighboring ones exchange their configurations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import ParallelTempering
from kakehashi_core.errors import InvalidInputError
from kakehashi_dbm.arguments import spin_model, whole
from kakehashi_dbm.engines import Spins, engine_for
from kakehashi_dbm.measured_chains import MeasuredChains
from kakehashi_dbm.thermal_averages import ThermalAverages
from kakehashi_dbm.thermal_curve import ThermalCurve
from kakehashi_dbm.thermal_sampler import TROTTER_STEP
from kakehashi_quspin.spin_model import SpinModel

FloatArray = npt.NDArray[np.float64]


class ThermalLadder:
    """Thermal states at several temperatures, for models whose cold states are hard to reach.

    All temperatures have as many slices as the coldest one, so that configurations fit everywhere.

    Args:
        model: See ``ThermalDBM``.
        betas: Inverse temperatures, positive, at least two different ones.
        trotter_step: At the lowest temperature, imaginary time of a slice times the largest coupling.
        n_chains: Ladders side by side.
        warmup: Updates before the first measurement.
        thin: Updates between measurements.
        seed: Of everything; None draws one and records it.

    Attributes:
        betas: Coldest first.
        rungs: Averages at each of them, in the same order.

    Raises:
        UnsupportedError: If the model cannot be sampled; the message names the term.
        InvalidInputError: If a number makes no sense.
    """

    def __init__(
        self,
        model: SpinModel,
        betas: Sequence[float],
        *,
        trotter_step: float = TROTTER_STEP,
        n_chains: int = 4,
        warmup: int = 50,
        thin: int = 1,
        seed: int | None = None,
    ) -> None:
        spin_model(model)
        listed = np.atleast_1d(np.asarray(betas, dtype=float)).tolist()
        distinct = sorted(set(listed), reverse=True)
        if len(distinct) < 2 or not all(math.isfinite(b) and b > 0.0 for b in distinct):
            raise InvalidInputError(
                f"at least two different positive inverse temperatures are needed, got {listed}"
            )
        whole("n_chains", n_chains, least=1)
        self.betas = tuple(distinct)
        self._model = model
        coldest = engine_for(model, distinct[0], trotter_step)
        n_slices = coldest.n_slices
        others = [engine_for(model, b, trotter_step, n_slices=n_slices) for b in distinct[1:]]
        engines = [coldest, *others]
        couplings = np.stack([e.couplings for e in engines], axis=1)
        self.rungs = tuple(ThermalAverages(model, e, n_chains) for e in engines)
        self._kernel = ParallelTempering(
            [e.kernel for e in engines], lambda p: coldest.features(p) @ couplings
        )
        self._chains = MeasuredChains(
            self._kernel,
            lambda rng: np.stack([e.random_start(rng, n_chains) for e in engines], axis=1),
            warmup=warmup,
            thin=thin,
            seed=seed,
        )

    @property
    def seed(self) -> int:
        """What all random numbers come from."""
        return self._chains.seed

    @property
    def exchange_rates(self) -> FloatArray:
        """Accepted exchanges over attempted ones of neighboring temperatures, (n_betas - 1,)."""
        return self._kernel.exchanges / np.maximum(self._kernel.attempts, 1)

    def run(self, n_measurements: int) -> None:
        """Measure every chain at every temperature so many times more.

        Raises:
            InvalidInputError: If the number is not positive.
        """

        def measure(positions: Spins) -> None:
            for k, rung in enumerate(self.rungs):
                rung.add(positions[:, k])

        self._chains.run(n_measurements, measure)

    def at(self, beta: float) -> ThermalAverages:
        """Return the averages at a temperature of the ladder.

        Raises:
            InvalidInputError: If it is none of them.
        """
        for known, rung in zip(self.betas, self.rungs, strict=True):
            if math.isclose(known, beta, rel_tol=1e-9):
                return rung
        listed = ", ".join(f"{b:g}" for b in self.betas)
        raise InvalidInputError(f"beta = {beta!r} is not on the ladder, which has {listed}")

    def curve(self) -> ThermalCurve:
        """Return energy, specific heat, entropy and free energy as functions of temperature.

        Raises:
            InvalidInputError: If nothing was measured, or there are fewer than four temperatures.
        """
        energies = [rung.energy() for rung in self.rungs]
        return ThermalCurve.fit(self._model, list(self.betas), energies)

    def state_dict(self) -> Mapping[str, Any]:
        """Return what is needed to go on to the last bit."""
        return {
            **self._chains.state_dict(),
            "betas": self.betas,
            "measured": [rung.measured() for rung in self.rungs],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state of a ladder with the same arguments.

        Raises:
            InvalidInputError: If the state is that of another model or ladder.
        """
        shape = np.shape(state["positions"])
        if shape != self._chains.positions.shape or tuple(state["betas"]) != self.betas:
            raise InvalidInputError("the state is that of another model or ladder")
        self._chains.load_state_dict(state)
        for rung, measured in zip(self.rungs, state["measured"], strict=True):
            rung.load_measured(measured)
