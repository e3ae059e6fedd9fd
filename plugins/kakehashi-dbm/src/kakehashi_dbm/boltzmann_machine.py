"""Deep Boltzmann machines as wave functions of doubled systems, by explicit sums."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError, UnsupportedError

ComplexArray = npt.NDArray[np.complex128]

MOST_DEEP = 20
"""Deep units that are summed over by enumeration."""
_CHUNK = 1 << 12


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BoltzmannMachine:
    """Psi(s, s') = sum over h, d of exp(sum W_ij x_i h_j + sum a_i x_i + sum b_j h_j), x = (s, s', d).

    Two layers of units +1 and -1: physical, ancilla and deep units in one, hidden units in the other; no
    couplings within a layer.

    Attributes:
        n_sites: Physical spins s, and as many ancillas s'.
        weights: W, (n_units, n_hidden); the first n_sites units are s, the next s', then the deep ones.
        unit_bias: a, (n_units,).
        hidden_bias: b, (n_hidden,).
        log_factor: Logarithm of a constant factor of Psi.
        places: Site and layer of each unit, (n_units, 2): ancillas are in layer 0, later units above.

    Source:
        Y. Nomura, N. Yoshioka, F. Nori, Phys. Rev. Lett. 127, 060601 (2021).
    """

    n_sites: int
    weights: ComplexArray = field(repr=False)
    unit_bias: ComplexArray = field(repr=False)
    hidden_bias: ComplexArray = field(repr=False)
    log_factor: complex = 0.0
    places: npt.NDArray[np.int64] = field(repr=False)

    @property
    def n_hidden(self) -> int:
        """Units of the hidden layer."""
        return int(self.weights.shape[1])

    @property
    def n_deep(self) -> int:
        """Deep units."""
        return int(self.weights.shape[0]) - 2 * self.n_sites

    @property
    def is_real(self) -> bool:
        """Whether all weights are real, so that units can be sampled."""
        return not (
            self.weights.imag.any() or self.unit_bias.imag.any() or self.hidden_bias.imag.any()
        )

    def psi(self, spins: npt.ArrayLike, ancillas: npt.ArrayLike) -> ComplexArray:
        """Return amplitudes, (n,).

        Args:
            spins: s, +1 and -1, (n, n_sites).
            ancillas: s', the same shape.

        Raises:
            InvalidInputError: If shapes do not fit.
            UnsupportedError: If there are too many deep units to enumerate.
        """
        s, t = np.asarray(spins, dtype=float), np.asarray(ancillas, dtype=float)
        if s.ndim != 2 or s.shape != t.shape or s.shape[1] != self.n_sites:
            raise InvalidInputError(
                f"spins {s.shape} and ancillas {t.shape} must both be (n, {self.n_sites})"
            )
        if self.n_deep > MOST_DEEP:
            raise UnsupportedError(
                f"{self.n_deep} deep units cannot be enumerated; the limit is {MOST_DEEP}. Sample instead."
            )
        n = 2 * self.n_sites
        visible = np.concatenate([s, t], axis=1)
        field_there = visible @ self.weights[:n] + self.hidden_bias
        bias_there = visible @ self.unit_bias[:n]
        total = np.zeros(len(s), dtype=np.complex128)
        states = itertools.product((-1.0, 1.0), repeat=self.n_deep)
        while chunk := list(itertools.islice(states, _CHUNK)):
            deep = np.array(chunk).reshape(len(chunk), self.n_deep)
            angles = field_there[:, None, :] + (deep @ self.weights[n:])[None]
            bias = bias_there[:, None] + (deep @ self.unit_bias[n:])[None]
            total += (np.exp(bias) * np.prod(2.0 * np.cosh(angles), axis=2)).sum(axis=1)
        return np.asarray(np.exp(self.log_factor) * total)

    def matrix(self) -> ComplexArray:
        """Return Psi(s, s') of all states in QuSpin's order, (2^n, 2^n); for small systems."""
        rows = np.array(list(itertools.product((1, -1), repeat=self.n_sites)))
        s = np.repeat(rows, len(rows), axis=0)
        t = np.tile(rows, (len(rows), 1))
        return self.psi(s, t).reshape(len(rows), len(rows))
