"""The four-spin effective model: products of local invariants, fitted by ridge regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from kakehashi_slmc.distance_shells import DistanceShells
from kakehashi_slmc.linear_model import shell_features

FloatArray = npt.NDArray[np.float64]

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FourSpinModel:
    """log W_eff = c_0 + linear in F_n and in sums over sites of b_p b_q.

    With V_n = A_n S, n = 0 ... n_fields - 1, the b_p are the scalar products V_n . V_k of a site, without
    V_0 . V_0 = 1.

    Attributes:
        shells: Classes of pairs.
        n_fields: How many averages V_n are combined.
        center: Mean of each feature, (n_features,).
        scale: Standard deviation of each, (n_features,).
        coefficients: Of the standardized features, (n_features,).
        constant: c_0.
    """

    shells: DistanceShells
    n_fields: int
    center: FloatArray
    scale: FloatArray
    coefficients: FloatArray
    constant: float

    @classmethod
    def fit(
        cls,
        shells: DistanceShells,
        spins: FloatArray,
        log_weights: FloatArray,
        *,
        n_fields: int,
        validation: tuple[FloatArray, FloatArray],
        penalties: Sequence[float] = PENALTIES,
    ) -> Self:
        """Return the ridge fit whose penalty is best on other chains.

        Args:
            shells: Classes of pairs.
            spins: (n_samples, n_sites, 3).
            log_weights: (n_samples,).
            n_fields: How many averages are combined; 3, 4, 5 give 24, 54, 114 features with 9 shells.
            validation: Spins and log-weights that choose the penalty, of chains that are not fitted.
            penalties: What is tried, per sample.
        """
        features = four_spin_features(shells, spins, n_fields=n_fields)
        center, scale = features.mean(axis=0), features.std(axis=0)
        scale = np.where(scale > 1e-12, scale, 1.0)
        standard = (features - center) / scale
        constant = float(np.mean(log_weights))
        inner = standard.T @ standard
        cross = standard.T @ (log_weights - constant)
        models = [
            cls(
                shells=shells,
                n_fields=n_fields,
                center=center,
                scale=scale,
                coefficients=np.linalg.solve(inner + p * len(features) * np.eye(len(cross)), cross),
                constant=constant,
            )
            for p in penalties
        ]
        errors = [float(np.var(validation[1] - m(validation[0]))) for m in models]
        return models[int(np.argmin(errors))]

    def __call__(self, spins: FloatArray) -> FloatArray:
        """Return log W_eff of each chain, (n_chains,)."""
        features = four_spin_features(self.shells, spins, n_fields=self.n_fields)
        return np.asarray(self.constant + (features - self.center) / self.scale @ self.coefficients)


def four_spin_features(shells: DistanceShells, spins: FloatArray, *, n_fields: int) -> FloatArray:
    """Return all F_n, then sums over sites of b_p b_q, (n_samples, n_features)."""
    fields = [np.matmul(shells.adjacency(n), spins) for n in range(n_fields)]
    invariants = [
        np.einsum("bia,bia->bi", fields[n], fields[k])
        for n in range(n_fields)
        for k in range(n, n_fields)
        if (n, k) != (0, 0)
    ]
    products = [
        np.einsum("bi,bi->b", invariants[p], invariants[q])
        for p in range(len(invariants))
        for q in range(p, len(invariants))
    ]
    return np.column_stack([shell_features(shells, spins), *products])
