"""Learned gates on vectors of all spin states, for all ancilla states or random vectors in their place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.results import Estimate
from kakehashi_dbm.gate_network import GateNetwork
from kakehashi_dbm.stochastic_reconfiguration import WeightedStates
from kakehashi_quspin.exact_thermal import quspin_hamiltonian
from kakehashi_quspin.pauli_strings import PauliString
from kakehashi_quspin.spin_model import SpinModel

FloatArray = npt.NDArray[np.float64]
Spins = npt.NDArray[np.int8]

CHUNK = 8
"""Random vectors at a time."""
MOST_COLUMNS = 8
"""Sites up to which gates are applied to all states of the ancillas; random vectors stand for them beyond."""


class GateState:
    """Gates applied to all ancilla states, or to random vectors in their place."""

    def __init__(
        self,
        model: SpinModel,
        n_layers: int,
        n_vectors: int,
        n_measured: int,
        rng: np.random.Generator,
    ) -> None:
        self._network = GateNetwork(model, n_layers)
        self.n_parameters = self._network.n_parameters
        self._model, self._rng = model, rng
        size = 1 << model.n_sites
        self._complete = model.n_sites <= MOST_COLUMNS
        # Sums over spins are complete; random vectors for ancillas change little from step to step.
        self.sampled = False
        self._vectors = np.eye(size) if self._complete else rng.normal(size=(size, n_vectors))
        self._n_measured = n_measured
        self._hamiltonian = _sparse(model.terms, model.n_sites)
        self.diagnostics = {"acceptance": 1.0, "tau_int": 0.5, "ESS": math.inf, "R-hat": 1.0}

    def start(self, beta: float) -> FloatArray:
        """See the protocol."""
        return self._network.start(beta)

    def states(self, theta: FloatArray) -> WeightedStates:
        """See the protocol."""
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
        """See the protocol."""
        operator = _sparse(terms, self._model.n_sites)
        values, norms = [], []
        for vectors in self._measuring():
            psi = self._network.apply(theta, vectors)
            values.append((psi * (operator @ psi)).sum(axis=0))
            norms.append((psi**2).sum(axis=0))
        return self._ratio(np.concatenate(values), np.concatenate(norms))

    def sample(self, theta: FloatArray, n: int) -> Spins:
        """See the protocol."""
        p = np.zeros(len(self._vectors))
        for vectors in self._measuring():
            p += (self._network.apply(theta, vectors) ** 2).sum(axis=1)
        rows = self._rng.choice(len(p), size=n, p=p / p.sum())
        shifts = np.arange(self._model.n_sites - 1, -1, -1)
        return np.where((rows[:, None] >> shifts) & 1, -1, 1).astype(np.int8)

    def _measuring(self) -> Iterator[FloatArray]:
        """Yield all ancilla states, or new random vectors: the first ones chose the parameters."""
        if self._complete:
            yield self._vectors
            return
        for first in range(0, self._n_measured, CHUNK):
            n = min(CHUNK, self._n_measured - first)
            yield self._rng.normal(size=(len(self._vectors), n))

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
    rest = dict(terms)
    constant = rest.pop((), 0.0)
    model = SpinModel(n_sites=n_sites, terms=rest, constant=constant)
    return quspin_hamiltonian(model).tocsr()
