"""Linear models of propensity: a field around a mean, both linear in features of the structure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from kakehashi_botan.structure_features import InputKind, n_descriptors

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RidgeSample:
    """What a fit needs of one configuration.

    Attributes:
        features: (n, n_features).
        configuration: Features of the whole, (n_global,).
        types: Species, (n,).
        propensity: (n,), sigma_AA.
        weight: Relative to a configuration whose propensities are exact.
        counts_for_mean: Whether the mean of the configuration is fitted to, too.
    """

    features: FloatArray
    configuration: FloatArray
    types: IntArray
    propensity: FloatArray
    weight: float = 1.0
    counts_for_mean: bool = True


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RidgePropensity:
    """p_i = mean of the configuration + field_i - mean field, for each species.

    Attributes:
        kind: What the features are made of.
        n_levels: Blocks of features, see ``Surroundings.levels``.
        center: Mean of each feature, (n_species, n_features).
        scale: Standard deviation of each feature, (n_species, n_features).
        weights: Of the standardized features, (n_species, n_features), sigma_AA.
        means: Coefficients of 1 and the global features in the mean, (n_species, 1 + n_global).
        residual: Root mean square of what the field leaves, (n_species,), sigma_AA.
    """

    kind: InputKind
    n_levels: int
    center: FloatArray
    scale: FloatArray
    weights: FloatArray
    means: FloatArray
    residual: FloatArray

    def field(self, features: FloatArray, types: IntArray) -> FloatArray:
        """Return the field, zero on average over each species, (n,), sigma_AA."""
        values = np.zeros(len(types))
        for species in np.unique(types):
            chosen = types == species
            standard = (features[chosen] - self.center[species]) / self.scale[species]
            field = standard @ self.weights[species]
            values[chosen] = field - field.mean()
        return values

    def predict(
        self, features: FloatArray, configuration: FloatArray, types: IntArray
    ) -> FloatArray:
        """Return the propensity of every particle, (n,), sigma_AA."""
        mean = self.means[:, 0] + self.means[:, 1:] @ configuration
        return mean[types] + self.field(features, types)

    @classmethod
    def empty(cls, kind: InputKind, *, n_species: int, n_levels: int, n_global: int) -> Self:
        """Return a model of zeros, to be filled with stored numbers."""
        features = np.zeros((n_species, n_levels * n_descriptors(kind, n_species)))
        each = np.zeros(n_species)
        return cls(
            kind=kind,
            n_levels=n_levels,
            center=features,
            scale=features,
            weights=features,
            means=np.zeros((n_species, 1 + n_global)),
            residual=each,
        )

    @classmethod
    def fit(cls, moments: RidgeMoments, *, kind: InputKind, n_levels: int, penalty: float) -> Self:
        """Solve the regularized least squares of the field, and of the means.

        Args:
            moments: Of all configurations that are fitted.
            kind: What the features are made of.
            n_levels: Blocks of features.
            penalty: On the squares of the weights, against sums over particles.
        """
        solved = [one.solve(penalty) for one in moments.sums]
        return cls(
            kind=kind,
            n_levels=n_levels,
            center=np.array([s[0] for s in solved]),
            scale=np.array([s[1] for s in solved]),
            weights=np.array([s[2] for s in solved]),
            means=np.array([_linear_mean(rows) for rows in moments.means]),
            residual=np.array([s[3] for s in solved]),
        )


class RidgeMoments:
    """All that a fit needs of any number of configurations; moments of disjoint sets add up.

    Targets are centered in each configuration: its mean is fitted apart, from global features.

    Args:
        n_species: Number of species.
    """

    def __init__(self, n_species: int) -> None:
        self.sums = [_Sums() for _ in range(n_species)]
        self.means: list[list[tuple[FloatArray, float, float]]] = [[] for _ in range(n_species)]

    def add(self, sample: RidgeSample) -> None:
        """Count one more configuration."""
        for species, (total, means) in enumerate(zip(self.sums, self.means, strict=True)):
            chosen = sample.types == species
            if chosen.any():
                target = sample.propensity[chosen]
                total.add(sample.features[chosen], target, sample.weight)
                if sample.counts_for_mean:
                    means.append((sample.configuration, float(target.mean()), sample.weight))

    @classmethod
    def of(cls, samples: Iterable[RidgeSample], *, n_species: int) -> Self:
        """Return the moments of several configurations, read once, one after the other."""
        moments = cls(n_species)
        for sample in samples:
            moments.add(sample)
        return moments

    @classmethod
    def merged(cls, parts: Sequence[RidgeMoments]) -> Self:
        """Return the moments of all configurations of all parts."""
        whole = cls(len(parts[0].sums))
        for part in parts:
            for total, means, other, more in zip(
                whole.sums, whole.means, part.sums, part.means, strict=True
            ):
                total.merge(other)
                means.extend(more)
        return whole


class _Sums:
    """Moments of features and centered targets, summed over configurations."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._first: FloatArray | float = 0.0
        self._square: FloatArray | float = 0.0
        self._inner: FloatArray | float = 0.0
        self._cross: FloatArray | float = 0.0
        self._target = 0.0

    def add(self, features: FloatArray, target: FloatArray, weight: float) -> None:
        within = features - features.mean(axis=0)
        centered = target - target.mean()
        self._weight += weight * len(target)
        self._first = self._first + weight * features.sum(axis=0)
        self._square = self._square + weight * (features**2).sum(axis=0)
        self._inner = self._inner + weight * (within.T @ within)
        self._cross = self._cross + weight * (within.T @ centered)
        self._target += weight * float(centered @ centered)

    def merge(self, other: _Sums) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def solve(self, penalty: float) -> tuple[FloatArray, FloatArray, FloatArray, float]:
        center = np.asarray(self._first) / self._weight
        variance = np.asarray(self._square) / self._weight - center**2
        # A feature that never varies carries nothing and must not be divided by zero.
        scale = np.sqrt(np.where(variance > 1e-12, variance, 1.0))
        inner = np.asarray(self._inner) / np.outer(scale, scale)
        cross = np.asarray(self._cross) / scale
        weights = np.linalg.solve(inner + penalty * np.eye(len(cross)), cross)
        left = self._target - 2.0 * weights @ cross + weights @ inner @ weights
        return center, scale, weights, float(np.sqrt(max(left, 0.0) / self._weight))


def _linear_mean(rows: Sequence[tuple[FloatArray, float, float]]) -> FloatArray:
    """Return the coefficients of 1 and the global features, by weighted least squares."""
    design = np.array([np.concatenate([[1.0], values]) for values, _, _ in rows])
    weights = np.sqrt([weight for _, _, weight in rows])
    means = np.array([mean for _, mean, _ in rows])
    found = np.linalg.lstsq(design * weights[:, None], means * weights, rcond=1e-10)[0]
    return np.asarray(found, dtype=np.float64)
