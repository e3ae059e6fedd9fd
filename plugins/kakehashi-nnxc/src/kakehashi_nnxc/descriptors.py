"""Dimensionless descriptors of the density that the networks read.

Source:
    Nagai, Akashi, Sugino, npj Comput. Mater. 6, 43 (2020), with the constants of the code published beside
    it: every singular expression carries the same small number e = 1e-7.
"""

from __future__ import annotations

from typing import Literal

import torch

SMALL = 1e-7
"""The constant e of the published form, in the atomic unit of whatever it is added to."""

SMOOTH_FLOOR = 1e-6
"""Width of the smooth floor of R, bohr^-3 times the kernel's integral; R of valence electrons is > 1e-4."""

DESCRIPTORS: dict[str, tuple[str, ...]] = {
    "LDA": ("u", "phi"),
    "GGA": ("u", "phi", "s"),
    "MGGA": ("u", "phi", "s", "t"),
    "NONLOCAL": ("u", "phi", "s", "t", "R"),
}
"""Family to the descriptors in the order in which the first layer reads them."""


def log_descriptors(
    variables: torch.Tensor, spin: Literal[0, 1], family: str, *, smooth: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn density variables into the logarithms that enter the first layer.

    Args:
        variables: (n_var, n_points), rows as in ``kakehashi_core.contracts.XCFunctional``.
        spin: 0 or 1.
        family: "LDA", "GGA", "MGGA" or "NONLOCAL".
        smooth: Replace max(R, 0), the kink of the published form, by (R + sqrt(R^2 + 4 w^2))/2 with the width
            w of ``SMOOTH_FLOOR``: a fitted density makes R slightly negative in tails.

    Returns:
        The descriptors (n_points, n_descriptors), and the prefactor n^(4/3) phi (n_points,), bohr^-4, that
        turns the network's output into minus the energy density.

    Source:
        With n the density, z the polarization, sigma = |grad n|^2 and tau the kinetic-energy density:
        u = (n + e)^(1/3), phi = [(1+z)^(4/3) + (1-z)^(4/3)]/2, s = (sqrt(sigma + 4e) + e)/u^4,
        t = (tau + e)/(u^5 [(1+z)^(5/3) + (1-z)^(5/3)]), R = max(R, 0) + e.
    """
    if spin == 0:
        density = variables[0]
        zeta_power = {4: torch.ones_like(density), 5: torch.full_like(density, 2.0)}
    else:
        density = variables[0] + variables[1]
        zeta = (variables[0] - variables[1]) / (density + SMALL)
        # z stays below one because of e, so the powers have finite derivatives at full polarization.
        zeta_power = {
            4: ((1 + zeta) ** (4 / 3) + (1 - zeta) ** (4 / 3)) / 2,
            5: (1 + zeta) ** (5 / 3) + (1 - zeta) ** (5 / 3),
        }
    u = (density + SMALL) ** (1 / 3)
    logarithms = [u.log(), zeta_power[4].log()]
    if family != "LDA":
        sigma = variables[1] if spin == 0 else variables[2] + 2 * variables[3] + variables[4]
        # |grad n|^2 >= 0; rounding in the sum of the spin components can spoil that by 1e-17.
        root = (sigma.clamp_min(0.0) + 4 * SMALL).sqrt() + SMALL
        logarithms.append((root / u**4).log())
    if family in ("MGGA", "NONLOCAL"):
        tau = variables[2] if spin == 0 else variables[5] + variables[6]
        logarithms.append(((tau + SMALL) / (u**5 * zeta_power[5])).log())
    if family == "NONLOCAL":
        around = variables[-1]
        if smooth:
            around = (around + (around**2 + 4 * SMOOTH_FLOOR**2).sqrt()) / 2
        logarithms.append((around.clamp_min(0.0) + SMALL).log())
    return torch.stack(logarithms, dim=-1), density ** (4 / 3) * zeta_power[4]
