"""The model: from a density to an energy per volume, in torch."""

from __future__ import annotations

import math
from typing import Literal

import torch

WIGNER = (0.44, 7.8)
DENSITY_FLOOR = 1e-20
"""bohr^-3: derivatives of powers diverge in an empty spin channel."""


class SlaterWigner:
    """Exchange of the uniform gas in every spin channel, and Wigner's correlation.

    Satisfies ``kakehashi_core.contracts.XCFunctional``.

    Source:
        E. Wigner, Trans. Faraday Soc. 34, 678 (1938), with (1 - zeta^2) for polarized densities.
    """

    family: Literal["LDA", "GGA", "MGGA", "NONLOCAL"] = "LDA"
    hybrid = 0.0
    max_deriv = 2

    def energy_density(self, variables: torch.Tensor, spin: Literal[0, 1]) -> torch.Tensor:
        """Return the exchange-correlation energy per volume.

        Args:
            variables: float64, (n_var, n_points): the density, or that of both spins; bohr^-3.
            spin: 0 for a closed shell, 1 for spin-resolved variables.

        Returns:
            Shape (n_points,), hartree bohr^-3.
        """
        channels = (0.5 * variables[:1]).expand(2, -1) if spin == 0 else variables[:2]
        channels = channels.clamp_min(DENSITY_FLOOR)
        total = channels.sum(0)
        exchange = -0.75 * (6.0 / math.pi) ** (1.0 / 3.0) * (channels ** (4.0 / 3.0)).sum(0)
        radius = (3.0 / (4.0 * math.pi * total)) ** (1.0 / 3.0)
        a, b = WIGNER
        # n (1 - zeta^2) = 4 n_up n_down / n
        correlation = -a * 4.0 * channels[0] * channels[1] / total / (b + radius)
        energy: torch.Tensor = exchange + correlation
        return energy
