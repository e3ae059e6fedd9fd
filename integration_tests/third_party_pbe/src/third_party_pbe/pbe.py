"""The PBE functional as pure tensor algebra, with the constants of libxc.

Source:
    J. P. Perdew, K. Burke, M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996); correlation of the uniform
    gas: J. P. Perdew, Y. Wang, Phys. Rev. B 45, 13244 (1992) with the unrounded constants ("mod").
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

BETA = 0.06672455060314922
GAMMA = (1.0 - math.log(2.0)) / math.pi**2
KAPPA = 0.804
MU = BETA * math.pi**2 / 3.0

DENSITY_FLOOR = 1e-18
"""Total density (bohr^-3) below which the functional is zero."""

CHANNEL_FLOOR = 1e-15
"""Fraction of the total density below which a spin channel counts as empty.

An empty channel contributes nothing and all derivatives with respect to it are zero; the exact ones
diverge there, which no self-consistent calculation can use.
"""

# Rows: paramagnetic, ferromagnetic, minus the spin stiffness; columns A, alpha_1, beta_1 ... beta_4.
PERDEW_WANG = (
    (0.0310907, 0.21370, 7.5957, 3.5876, 1.6382, 0.49294),
    (0.01554535, 0.20548, 14.1189, 6.1977, 3.3662, 0.62517),
    (0.0168869, 0.11125, 10.357, 3.6231, 0.88026, 0.49671),
)
ZETA_NORM = 2.0 ** (4.0 / 3.0) - 2.0
ZETA_CURVATURE = 8.0 / (9.0 * ZETA_NORM)  # f''(0), 1.7099...


def _exchange(rho: Tensor, sigma: Tensor) -> Tensor:
    """Return the exchange energy per volume of an unpolarized density."""
    uniform = -0.75 * (3.0 / math.pi) ** (1.0 / 3.0) * rho ** (4.0 / 3.0)
    s2 = sigma / (4.0 * (3.0 * math.pi**2) ** (2.0 / 3.0) * rho ** (8.0 / 3.0))
    return uniform * (1.0 + KAPPA * MU * s2 / (KAPPA + MU * s2))


def _perdew_wang_term(rs: Tensor, row: int) -> Tensor:
    """Return the function G of Perdew and Wang, equation 10, hartree."""
    a, alpha1, beta1, beta2, beta3, beta4 = PERDEW_WANG[row]
    root = rs.sqrt()
    denominator = 2.0 * a * root * (beta1 + root * (beta2 + root * (beta3 + root * beta4)))
    return -2.0 * a * (1.0 + alpha1 * rs) * torch.log1p(1.0 / denominator)


def _correlation(rho: Tensor, sigma: Tensor, up: Tensor | None, down: Tensor | None) -> Tensor:
    """Return the correlation energy per volume.

    Args:
        rho: Total density, bohr^-3, positive.
        sigma: Squared gradient of the total density, bohr^-8.
        up: 1 + zeta with zeta the relative spin polarization; ``None`` for a closed shell.
        down: 1 - zeta.
    """
    rs = (3.0 / (4.0 * math.pi * rho)) ** (1.0 / 3.0)
    uniform = _perdew_wang_term(rs, 0)
    phi3 = torch.ones_like(rho)
    phi2 = torch.ones_like(rho)
    if up is not None and down is not None:
        zeta4 = ((up - down) / 2.0) ** 4
        shape = (up ** (4.0 / 3.0) + down ** (4.0 / 3.0) - 2.0) / ZETA_NORM
        stiffness = _perdew_wang_term(rs, 2) / ZETA_CURVATURE
        ferromagnetic = _perdew_wang_term(rs, 1)
        uniform = uniform + shape * (zeta4 * (ferromagnetic - uniform + stiffness) - stiffness)
        phi = (up ** (2.0 / 3.0) + down ** (2.0 / 3.0)) / 2.0
        phi2, phi3 = phi**2, phi**3
    t2 = (math.pi / 3.0) ** (1.0 / 3.0) * sigma / (16.0 * phi2 * rho ** (7.0 / 3.0))
    # A t^2 stays a ratio: expm1 underflows to zero only together with the density.
    a = BETA / (GAMMA * torch.expm1(-uniform / (GAMMA * phi3)))
    at2 = a * t2
    gain = BETA / GAMMA * t2 * (1.0 + at2) / (1.0 + at2 + at2**2)
    return rho * (uniform + GAMMA * phi3 * torch.log1p(gain))


class PerdewBurkeErnzerhof:
    """PBE; satisfies ``kakehashi_core.contracts.XCFunctional``."""

    family: Literal["LDA", "GGA", "MGGA", "NONLOCAL"] = "GGA"
    hybrid = 0.0
    max_deriv = 3

    def energy_density(self, variables: Tensor, spin: Literal[0, 1]) -> Tensor:
        """Return the exchange-correlation energy per volume.

        Args:
            variables: float64, shape (n_var, n_points): rho, sigma or rho_a, rho_b, s_aa, s_ab, s_bb.
            spin: 0 for a closed shell, 1 for spin-resolved variables.

        Returns:
            Shape (n_points,), hartree bohr^-3.
        """
        if spin == 0:
            rho, sigma = variables[0], variables[1]
            present = rho > DENSITY_FLOOR
            # The unused branch of ``where`` must be finite too, or its gradient turns into NaN.
            rho = torch.where(present, rho, 1.0)
            sigma = torch.where(present, sigma, 0.0)
            energy = _exchange(rho, sigma) + _correlation(rho, sigma, None, None)
            return torch.where(present, energy, 0.0)

        total = variables[0] + variables[1]
        present = total > DENSITY_FLOOR
        safe_total = torch.where(present, total, 1.0)
        energy = torch.zeros_like(total)
        fractions = []
        for rho, sigma in ((variables[0], variables[2]), (variables[1], variables[4])):
            occupied = present & (rho > CHANNEL_FLOOR * total)
            safe_rho = torch.where(occupied, rho, 1.0)
            channel = 0.5 * _exchange(2.0 * safe_rho, 4.0 * torch.where(occupied, sigma, 0.0))
            energy = energy + torch.where(occupied, channel, 0.0)
            fractions.append(
                torch.where(occupied, 2.0 * safe_rho / safe_total, 2.0 * CHANNEL_FLOOR)
            )
        sigma = torch.where(present, variables[2] + 2.0 * variables[3] + variables[4], 0.0)
        correlation = _correlation(safe_total, sigma, fractions[0], fractions[1])
        return energy + torch.where(present, correlation, 0.0)
