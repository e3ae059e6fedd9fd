"""Smooth radial functions that end inside half the box, with two derivatives."""

from __future__ import annotations

import torch

Derivatives = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

NEAREST = 0.6
"""Center of the first function, sigma_AA."""

SPACING = 0.1


CORE = 0.9
"""Of sigma: powers level off below it, so that no pair decides where all others go."""
SHARPNESS = 8


class RadialFunctions(torch.nn.Module):
    """Gaussians in the distance times (1 - (r/rc)^2)^3: value and two derivatives vanish at rc.

    Each has its mirror image at the negative distance, so that all are even: their gradients are smooth also
    where two particles meet.

    Args:
        spacing: Of the centers, sigma_AA.
        reach: rc, at most half the edge of the box, sigma_AA.
        nearest: Center of the first one, sigma_AA.
    """

    centers: torch.Tensor

    def __init__(self, spacing: float, reach: float, *, nearest: float = NEAREST) -> None:
        super().__init__()
        self.reach = float(reach)
        n_functions = max(round((reach - nearest) / spacing), 2)
        centers = torch.linspace(nearest, reach, n_functions + 1, dtype=torch.float64)[:-1]
        self.width = float(1.2 * (centers[1] - centers[0]))
        self.register_buffer("centers", centers)

    def forward(self, r: torch.Tensor) -> Derivatives:
        """Return f, f' and f'' at distances of any shape; the last axis is that of the functions."""
        g, g1, g2 = self._bells(r[..., None] - self.centers)
        if float(self.centers[0]) < 5.0 * self.width:
            mirrored = self._bells(r[..., None] + self.centers)
            g, g1, g2 = g + mirrored[0], g1 + mirrored[1], g2 + mirrored[2]
        return _ended((g, g1, g2), r[..., None], self.reach)

    def _bells(self, distance: torch.Tensor) -> Derivatives:
        z = distance / self.width
        g = torch.exp(-0.5 * z * z)
        return g, -z / self.width * g, (z * z - 1.0) / self.width**2 * g


def softened_powers(
    r: torch.Tensor, sigma: torch.Tensor, exponents: tuple[int, ...], reach: float
) -> Derivatives:
    """Return (x^8 + 0.9^8)^(-n/8) with x = r/sigma, times (1 - (r/rc)^2)^3, and two derivatives.

    Args:
        r: Distances, of any shape.
        sigma: Of each pair, the same shape.
        exponents: n; the results have one more axis for them.
        reach: rc.
    """
    x, unit = (r / sigma)[..., None], sigma[..., None]
    base = x**SHARPNESS + CORE**SHARPNESS
    rise = SHARPNESS * x ** (SHARPNESS - 1) / unit
    turn = SHARPNESS * (SHARPNESS - 1) * x ** (SHARPNESS - 2) / unit**2
    m = torch.tensor(exponents, dtype=r.dtype, device=r.device) / SHARPNESS
    value = base**-m
    slope = -m * value / base
    bend = -(m + 1.0) * slope / base
    return _ended((value, slope * rise, bend * rise**2 + slope * turn), r[..., None], reach)


def _ended(functions: Derivatives, r: torch.Tensor, reach: float) -> Derivatives:
    """Return functions times the envelope that ends them."""
    g, g1, g2 = functions
    t = (1.0 - (r / reach) ** 2).clamp(min=0.0)
    slope = -2.0 * r / reach**2
    e = t**3
    e1 = 3.0 * t**2 * slope
    e2 = 6.0 * t * slope**2 - 6.0 * t**2 / reach**2
    return g * e, g1 * e + g * e1, g2 * e + 2.0 * g1 * e1 + g * e2
