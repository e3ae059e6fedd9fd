"""Matrix elements of Pauli strings between basis states: what local estimators are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from kakehashi_quspin.basis_integers import Spins
from kakehashi_quspin.pauli_strings import PauliString

ComplexArray = npt.NDArray[np.complex128]
LogAmplitude = Callable[[Spins], ComplexArray | npt.NDArray[np.float64]]
"""Spins, (n, n_sites), to the logarithm of an amplitude, (n,)."""


class ConnectedStates:
    """An operator as what it does to basis states: which spins it flips, with which element.

    Strings that flip the same spins share one connected state.

    Args:
        terms: Coefficient of each Pauli string.
        n_sites: Number of spins.

    Attributes:
        flips: Spins that each group of strings flips, (n_groups, n_sites); the first group is diagonal.
    """

    def __init__(self, terms: Mapping[PauliString, complex], n_sites: int) -> None:
        groups: dict[tuple[int, ...], list[tuple[PauliString, complex]]] = {(): []}
        for string, c in terms.items():
            groups.setdefault(tuple(i for i, a in string if a != "z"), []).append((string, c))
        self._groups = list(groups.values())
        self.flips = np.zeros((len(groups), n_sites), dtype=bool)
        for k, sites in enumerate(groups):
            self.flips[k, list(sites)] = True

    def elements(self, spins: Spins) -> ComplexArray:
        """Return <s| O |s'> for every group, (n, n_groups), where s' is s with its spins flipped."""
        found = np.zeros((len(spins), len(self._groups)), dtype=np.complex128)
        for k, group in enumerate(self._groups):
            for string, c in group:
                factor = np.full(len(spins), c, dtype=np.complex128)
                for site, letter in string:
                    # <s| y |-s> = -i s; <s| x |-s> = 1.
                    if letter == "z":
                        factor *= spins[:, site]
                    elif letter == "y":
                        factor *= -1j * spins[:, site]
                found[:, k] += factor
        return found

    def flipped(self, spins: Spins, group: int) -> Spins:
        """Return the states that a group connects to, (n, n_sites)."""
        return np.where(self.flips[group], -spins, spins).astype(np.int8)

    def local_values(self, spins: Spins, log_amplitude: LogAmplitude) -> ComplexArray:
        """Return sum over s' of <s| O |s'> Psi(s') / Psi(s), (n,)."""
        elements = self.elements(spins)
        here = log_amplitude(spins)
        total = elements[:, 0].copy()
        for k in range(1, len(self._groups)):
            needed = elements[:, k] != 0.0
            if needed.any():
                there = log_amplitude(self.flipped(spins[needed], k))
                total[needed] += elements[needed, k] * np.exp(there - here[needed])
        return total
