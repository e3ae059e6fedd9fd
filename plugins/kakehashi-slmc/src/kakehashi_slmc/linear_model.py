"""The linear effective model: one coupling for each shell of distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError
from kakehashi_slmc.distance_shells import DistanceShells

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LinearModel:
    """log W_eff = c_0 + sum_n c_n F_n,  F_n = sum_ij S_i . (A_n)_ij S_j, with A_n of ``DistanceShells``.

    Attributes:
        shells: Classes of pairs.
        constant: c_0.
        coefficients: c_1 ... c_n, (n_coefficients,); shells beyond have none.
    """

    shells: DistanceShells
    constant: float
    coefficients: FloatArray

    @classmethod
    def fit(
        cls,
        shells: DistanceShells,
        spins: FloatArray,
        log_weights: FloatArray,
        *,
        n_shells: int | None = None,
    ) -> Self:
        """Return the least-squares fit to log-weights.

        Args:
            shells: Classes of pairs.
            spins: (n_samples, n_sites, 3).
            log_weights: (n_samples,).
            n_shells: How many shells, the nearest ones; None for all.

        Raises:
            InvalidInputError: If there are fewer samples than parameters, spins and log-weights are not
                equally many, or one is not finite.
        """
        targets = checked_targets(spins, log_weights)
        features = shell_features(shells, spins, n_shells=n_shells)
        if len(features) <= features.shape[1]:
            raise InvalidInputError(
                f"{len(features)} samples cannot fix {features.shape[1] + 1} parameters; give more"
            )
        design = np.column_stack([np.ones(len(features)), features])
        found = np.linalg.lstsq(design, targets, rcond=None)[0]
        return cls(
            shells=shells,
            constant=float(found[0]),
            coefficients=np.asarray(found[1:], dtype=np.float64),
        )

    @property
    def couplings(self) -> FloatArray:
        """M with log W_eff = c_0 + sum over bonds of M_ij S_i . S_j, (n_sites, n_sites); 2 c_n / z_n."""
        bonds = np.zeros(self.shells.n_shells + 1)
        n = len(self.coefficients)
        bonds[1 : n + 1] = 2.0 * self.coefficients / self.shells.counts[:n]
        return np.asarray(bonds[self.shells.labels])

    def __call__(self, spins: FloatArray) -> FloatArray:
        """Return log W_eff of each chain, (n_chains,)."""
        fields = np.matmul(self.couplings, spins)
        return np.asarray(self.constant + 0.5 * np.einsum("bia,bia->b", spins, fields))

    def value_and_gradient(self, spins: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log W_eff, (n_chains,), and its derivative by S, (n_chains, n_sites, 3)."""
        fields = np.matmul(self.couplings, spins)
        return self.constant + 0.5 * np.einsum("bia,bia->b", spins, fields), fields


def checked_targets(spins: FloatArray, log_weights: npt.ArrayLike) -> FloatArray:
    """Return log-weights that a model can be fitted to, (n_samples,).

    Raises:
        InvalidInputError: If spins and log-weights are not equally many, or one is not finite.
    """
    targets = np.asarray(log_weights, dtype=np.float64)
    if np.ndim(spins) != 3 or targets.shape != (len(spins),) or not len(targets):
        raise InvalidInputError(
            f"spins have shape {np.shape(spins)} and log-weights {targets.shape}; (n_samples, n_sites, 3) "
            "and (n_samples,) are needed"
        )
    for name, finite in (
        ("log-weight", np.isfinite(targets)),
        ("spin", np.isfinite(spins).all(axis=(1, 2))),
    ):
        if not finite.all():
            raise InvalidInputError(
                f"a {name} of sample {int(np.argmin(finite))} is not finite; leave such samples out"
            )
    return targets


def shell_features(
    shells: DistanceShells, spins: FloatArray, *, n_shells: int | None = None
) -> FloatArray:
    """Return F_1 ... F_n of each configuration, (n_samples, n_shells)."""
    last = shells.n_shells if n_shells is None else n_shells
    if not 1 <= last <= shells.n_shells:
        raise InvalidInputError(f"{last} shells are asked for; there are {shells.n_shells}")
    products = np.einsum("bia,bja->bij", spins, spins)
    columns = [
        products[:, shells.labels == k].sum(axis=1) / shells.counts[k - 1]
        for k in range(1, last + 1)
    ]
    return np.stack(columns, axis=1)
