"""A restricted Boltzmann machine on spins and ancillas: sums over all states, or Metropolis samples."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import autocorrelation
from kakehashi_core.errors import UnsupportedError
from kakehashi_core.results import Estimate
from kakehashi_dbm.purified_rbm import PurifiedRBM, invariant_permutations, ring_translations
from kakehashi_dbm.stochastic_reconfiguration import WeightedStates
from kakehashi_quspin.connected_states import ConnectedStates
from kakehashi_quspin.pauli_strings import PauliString
from kakehashi_quspin.spin_model import SpinModel
from kakehashi_quspin.sublattice_rotation import Rotation, rotation_to_positive

FloatArray = npt.NDArray[np.float64]
Spins = npt.NDArray[np.int8]

MOST_SUMMED = 8
"""Sites up to which all states of spins and ancillas are summed over."""
N_SAMPLES = 2000


class MachineState:
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
        # Operators act on spins; ancillas come along.
        self._connected = ConnectedStates(terms, 2 * n)
        self._rng = rng
        self._n_samples = n_samples or (None if n <= MOST_SUMMED else N_SAMPLES)
        self.sampled = self._n_samples is not None
        self.diagnostics = {"acceptance": 1.0, "tau_int": 0.5, "ESS": math.inf, "R-hat": 1.0}
        self._walkers: tuple[Spins, Spins] | None = None
        if self._n_samples is None:
            one = np.array(np.meshgrid(*[[1, -1]] * n, indexing="ij"), dtype=np.int8)
            rows = one.reshape(n, -1).T
            self._walkers = np.repeat(rows, len(rows), axis=0), np.tile(rows, (len(rows), 1))

    def start(self, beta: float) -> FloatArray:
        """See the protocol."""
        return self._network.start(self._model, beta, self._rng)

    def states(self, theta: FloatArray) -> WeightedStates:
        """See the protocol."""
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
        """See the protocol."""
        connected = ConnectedStates(self._rotation.apply(terms), 2 * self._model.n_sites)
        spins, ancillas, weights = self._drawn(theta)
        local = self._local(theta, spins, ancillas, connected).real
        if self._n_samples is None:
            return Estimate(mean=float(weights @ local), stderr=0.0)
        return autocorrelation(local).estimate()

    def sample(self, theta: FloatArray, n: int) -> Spins:
        """See the protocol."""
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
        n = self._model.n_sites
        return connected.local_values(
            np.concatenate([spins, ancillas], axis=1),
            lambda both: self._network.log_psi(theta, both[:, :n], both[:, n:]),
        )

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
