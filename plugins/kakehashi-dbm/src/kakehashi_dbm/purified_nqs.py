"""Thermal states learned in imaginary time: networks for physical and ancilla spins, from beta = 0 on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import autocorrelation
from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_core.random_streams import recorded_seed
from kakehashi_core.results import Estimate
from kakehashi_dbm.gate_network import GateNetwork
from kakehashi_dbm.purified_rbm import PurifiedRBM, invariant_permutations, ring_translations
from kakehashi_dbm.stochastic_reconfiguration import WeightedStates, evolve
from kakehashi_quspin.basis_integers import integers_of
from kakehashi_quspin.connected_states import ConnectedStates
from kakehashi_quspin.operator_lists import pauli_sum
from kakehashi_quspin.pauli_strings import PauliString, is_hermitian
from kakehashi_quspin.spin_model import SpinModel
from kakehashi_quspin.sublattice_rotation import Rotation, rotation_to_positive

FloatArray = npt.NDArray[np.float64]
Spins = npt.NDArray[np.int8]

FIRST_BETA = 0.1
"""Inverse temperature of the start, in units of one over the largest coupling."""
SHIFT_SUMMED, SHIFT_SAMPLED = 1e-6, 1e-3
MOST_SUMMED = 8
"""Sites up to which all states of spins and ancillas are summed over."""
MOST_COLUMNS = 8
"""Sites up to which gates are applied to all states of the ancillas; random vectors stand for them beyond."""


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
        growth: float = 0.1,
        tolerance: float = 1e-3,
        shift: float | None = None,
        seed: int | None = None,
    ) -> None:
        if not (math.isfinite(beta) and beta > 0.0):
            raise InvalidInputError(f"beta is {beta!r}; it must be positive")
        if ansatz not in {"auto", "rbm", "gates"}:
            raise InvalidInputError(f"ansatz is {ansatz!r}; 'auto', 'rbm' or 'gates' is needed")
        if model.n_up is not None:
            raise UnsupportedError(
                f"the basis fixes {model.n_up} spins up, which these networks do not; leave Nup out"
            )
        for name, number in (("growth", growth), ("tolerance", tolerance), ("shift", shift)):
            if number is not None and not 0.0 < number <= 1.0:
                raise InvalidInputError(f"{name} must be between 0 and 1, got {number!r}")
        for name, count in (("n_samples", n_samples), ("n_vectors", n_vectors)):
            if count is not None and count < 2:
                raise InvalidInputError(f"{name} must be at least 2, got {count}")
        self.seed = recorded_seed(seed)
        self.beta, self._model = float(beta), model
        self._growth, self._tolerance = growth, tolerance
        self._rng = np.random.default_rng(self.seed)
        if ansatz == "auto":
            fields = all(((i, "x"),) in model.terms for i in range(model.n_sites))
            ansatz = "rbm" if fields else "gates"
        state: _State
        if ansatz == "rbm":
            state = _SpinState(model, n_filters, symmetries, complex_weights, n_samples, self._rng)
        else:
            state = _VectorState(model, n_layers, n_vectors, self._rng)
        self._state = state
        self._theta: FloatArray | None = None
        self._shift = shift or (SHIFT_SAMPLED if state.sampled else SHIFT_SUMMED)
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
        self.path = []
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
        self._evolved()
        return self.path[-1][1]

    def expt_value(self, operator: Any) -> Estimate:
        """Return the average of a Hermitian operator.

        Args:
            operator: List as QuSpin writes it, in the convention of the basis of the model.

        Raises:
            InvalidInputError: If it is no such list, or not Hermitian.
        """
        sums = pauli_sum(operator, self._model.n_sites, pauli=self._model.pauli)
        if not is_hermitian(sums):
            raise InvalidInputError("the operator is not Hermitian; add the conjugate terms")
        real = {string: float(complex(c).real) for string, c in sums.items()}
        return self._state.average(self._evolved(), real)

    def sample(self, n: int) -> npt.NDArray[Any]:
        """Return n states as basis integers of QuSpin, (n,)."""
        return integers_of(self.sample_spins(n))

    def sample_spins(self, n: int) -> Spins:
        """Return n states as spins, (n, n_sites), +1 for up.

        Raises:
            InvalidInputError: If n is not positive.
        """
        if n < 1:
            raise InvalidInputError(f"the number of states must be at least 1, got {n}")
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
        self._theta = theta
        self.path = [(b, Estimate(mean=m, stderr=s)) for b, m, s in state["path"]]
        self._rng.bit_generator.state = state["rng"]

    def _evolved(self) -> FloatArray:
        if self._theta is None:
            self.evolve()
        theta = self._theta
        if theta is None:
            raise InvalidInputError("imaginary time was not followed to its end")
        return theta


class _State(Protocol):
    """A network with a way to sum or sample its states."""

    n_parameters: int
    sampled: bool
    diagnostics: dict[str, float]

    def start(self, beta: float) -> FloatArray: ...

    def states(self, theta: FloatArray) -> WeightedStates: ...

    def average(self, theta: FloatArray, terms: Mapping[PauliString, float]) -> Estimate: ...

    def sample(self, theta: FloatArray, n: int) -> Spins: ...


class _SpinState:
    """A restricted Boltzmann machine on spins and ancillas."""

    def __init__(
        self,
        model: SpinModel,
        n_filters: int,
        symmetries: npt.ArrayLike | None,
        complex_weights: bool,
        n_samples: int | None,
        rng: np.random.Generator,
    ) -> None:
        n = model.n_sites
        turned = rotation_to_positive(model)
        if turned is None and not complex_weights:
            raise UnsupportedError(
                "the model has a sign problem, and real weights give positive amplitudes only; use "
                "ansatz='gates', or complex_weights=True"
            )
        self._rotation = turned or Rotation(sites=np.zeros(n, dtype=bool))
        terms = self._rotation.apply(model.terms)
        self._model = SpinModel(n_sites=n, terms=terms)
        group = (
            ring_translations(self._model)
            if symmetries is None
            else invariant_permutations(self._model, symmetries)
        )
        self._network = PurifiedRBM(n, n_filters, symmetries=group, complex_weights=complex_weights)
        self.n_parameters = self._network.n_parameters
        self._connected = ConnectedStates(terms, n)
        self._rng = rng
        self._n_samples = n_samples or (None if n <= MOST_SUMMED else 2000)
        self.sampled = self._n_samples is not None
        self.diagnostics = {"acceptance": 1.0, "tau_int": 0.5, "ESS": math.inf, "R-hat": 1.0}
        self._walkers: tuple[Spins, Spins] | None = None
        if self._n_samples is None:
            one = np.array(np.meshgrid(*[[1, -1]] * n, indexing="ij"), dtype=np.int8)
            rows = one.reshape(n, -1).T
            self._walkers = np.repeat(rows, len(rows), axis=0), np.tile(rows, (len(rows), 1))

    def start(self, beta: float) -> FloatArray:
        return self._network.start(self._model, beta, self._rng)

    def states(self, theta: FloatArray) -> WeightedStates:
        spins, ancillas, weights = self._drawn(theta)
        local = self._local(theta, spins, ancillas, self._connected)
        error = 0.0
        if self._n_samples is not None:
            error = float(local.real.std() / math.sqrt(len(local)))
        real = local if self._network.complex_weights else local.real
        return WeightedStates(
            weights=weights,
            derivatives=self._network.derivatives(theta, spins, ancillas),
            local_energies=real,
            energy_error=error,
        )

    def average(self, theta: FloatArray, terms: Mapping[PauliString, float]) -> Estimate:
        connected = ConnectedStates(self._rotation.apply(terms), self._model.n_sites)
        spins, ancillas, weights = self._drawn(theta)
        local = self._local(theta, spins, ancillas, connected).real
        if self._n_samples is None:
            return Estimate(mean=float(weights @ local), stderr=0.0)
        return autocorrelation(local).estimate()

    def sample(self, theta: FloatArray, n: int) -> Spins:
        spins, _, weights = self._drawn(theta)
        if self._n_samples is None:
            return spins[self._rng.choice(len(spins), size=n, p=weights)]
        found = [spins]
        while sum(len(f) for f in found) < n:
            found.append(self._drawn(theta)[0])
        return np.concatenate(found)[:n]

    def _local(
        self, theta: FloatArray, spins: Spins, ancillas: Spins, connected: ConnectedStates
    ) -> npt.NDArray[np.complex128]:
        both = np.concatenate([spins, ancillas], axis=1)
        n = self._model.n_sites
        wide = np.concatenate([connected.flips, np.zeros_like(connected.flips)], axis=1)
        elements = connected.elements(spins)
        here = self._network.log_psi(theta, spins, ancillas)
        total = elements[:, 0].copy()
        for k in range(1, len(wide)):
            there = np.where(wide[k], -both, both).astype(np.int8)
            ratio = np.exp(self._network.log_psi(theta, there[:, :n], there[:, n:]) - here)
            total += elements[:, k] * ratio
        return total

    def _drawn(self, theta: FloatArray) -> tuple[Spins, Spins, FloatArray]:
        """Return spins, ancillas and weights: all states, or samples of |Psi|^2."""
        if self._n_samples is None and self._walkers is not None:
            spins, ancillas = self._walkers
            logs = 2.0 * self._network.log_psi(theta, spins, ancillas).real
            weights = np.exp(logs - logs.max())
            return spins, ancillas, weights / weights.sum()
        return self._walk(theta)

    def _walk(self, theta: FloatArray) -> tuple[Spins, Spins, FloatArray]:
        """Move one walker for each sample: flips of s_i, of s'_i, and of both, by Metropolis."""
        n, n_samples = self._model.n_sites, self._n_samples or 0
        if self._walkers is None:
            first = self._rng.choice(np.array([-1, 1], dtype=np.int8), size=(n_samples, n))
            self._walkers = first, first.copy()
        both = np.concatenate(self._walkers, axis=1)
        logs = 2.0 * self._network.log_psi(theta, both[:, :n], both[:, n:]).real
        moves = np.zeros((3 * n, 2 * n), dtype=bool)
        sites = np.arange(n)
        moves[sites, sites] = moves[n + sites, n + sites] = True
        moves[2 * n + sites, sites] = moves[2 * n + sites, n + sites] = True
        accepted = 0
        for _ in range(len(moves)):
            flips = moves[self._rng.integers(len(moves), size=n_samples)]
            there = np.where(flips, -both, both).astype(np.int8)
            new = 2.0 * self._network.log_psi(theta, there[:, :n], there[:, n:]).real
            taken = np.log(self._rng.random(n_samples)) < new - logs
            both[taken], logs[taken] = there[taken], new[taken]
            accepted += int(taken.sum())
        self._walkers = both[:, :n].copy(), both[:, n:].copy()
        self.diagnostics["acceptance"] = accepted / (len(moves) * n_samples)
        self.diagnostics["ESS"] = float(n_samples)
        return (*self._walkers, np.full(n_samples, 1.0 / n_samples))


