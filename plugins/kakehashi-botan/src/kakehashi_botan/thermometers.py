"""Temperature from energies alone: the linear thermometers that a network has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LinearThermometer:
    """T = coefficients[0] + coefficients[1:] . features, by least squares.

    Attributes:
        coefficients: (1 + n_features,).
    """

    coefficients: FloatArray

    @classmethod
    def fit(cls, features: npt.ArrayLike, temperatures: npt.ArrayLike) -> Self:
        """Fit to configurations of known temperature.

        Args:
            features: For instance energies per particle, (n_configurations, n_features), epsilon_AA.
            temperatures: (n_configurations,), epsilon_AA / k_B.
        """
        rows = np.asarray(features, dtype=float)
        design = np.column_stack([np.ones(len(rows)), rows])
        found = np.linalg.lstsq(design, np.asarray(temperatures, dtype=float), rcond=None)[0]
        return cls(np.asarray(found))

    def read(self, features: npt.ArrayLike) -> FloatArray:
        """Return the temperature of each configuration, (n_configurations,)."""
        rows = np.asarray(features, dtype=float)
        return np.asarray(self.coefficients[0] + rows @ self.coefficients[1:])
