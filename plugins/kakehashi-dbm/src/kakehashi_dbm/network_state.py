"""What a network in imaginary time needs to be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kakehashi_core.results import Estimate
from kakehashi_dbm.stochastic_reconfiguration import WeightedStates
from kakehashi_quspin.pauli_strings import PauliString

FloatArray = npt.NDArray[np.float64]
Spins = npt.NDArray[np.int8]


class NetworkState(Protocol):
    """A network with a way to sum over its states, or to sample them.

    Attributes:
        n_parameters: Real parameters.
        sampled: Whether states are samples.
        diagnostics: Acceptance, tau_int, ESS and R-hat.
    """

    n_parameters: int
    sampled: bool
    diagnostics: dict[str, float]

    def start(self, beta: float) -> FloatArray:
        """Return parameters at a high temperature."""

    def states(self, theta: FloatArray) -> WeightedStates:
        """Return states with weights, derivatives and local energies; the energy without constant."""

    def average(self, theta: FloatArray, terms: Mapping[PauliString, float]) -> Estimate:
        """Return the average of an operator."""

    def sample(self, theta: FloatArray, n: int) -> Spins:
        """Return states, (n, n_sites)."""