class _VectorState:
    """Gates applied to all ancilla states, or to random vectors in their place."""

    def __init__(
        self, model: SpinModel, n_layers: int, n_vectors: int, rng: np.random.Generator
    ) -> None:
        self._network = GateNetwork(model, n_layers)
        self.n_parameters = self._network.n_parameters
        self._model, self._rng = model, rng
        size = 1 << model.n_sites
        self._complete = model.n_sites <= MOST_COLUMNS
        # Sums over spins are complete; random vectors for ancillas change little from step to step.
        self.sampled = False
        self._vectors = np.eye(size) if self._complete else rng.normal(size=(size, n_vectors))
        self._hamiltonian = _sparse(model.terms, model.n_sites)
        self.diagnostics = {"acceptance": 1.0, "tau_int": 0.5, "ESS": math.inf, "R-hat": 1.0}

    def start(self, beta: float) -> FloatArray:
        return self._network.start(beta)

    def states(self, theta: FloatArray) -> WeightedStates:
        psi, slopes = self._network.apply_with_derivatives(theta, self._vectors)
        norms = psi**2
        # Local values and derivatives are ratios; zero amplitudes have no weight.
        safe = np.where(psi == 0.0, 1.0, psi)
        local = (self._hamiltonian @ psi) / safe
        kept = norms.ravel() > 0.0
        weights = norms.ravel()[kept]
        return WeightedStates(
            weights=weights / weights.sum(),
            derivatives=(slopes / safe).reshape(len(slopes), -1).T[kept],
            local_energies=local.ravel()[kept],
            energy_error=self._ratio((norms * local).sum(axis=0), norms.sum(axis=0)).stderr,
        )

    def average(self, theta: FloatArray, terms: Mapping[PauliString, float]) -> Estimate:
        psi = self._network.apply(theta, self._vectors)
        values = (psi * (_sparse(terms, self._model.n_sites) @ psi)).sum(axis=0)
        return self._ratio(values, (psi**2).sum(axis=0))

    def sample(self, theta: FloatArray, n: int) -> Spins:
        p = (self._network.apply(theta, self._vectors) ** 2).sum(axis=1)
        rows = self._rng.choice(len(p), size=n, p=p / p.sum())
        shifts = np.arange(self._model.n_sites - 1, -1, -1)
        return np.where((rows[:, None] >> shifts) & 1, -1, 1).astype(np.int8)

    def _ratio(self, values: FloatArray, norms: FloatArray) -> Estimate:
        """Return a ratio of sums over vectors, with the error of random ones by jackknife."""
        mean = float(values.sum() / norms.sum())
        if self._complete:
            return Estimate(mean=mean, stderr=0.0)
        without = (values.sum() - values) / (norms.sum() - norms)
        n = len(values)
        return Estimate(mean=mean, stderr=float(math.sqrt((n - 1) * without.var())))


def _sparse(terms: Mapping[PauliString, float], n_sites: int) -> Any:
    """Return an operator as a sparse matrix in QuSpin's order of states."""
    from kakehashi_quspin.exact_thermal import quspin_hamiltonian

    rest = dict(terms)
    constant = rest.pop((), 0.0)
    model = SpinModel(n_sites=n_sites, terms=rest, constant=constant)
    return quspin_hamiltonian(model).tocsr()
