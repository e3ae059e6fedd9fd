"""Thermal states learned in imaginary time: networks for physical and ancilla spins, from beta = 0 on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_core.random_streams import recorded_seed
from kakehashi_core.results import Estimate
from kakehashi_dbm.arguments import number, spin_model, whole
from kakehashi_dbm.gate_state import GateState
from kakehashi_dbm.machine_state import MachineState
from kakehashi_dbm.network_state import NetworkState
from kakehashi_dbm.stochastic_reconfiguration import evolve
from kakehashi_quspin.basis_integers import integers_of
from kakehashi_quspin.spin_model import SpinModel, hermitian_terms

FloatArray = npt.NDArray[np.float64]
Spins = npt.NDArray[np.int8]

FIRST_BETA = 0.1
"""Inverse temperature of the start, in units of one over the largest coupling."""
SHIFT_SUMMED, SHIFT_SAMPLED = 1e-6, 1e-3


class PurifiedNQS:
    """A thermal state whose parameters follow imaginary time by stochastic reconfiguration.

    Args:
        model: Spin model.
        beta: Inverse temperature, positive.
        ansatz: "rbm": restricted Boltzmann machine with pair couplings, for models in a transverse field;
            "gates": layers of gates with learned times, summed exactly, for any real model of up to 20 sites;
            "auto": the first where every site has a transverse field, the second otherwise.
        n_filters: Of "rbm".
        symmetries: Of "rbm": permutations of sites, (n, n_sites), a group; None finds translations of a ring.
        complex_weights: Of "rbm": for states with signs.
        n_samples: Of "rbm", at each step; None sums over all states up to 8 sites, and takes 2000 beyond.
        n_layers: Of "gates".
        n_vectors: Of "gates": random vectors in place of all ancilla states, beyond 8 sites.
        n_measured: Of "gates": new random vectors for averages at the end.
        growth: Largest step, relative to the imaginary time.
        tolerance: Error of a step, as a distance of normalized states; steps are halved where it is larger.
        shift: Of the metric, relative to its mean diagonal; None takes 1e-6 for sums and 1e-3 for samples.
        seed: Of everything; None draws one and records it.

    Attributes:
        beta: Inverse temperature.
        path: Inverse temperatures on the way and the energy at each, after ``evolve``.

    Source:
        Y. Nomura, N. Yoshioka, F. Nori, Phys. Rev. Lett. 127, 060601 (2021), method II.

    Raises:
        UnsupportedError: If the ansatz cannot treat the model; the message names the reason.
        InvalidInputError: If a number makes no sense.
    """

    def __init__(
        self,
        model: SpinModel,
        *,
        beta: float,
        ansatz: Literal["auto", "rbm", "gates"] = "auto",
        n_filters: int = 4,
        symmetries: npt.ArrayLike | None = None,
        complex_weights: bool = False,
        n_samples: int | None = None,
        n_layers: int = 4,
        n_vectors: int = 16,
        n_measured: int = 64,
        growth: float = 0.1,
        tolerance: float = 1e-3,
        shift: float | None = None,
        seed: int | None = None,
    ) -> None:
        spin_model(model)
        if number("beta", beta, least=0.0) == 0.0:
            raise InvalidInputError(
                "beta is 0; it must be positive: all states are alike at beta = 0"
            )
        if ansatz not in {"auto", "rbm", "gates"}:
            raise InvalidInputError(f"ansatz is {ansatz!r}; 'auto', 'rbm' or 'gates' is needed")
        if model.n_up is not None:
            raise UnsupportedError(
                f"the basis fixes {model.n_up} spins up, which these networks do not; leave Nup out"
            )
        for name, value in (("growth", growth), ("tolerance", tolerance), ("shift", shift)):
            if value is not None and not 0.0 < number(name, value) <= 1.0:
                raise InvalidInputError(f"{name} must be between 0 and 1, got {value!r}")
        for name, count in (
            ("n_samples", n_samples),
            ("n_vectors", n_vectors),
            ("n_measured", n_measured),
        ):
            if count is not None:
                whole(name, count, least=2)
        for name, count in (("n_filters", n_filters), ("n_layers", n_layers)):
            whole(name, count, least=1)
        self.seed = recorded_seed(seed)
        self.beta, self._model = float(beta), model
        self._growth, self._tolerance = growth, tolerance
        self._rng = np.random.default_rng(self.seed)
        if ansatz == "auto":
            fields = all(((i, "x"),) in model.terms for i in range(model.n_sites))
            ansatz = "rbm" if fields else "gates"
        state: NetworkState
        if ansatz == "rbm":
            state = MachineState(
                model, n_filters, symmetries, complex_weights, n_samples, self._rng
            )
        else:
            state = GateState(model, n_layers, n_vectors, n_measured, self._rng)
        self._state = state
        self._theta: FloatArray | None = None
        self._shift = shift or (SHIFT_SAMPLED if state.sampled else SHIFT_SUMMED)
        self._energy: Estimate | None = None
        self.path: list[tuple[float, Estimate]] = []

    @property
    def n_parameters(self) -> int:
        """Real parameters of the network."""
        return self._state.n_parameters

    def evolve(self, progress: Callable[[float, Estimate], None] | None = None) -> None:
        """Follow imaginary time to beta; done by the first average that is asked for.

        Args:
            progress: Called with each inverse temperature on the way and the energy there.
        """
        largest = max(abs(c) for c in self._model.terms.values())
        first = min(FIRST_BETA / largest, 0.5 * self.beta)
        self.path, self._energy = [], None
        steps = evolve(
            self._state.start(first),
            self._state.states,
            0.5 * first,
            0.5 * self.beta,
            growth=self._growth,
            tolerance=self._tolerance,
            shift=self._shift,
        )
        for tau, theta, states in steps:
            energy = Estimate(mean=states.energy + self._model.constant, stderr=states.energy_error)
            self.path.append((2.0 * tau, energy))
            self._theta = theta
            if progress is not None:
                progress(2.0 * tau, energy)

    def energy(self) -> Estimate:
        """Return <H>; the error is that of sampling, not of the network."""
        theta = self._evolved()
        if self._energy is None:
            found = self._state.average(theta, self._model.terms)
            self._energy = replace(found, mean=found.mean + self._model.constant)
        return self._energy

    def expt_value(self, operator: Any) -> Estimate:
        """Return the average of a Hermitian operator.

        Args:
            operator: List as QuSpin writes it, in the convention of the basis of the model.

        Raises:
            InvalidInputError: If it is no such list, or not Hermitian.
        """
        real = hermitian_terms(operator, self._model.n_sites, pauli=self._model.pauli)
        return self._state.average(self._evolved(), real)

    def sample(self, n: int) -> npt.NDArray[Any]:
        """Return n states as basis integers of QuSpin, (n,)."""
        return integers_of(self.sample_spins(n))

    def sample_spins(self, n: int) -> Spins:
        """Return n states as spins, (n, n_sites), +1 for up.

        Raises:
            InvalidInputError: If n is not positive.
        """
        whole("the number of states", n, least=1)
        return self._state.sample(self._evolved(), n)

    def diagnostics(self) -> Mapping[str, float]:
        """Return acceptance, and tau_int, ESS and R-hat of the energy (of sums: 1, 0.5, infinity, 1)."""
        self._evolved()
        return dict(self._state.diagnostics)

    def state_dict(self) -> Mapping[str, Any]:
        """Return parameters and path."""
        return {
            "beta": self.beta,
            "theta": self._evolved(),
            "path": [(b, e.mean, e.stderr) for b, e in self.path],
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over parameters of a network with the same arguments.

        Raises:
            InvalidInputError: If they are those of another network or temperature.
        """
        theta = np.asarray(state["theta"], dtype=float)
        if theta.shape != (self.n_parameters,) or float(state["beta"]) != self.beta:
            raise InvalidInputError(
                f"the state has {theta.size} parameters at beta = {state['beta']}, this network "
                f"{self.n_parameters} at {self.beta}"
            )
        self._theta, self._energy = theta, None
        self.path = [(b, Estimate(mean=m, stderr=s)) for b, m, s in state["path"]]
        self._rng.bit_generator.state = state["rng"]

    def _evolved(self) -> FloatArray:
        if self._theta is None:
            self.evolve()
        theta = self._theta
        if theta is None:
            raise InvalidInputError("imaginary time was not followed to its end")
        return theta
