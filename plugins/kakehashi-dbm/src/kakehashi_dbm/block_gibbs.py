"""Sampling of |Psi|^2 by its own units: all hidden ones, then all others, in turn.

The literal Boltzmann machine. It mixes badly, because the weights of transverse fields grow as steps shrink:
a reference for small systems, to be compared with cluster updates.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from kakehashi_core.chains import ChainState, Kernel, Step
from kakehashi_core.errors import UnsupportedError
from kakehashi_dbm.boltzmann_machine import BoltzmannMachine

FloatArray = npt.NDArray[np.float64]
Spins = npt.NDArray[np.int8]


class BlockGibbs(Kernel):
    """Block Gibbs updates of s, s' and the deep units of Psi and of its conjugate.

    Positions are (n_chains, 2 n_sites + 2 n_deep): s, s', then the two copies of the deep units.

    Args:
        machine: With real weights.
        times: Updates of a step.

    Raises:
        UnsupportedError: If weights are complex; the machine has no probabilities for its units then.
    """

    def __init__(self, machine: BoltzmannMachine, *, times: int = 1) -> None:
        if not machine.is_real:
            raise UnsupportedError(
                "the machine has complex weights, so that its units have no probabilities; use loop updates"
            )
        self._n_visible, self._n_deep = 2 * machine.n_sites, machine.n_deep
        self._weights, self._times = machine.weights.real, times
        self._bias, self._hidden_bias = machine.unit_bias.real, machine.hidden_bias.real

    def start(self, positions: Spins) -> ChainState:
        """See the base class."""
        return ChainState(positions, self._log_weights(positions))

    def random_start(self, rng: np.random.Generator, n_chains: int) -> Spins:
        """Return random units, (n_chains, 2 n_sites + 2 n_deep)."""
        return rng.choice(
            np.array([-1, 1], dtype=np.int8), size=(n_chains, self._n_visible + 2 * self._n_deep)
        )

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """See the base class."""
        n = self._n_visible
        units = np.array(state.positions, dtype=np.int8)
        for _ in range(self._times):
            fields = []
            for copy in self._copies(units):
                hidden = _drawn(copy @ self._weights + self._hidden_bias, rng)
                fields.append(hidden @ self._weights.T + self._bias)
            # s and s' belong to both copies.
            units[:, :n] = _drawn(fields[0][:, :n] + fields[1][:, :n], rng)
            units[:, n:] = _drawn(np.concatenate([f[:, n:] for f in fields], axis=1), rng)
        everyone = np.ones(len(units), dtype=bool)
        return Step(ChainState(units, self._log_weights(units)), everyone, everyone)

    def _copies(self, units: Spins) -> tuple[Spins, Spins]:
        """Return (s, s', d) of Psi and of its conjugate."""
        n, n_deep = self._n_visible, self._n_deep
        return units[:, : n + n_deep], np.concatenate(
            [units[:, :n], units[:, n + n_deep :]], axis=1
        )

    def _log_weights(self, units: Spins) -> FloatArray:
        total = np.zeros(len(units))
        for copy in self._copies(units):
            angles = copy @ self._weights + self._hidden_bias
            total += np.logaddexp(angles, -angles).sum(axis=1) + copy @ self._bias
        return total


def _drawn(fields: FloatArray, rng: np.random.Generator) -> Spins:
    """Return units +1 with probability 1 / (1 + exp(-2 field))."""
    return np.where(rng.random(fields.shape) < expit(2.0 * fields), 1, -1).astype(np.int8)
