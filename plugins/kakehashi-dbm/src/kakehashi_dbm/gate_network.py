"""A network of learned gates: the layers of a Trotter product, each with imaginary times of its own.

Every gate is two deep and a few hidden units of a Boltzmann machine, see ``MachineBuilder``. They are summed
over exactly here, by applying the gates to vectors of all states, so that signs of amplitudes do not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.linalg import expm

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_quspin.pauli_strings import PauliString
from kakehashi_quspin.spin_model import SpinModel

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MOST_SITES = 20
"""Vectors of all states are written out."""


class GateNetwork:
    """Psi = product over layers of symmetric steps, with one time for each layer and kind of gate.

    Gates of one kind have the same couplings and share no site; layers read the same from both ends.

    Args:
        model: Real terms of at most two spins.
        n_layers: Symmetric steps.

    Attributes:
        n_parameters: Times: (n_layers + 1) // 2 for each kind.

    Raises:
        UnsupportedError: If a term has more than two spins, the matrix is complex, or there are too many
            sites.
        InvalidInputError: If there is no layer.
    """

    def __init__(self, model: SpinModel, n_layers: int) -> None:
        if n_layers < 1:
            raise InvalidInputError(f"n_layers must be at least 1, got {n_layers}")
        if model.n_sites > MOST_SITES:
            raise UnsupportedError(
                f"{model.n_sites} sites are too many for vectors of all states; the limit is {MOST_SITES}"
            )
        self.n_sites, self.n_layers = model.n_sites, n_layers
        self._kinds = _kinds(model)
        self._n_half = (n_layers + 1) // 2
        self.n_parameters = self._n_half * len(self._kinds)

    def start(self, beta: float) -> FloatArray:
        """Return times of equal Trotter steps, (n_parameters,)."""
        return np.full(self.n_parameters, 0.5 * beta / self.n_layers)

    def apply(self, theta: FloatArray, vectors: FloatArray) -> FloatArray:
        """Return Psi v of vectors in QuSpin's order of states, (2^n_sites, n_vectors)."""
        found = np.array(vectors, dtype=float, order="C")
        for kind, time, _ in self._sequence(theta):
            self._gate(found, kind, time)
        return found

    def apply_with_derivatives(
        self, theta: FloatArray, vectors: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return Psi v and its derivatives by every time, (n_parameters, 2^n_sites, n_vectors)."""
        found = np.array(vectors, dtype=float, order="C")
        slopes: dict[int, FloatArray] = {}
        for kind, time, parameter in self._sequence(theta):
            self._gate(found, kind, time)
            for slope in slopes.values():
                self._gate(slope, kind, time)
            # d time / d parameter is one half everywhere: steps are applied in halves.
            change = -0.5 * self._energy(found, kind)
            if parameter in slopes:
                slopes[parameter] += change
            else:
                slopes[parameter] = change
        return found, np.stack([slopes[k] for k in range(self.n_parameters)])

    def _sequence(self, theta: FloatArray) -> list[tuple[int, float, int]]:
        """Return kind, time and parameter of all half steps in the order in which they act."""
        n_kinds = len(self._kinds)
        times = np.asarray(theta).reshape(self._n_half, n_kinds)
        order = []
        for layer in range(self.n_layers):
            row = min(layer, self.n_layers - 1 - layer)
            once = [(k, 0.5 * float(times[row, k]), row * n_kinds + k) for k in range(n_kinds)]
            order += [*once, *reversed(once)]
        return order

    def _gate(self, vectors: FloatArray, kind: int, time: float) -> None:
        matrix, places = self._kinds[kind]
        gate = np.ascontiguousarray(expm(-time * matrix))
        for place in places:
            if len(place) == 1:
                _apply_one(vectors, gate, self.n_sites - 1 - place[0])
            else:
                _apply_two(vectors, gate, self.n_sites - 1 - place[0], self.n_sites - 1 - place[1])

    def _energy(self, vectors: FloatArray, kind: int) -> FloatArray:
        """Return the sum of the gates' Hamiltonians applied to vectors."""
        matrix, places = self._kinds[kind]
        total = np.zeros_like(vectors)
        for place in places:
            part = vectors.copy()
            bits = [self.n_sites - 1 - site for site in place]
            (_apply_one if len(place) == 1 else _apply_two)(part, matrix, *bits)
            total += part
        return total


def _kinds(model: SpinModel) -> list[tuple[FloatArray, list[tuple[int, ...]]]]:
    """Return matrices of gates and the sites on which each acts; sites of one kind are all different."""
    parts: dict[tuple[int, ...], dict[PauliString, float]] = {}
    for string, c in model.terms.items():
        sites = tuple(i for i, _ in string)
        if len(sites) > 2:
            text = " ".join(f"{a}_{i}" for i, a in string)
            raise UnsupportedError(f"{text} acts on {len(sites)} spins; gates have two at most")
        local = tuple((k, a) for k, (_, a) in enumerate(string))
        parts.setdefault(sites, {})[local] = c
    kinds: list[tuple[Any, FloatArray, list[tuple[int, ...]]]] = []
    # Larger groups first, so that every color is filled in the order of the sites.
    for sites, terms in sorted(parts.items(), key=lambda item: (len(item[0]), item[0])):
        key = (len(sites), tuple(sorted((s, round(c, 10)) for s, c in terms.items())))
        for known, _, places in kinds:
            if known == key and not any(set(p) & set(sites) for p in places):
                places.append(sites)
                break
        else:
            matrix = SpinModel(n_sites=len(sites), terms=terms).matrix()
            if np.abs(matrix.imag).max() > 1e-12:
                raise UnsupportedError("gates are real; a term with a single y makes them complex")
            kinds.append((key, np.ascontiguousarray(matrix.real), [sites]))
    return [(matrix, places) for _, matrix, places in kinds]


def _compiled(function: Any) -> Any:
    return njit(cache=True)(function)


@_compiled
def _apply_one(vectors: FloatArray, gate: FloatArray, bit: int) -> None:
    """Apply a gate of one spin in place; a set bit is spin down, and row 0 of the gate is spin up."""
    size, n = vectors.shape
    mask = 1 << bit
    for k in range(size):
        if k & mask:
            continue
        other = k | mask
        for r in range(n):
            a, b = vectors[k, r], vectors[other, r]
            vectors[k, r] = gate[0, 0] * a + gate[0, 1] * b
            vectors[other, r] = gate[1, 0] * a + gate[1, 1] * b


@_compiled
def _apply_two(vectors: FloatArray, gate: FloatArray, first: int, second: int) -> None:
    """Apply a gate of two spins in place."""
    size, n = vectors.shape
    high, low = 1 << first, 1 << second
    for k in range(size):
        if k & high or k & low:
            continue
        k1, k2, k3 = k | low, k | high, k | high | low
        for r in range(n):
            a, b, c, d = vectors[k, r], vectors[k1, r], vectors[k2, r], vectors[k3, r]
            vectors[k, r] = gate[0, 0] * a + gate[0, 1] * b + gate[0, 2] * c + gate[0, 3] * d
            vectors[k1, r] = gate[1, 0] * a + gate[1, 1] * b + gate[1, 2] * c + gate[1, 3] * d
            vectors[k2, r] = gate[2, 0] * a + gate[2, 1] * b + gate[2, 2] * c + gate[2, 3] * d
            vectors[k3, r] = gate[3, 0] * a + gate[3, 1] * b + gate[3, 2] * c + gate[3, 3] * d
