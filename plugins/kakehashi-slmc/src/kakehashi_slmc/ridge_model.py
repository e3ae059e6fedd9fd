"""Effective models that are linear in invariants, fitted by ridge regression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError
from kakehashi_slmc.linear_model import checked_targets

FloatArray = npt.NDArray[np.float64]


class Features(Protocol):
    """Invariants of spins."""

    def __call__(self, spins: FloatArray) -> FloatArray:
        """Return numbers, (n_samples, n_features), of spins, (n_samples, n_sites, 3)."""

    def contracted(self, weights: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """Return the sum of weights times features as a function of spins, quickly evaluated."""


PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RidgeModel:
    """log W_eff = constant + standardized features . coefficients.

    Attributes:
        features: Invariants of spins, such as ``FourSpinFeatures``.
        center: Mean of each, (n_features,).
        scale: Standard deviation of each, (n_features,).
        coefficients: (n_features,).
        constant: c_0.
    """

    features: Features
    center: FloatArray
    scale: FloatArray
    coefficients: FloatArray
    constant: float
    _sum: Callable[[FloatArray], FloatArray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Prepare the evaluation."""
        weights = self.coefficients / self.scale
        object.__setattr__(self, "_sum", self.features.contracted(weights))

    @classmethod
    def fit(
        cls,
        features: Features,
        spins: FloatArray,
        log_weights: FloatArray,
        *,
        validation: tuple[FloatArray, FloatArray],
        penalties: Sequence[float] = PENALTIES,
    ) -> Self:
        """Return the ridge fit whose penalty is best on other chains.

        Args:
            features: Invariants of spins.
            spins: (n_samples, n_sites, 3).
            log_weights: (n_samples,).
            validation: Spins and log-weights that choose the penalty, of chains that are not fitted.
            penalties: What is tried, per sample.

        Raises:
            InvalidInputError: If spins and log-weights are not equally many, one is not finite, or a penalty
                is not positive.
        """
        log_weights = checked_targets(spins, log_weights)
        judged = checked_targets(*validation)
        if not len(penalties) or not all(0.0 < p < np.inf for p in penalties):
            raise InvalidInputError(f"penalties are {penalties!r}; positive numbers are needed")
        found = features(spins)
        center, scale = found.mean(axis=0), found.std(axis=0)
        scale = np.where(scale > 1e-12, scale, 1.0)
        standard = (found - center) / scale
        constant = float(np.mean(log_weights))
        inner = standard.T @ standard
        cross = standard.T @ (log_weights - constant)
        models = [
            cls(
                features=features,
                center=center,
                scale=scale,
                coefficients=np.linalg.solve(inner + p * len(found) * np.eye(len(cross)), cross),
                constant=constant,
            )
            for p in penalties
        ]
        errors = [float(np.var(judged - m(validation[0]))) for m in models]
        return models[int(np.argmin(errors))]

    def __call__(self, spins: FloatArray) -> FloatArray:
        """Return log W_eff of each chain, (n_chains,)."""
        offset = self.constant - float((self.center / self.scale) @ self.coefficients)
        return np.asarray(offset + self._sum(spins))
