"""Invariants of spin configurations that are linear in an effective log-weight.

Features are objects that turn spins, (n_samples, n_sites, 3), into numbers, (n_samples, n_features).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kakehashi_slmc.distance_shells import DistanceShells
from kakehashi_slmc.linear_model import LinearModel, shell_features
from kakehashi_slmc.spinors import spinors

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FourSpinFeatures:
    """All F_n of the linear model, then sums over sites of b_p b_q.

    With V_n = A_n S, n = 0 ... n_fields - 1, the b_p are the scalar products V_n . V_k of a site, without
    V_0 . V_0 = 1. With 9 shells, 3, 4, 5 fields give 24, 54, 114 features.

    Attributes:
        shells: Classes of pairs.
        n_fields: How many averages V_n are combined.
    """

    shells: DistanceShells
    n_fields: int

    def __call__(self, spins: FloatArray) -> FloatArray:
        """Return the features, (n_samples, n_features)."""
        fields = np.stack(
            [np.matmul(self.shells.adjacency(n), spins) for n in range(self.n_fields)], axis=1
        )
        invariants = self._invariants(fields)
        first, second = np.triu_indices(invariants.shape[2])
        products = np.einsum("bip,biq->bpq", invariants, invariants)[:, first, second]
        return np.column_stack([shell_features(self.shells, spins), products])

    def contracted(self, weights: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """Return the sum of weights times features as a function of spins that does not list them.

        Args:
            weights: (n_features,).
        """
        n = self.shells.n_shells
        pairs = LinearModel(shells=self.shells, constant=0.0, coefficients=weights[:n]).couplings
        averages = np.concatenate([self.shells.adjacency(k) for k in range(self.n_fields)])
        size = self.n_fields * (self.n_fields + 1) // 2 - 1
        form = np.zeros((size, size))
        form[np.triu_indices(size)] = weights[n:]
        n_sites = self.shells.n_sites

        def total(spins: FloatArray) -> FloatArray:
            fields = np.matmul(averages, spins).reshape(len(spins), self.n_fields, n_sites, 3)
            linear = 0.5 * np.einsum("bia,bia->b", spins, np.matmul(pairs, spins))
            invariants = self._invariants(fields)
            return np.asarray(linear + ((invariants @ form) * invariants).sum(axis=(1, 2)))

        return total

    def _invariants(self, fields: FloatArray) -> FloatArray:
        """Return b of fields (n, n_fields, n_sites, 3), (n, n_sites, n_invariants)."""
        first, second = np.triu_indices(self.n_fields)
        # V_0 . V_0 = 1 comes first, and says nothing.
        products = (fields[:, first[1:]] * fields[:, second[1:]]).sum(axis=3)
        return np.ascontiguousarray(np.swapaxes(products, 1, 2))


@dataclass(frozen=True, slots=True, eq=False)
class BondFeatures:
    """What electrons that follow the spins see: |<chi_i|chi_j>| summed over bonds, and moments of hopping.

    The moments are Tr h^4, h^6 ... of h_ij = K_ij <chi_i|chi_j>; they know the flux through plaquettes.

    Attributes:
        hopping: K, (n_sites, n_sites).
        highest_moment: Largest power, even; 2 for none.
    """

    hopping: npt.NDArray[np.complexfloating | np.floating] = field(repr=False)
    highest_moment: int = 8

    def __call__(self, spins: FloatArray) -> FloatArray:
        """Return the features, (n_samples, n_features)."""
        chi = spinors(spins)
        matrix = self.hopping * (chi.conj() @ np.swapaxes(chi, 1, 2))
        columns = [np.abs(matrix).sum(axis=(1, 2))]
        square = matrix @ matrix
        power = square
        for _ in range(4, self.highest_moment + 1, 2):
            power = power @ square
            columns.append(np.trace(power, axis1=1, axis2=2).real)
        return np.column_stack(columns)

    def contracted(self, weights: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """Return the sum of weights times features as a function of spins."""
        return lambda spins: self(spins) @ weights


@dataclass(frozen=True, slots=True, eq=False)
class JoinedFeatures:
    """Several kinds of features side by side."""

    parts: Sequence[FourSpinFeatures | BondFeatures]

    def __call__(self, spins: FloatArray) -> FloatArray:
        """Return the features, (n_samples, n_features)."""
        return np.column_stack([part(spins) for part in self.parts])

    def contracted(self, weights: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """Return the sum of weights times features as a function of spins."""
        return lambda spins: self(spins) @ weights
