"""Thermal states of spin models as samplers: states, averages with errors, correlators in imaginary time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import autocorrelation, effective_sample_size, rhat
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.random_streams import recorded_seed
from kakehashi_core.results import Estimate
from kakehashi_dbm.engines import Spins, engine_for
from kakehashi_quspin.basis_integers import integers_of
from kakehashi_quspin.operator_lists import pauli_sum
from kakehashi_quspin.pauli_strings import is_hermitian
from kakehashi_quspin.spin_model import SpinModel

FloatArray = npt.NDArray[np.float64]

TROTTER_STEP = 0.05
"""Imaginary time of a slice times the largest coupling; the error of energies falls with its square."""
FIRST_RUN = 500
"""Measurements of each chain that are made when an average is asked for before anything was sampled."""


class ThermalDBM:
    """Samples of a thermal state from the deep Boltzmann machine that is written down for it.

    Args:
        model: Ising model in a transverse field, with longitudinal fields and disorder, on any graph; or XXZ
            model without frustration of its exchange, with fields along z.
        beta: Inverse temperature, at least 0.
        trotter_step: Imaginary time of a slice times the largest coupling.
        n_chains: Chains that move together.
        warmup: Updates before the first measurement.
        thin: Updates between measurements.
        seed: Of everything; None draws one and records it.

    Attributes:
        seed: What all random numbers come from.

    Raises:
        UnsupportedError: If the model has other terms, or a sign problem; the message names them.
        InvalidInputError: If a number makes no sense.
    """

    def __init__(
        self,
        model: SpinModel,
        *,
        beta: float,
        trotter_step: float = TROTTER_STEP,
        n_chains: int = 8,
        warmup: int = 50,
        thin: int = 1,
        seed: int | None = None,
    ) -> None:
        if not (math.isfinite(beta) and beta >= 0.0):
            raise InvalidInputError(f"beta is {beta!r}; an inverse temperature is at least 0")
        if not 0.0 < trotter_step <= 1.0:
            raise InvalidInputError(f"trotter_step must be between 0 and 1, got {trotter_step!r}")
        for name, number in (("n_chains", n_chains), ("thin", thin)):
            if number < 1:
                raise InvalidInputError(f"{name} must be at least 1, got {number}")
        if warmup < 0:
            raise InvalidInputError(f"warmup must be at least 0, got {warmup}")
        self._model, self._engine = model, engine_for(model, float(beta), trotter_step)
        self.beta, self._thin, self._warmup = float(beta), thin, warmup
        self._kernel = self._engine.kernel
        self.seed = recorded_seed(seed)
        self._rng = np.random.default_rng(self.seed)
        start = self._engine.random_start(self._rng, n_chains)
        self._state = self._kernel.start(start)
        self._warm = False
        self._positions = np.zeros((0, *start.shape), dtype=np.int8)
        self._energies = np.zeros((0, n_chains))

    @property
    def n_slices(self) -> int:
        """Slices in imaginary time."""
        return self._engine.n_slices

    def run(self, n_measurements: int) -> None:
        """Measure each chain so many times more.

        Raises:
            InvalidInputError: If the number is not positive.
        """
        if n_measurements < 1:
            raise InvalidInputError(f"n_measurements must be at least 1, got {n_measurements}")
        if not self._warm:
            for _ in range(self._warmup):
                self._state = self._kernel.step(self._state, self._rng).state
            self._warm = True
        found = []
        for _ in range(n_measurements):
            for _ in range(self._thin):
                self._state = self._kernel.step(self._state, self._rng).state
            found.append(self._state.positions)
        self._positions = np.concatenate([self._positions, np.array(found)])

    def sample(self, n: int) -> npt.NDArray[Any]:
        """Return n new states as basis integers of QuSpin, (n,); chains one after the other."""
        return integers_of(self.sample_spins(n))

    def sample_spins(self, n: int) -> Spins:
        """Return n new states as spins, (n, n_sites), +1 for up.

        Raises:
            InvalidInputError: If n is not positive.
        """
        if n < 1:
            raise InvalidInputError(f"the number of states must be at least 1, got {n}")
        n_measurements = math.ceil(n / self._state.n_chains)
        self.run(n_measurements)
        new = [self._engine.states(p)[:, 0] for p in self._positions[-n_measurements:]]
        return np.concatenate(new)[:n]

    def energy(self) -> Estimate:
        """Return <H>."""
        return autocorrelation(self._energy_series()).estimate()

    def expt_value(self, operator: Any) -> Estimate:
        """Return the average of a Hermitian operator.

        Args:
            operator: List as QuSpin writes it, in the convention of the basis of the model.

        Raises:
            InvalidInputError: If it is no such list, or not Hermitian.
            UnsupportedError: If the operator cannot be read off the samples; the message names the term.
        """
        return autocorrelation(self._series(operator)).estimate()

    def correlator(self, first: int, second: int) -> tuple[FloatArray, list[Estimate]]:
        """Return <z_i(tau) z_j> in imaginary time, from tau = 0 to beta / 2.

        Args:
            first: Site i.
            second: Site j.

        Returns:
            tau, (n_slices / 2 + 1,), and an estimate for each.

        Raises:
            InvalidInputError: If there is no such site.
        """
        n = self._model.n_sites
        if not (0 <= first < n and 0 <= second < n):
            raise InvalidInputError(f"sites are 0 to {n - 1}, got {first} and {second}")
        self._ensure()
        states = [self._engine.states(p) for p in self._positions]
        later = np.array([s[..., first] for s in states], dtype=float)
        now = np.array([s[..., second] for s in states], dtype=float)
        numbers = range(self.n_slices // 2 + 1)
        found = [
            autocorrelation((np.roll(later, -m, axis=2) * now).mean(axis=2).T).estimate()
            for m in numbers
        ]
        return self.beta / self.n_slices * np.array(numbers), found

    def diagnostics(self) -> Mapping[str, float]:
        """Return acceptance (1: cluster updates), and of the energy tau_int, ESS and R-hat."""
        values = self._energy_series()
        several = len(values) > 1
        return {
            "acceptance": 1.0,
            "tau_int": autocorrelation(values).tau_int,
            "ESS": effective_sample_size(values) if several else math.nan,
            "R-hat": rhat(values) if several else math.nan,
        }

    def state_dict(self) -> Mapping[str, Any]:
        """Return what is needed to go on to the last bit."""
        return {
            "seed": self.seed,
            "beta": self.beta,
            "warm": self._warm,
            "positions": self._state.positions,
            "measured": self._positions,
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state of a sampler with the same arguments.

        Raises:
            InvalidInputError: If the state is that of another model or temperature.
        """
        shape = np.shape(state["positions"])
        if shape != self._state.positions.shape or float(state["beta"]) != self.beta:
            raise InvalidInputError(
                f"the state has the shape {shape} at beta = {state['beta']}, this sampler has "
                f"{self._state.positions.shape} at {self.beta}"
            )
        self.seed, self._warm = int(state["seed"]), bool(state["warm"])
        positions = np.array(state["positions"], dtype=np.int8)
        self._state = self._kernel.start(positions)
        self._positions = np.array(state["measured"], dtype=np.int8)
        self._energies = self._energies[:0]
        self._rng.bit_generator.state = state["rng"]

    def _ensure(self) -> None:
        if not len(self._positions):
            self.run(FIRST_RUN)

    def _energy_series(self) -> FloatArray:
        """Return the energy at every measurement, (n_chains, n_measurements)."""
        self._ensure()
        new = [self._engine.energies(p) for p in self._positions[len(self._energies) :]]
        if new:
            self._energies = np.concatenate([self._energies, np.array(new)])
        return self._energies.T

    def _series(self, operator: Any) -> FloatArray:
        sums = pauli_sum(operator, self._model.n_sites, pauli=self._model.pauli)
        if not is_hermitian(sums):
            raise InvalidInputError("the operator is not Hermitian; add the conjugate terms")
        real = {string: float(complex(c).real) for string, c in sums.items()}
        self._ensure()
        return np.array([self._engine.averages(p, real) for p in self._positions]).T
