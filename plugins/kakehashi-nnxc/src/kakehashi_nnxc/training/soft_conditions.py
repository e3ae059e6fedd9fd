"""Exact and physical conditions that the form does not guarantee, as residuals of the fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from kakehashi_core.contracts import XCFamily
from kakehashi_nnxc import r2scan
from kakehashi_nnxc.constrained_form import correlation_term, exchange_parts, network

SCALING_TOLERANCE = 2e-4
"""Violation of a scaling condition (hartree per electron) that counts as one residual."""

STEEPEST = 0.4
SLOPE_TOLERANCE = 0.1
"""Steepest slope in ``ExchangeSlopes``, and the violation of it that counts as one residual."""


@dataclass(frozen=True, kw_only=True)
class ScalingCurves:
    """Correlation per electron along r_s at fixed polarization, p and alpha.

    The exact inequality E_c[n_lambda] >= lambda E_c[n] for lambda >= 1, and E_c falling with lambda, hold if
    along every such curve r_s |e_c| rises and |e_c| falls (sufficient local conditions). Where r2SCAN itself
    violates them slightly, it is the measure.

    Attributes:
        base: (n_curves, n_radii) |e_c| of r2SCAN, hartree.
        amplitude: The same for the change by N = 1.
        inputs: (n_curves, n_radii, n_inputs) of the correlation network.
        radii: (n_radii,) bohr, ascending.
    """

    base: torch.Tensor
    amplitude: torch.Tensor
    inputs: torch.Tensor
    radii: torch.Tensor

    @classmethod
    def random(cls, family: XCFamily, *, n_curves: int = 200, seed: int = 0) -> ScalingCurves:
        """Draw curves from low to high density."""
        rng = np.random.default_rng([seed, 5])
        radii = np.geomspace(0.02, 60.0, 24)
        polarization = np.where(rng.random(n_curves) < 0.5, 0.0, rng.uniform(0.0, 1.0, n_curves))
        gradient = 10.0 ** rng.uniform(-3.0, 1.0, n_curves)
        gradient[rng.random(n_curves) < 0.2] = 0.0
        orbital = rng.uniform(0.0, 3.0, n_curves)
        orbital[rng.random(n_curves) < 0.15] = 0.0
        close = rng.uniform(-0.7, 0.7, n_curves)
        shape = (n_curves, radii.size)
        z, p, alpha, near = (
            torch.from_numpy(np.repeat(x, radii.size))
            for x in (polarization, gradient, orbital, close)
        )
        rs = torch.from_numpy(np.tile(radii, n_curves))
        density = (r2scan.SEITZ / rs) ** 3
        sigma = p * 4.0 * r2scan.FERMI_SQUARED * density ** (8.0 / 3.0)
        weizsaecker = sigma / (8.0 * density)
        kinetic = 0.5 * ((1.0 + z) ** (5.0 / 3.0) + (1.0 - z) ** (5.0 / 3.0))
        uniform = r2scan.UNIFORM_KINETIC * density ** (5.0 / 3.0) * kinetic
        tau = weizsaecker + alpha * (uniform + r2scan.ETA * weizsaecker)
        term = correlation_term(
            1.0 + z, 1.0 - z, density, sigma, tau, near if family == "NONLOCAL" else None
        )
        return cls(
            base=(-term.base / density).reshape(shape),
            amplitude=(-term.amplitude / density).reshape(shape),
            inputs=term.inputs.to(torch.float32).reshape(*shape, -1),
            radii=torch.from_numpy(radii),
        )

    def violations(self, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return non-negative violations of both conditions between neighboring radii, in tolerances."""
        flat = self.inputs.reshape(-1, self.inputs.shape[-1])
        bend = network(parameters, "correlation", flat).to(torch.float64).reshape(self.base.shape)
        size = self.base + self.amplitude * bend
        rising = _shortfall(self.radii * size, self.radii * self.base) / self.radii[1:]
        falling = _shortfall(-size, -self.base)
        return torch.cat([rising, falling]).reshape(-1) / SCALING_TOLERANCE


@dataclass(frozen=True, kw_only=True)
class ExchangeSlopes:
    """Enhancement of exchange along alpha at fixed p, whose slope must not be steep in tails.

    The derivative of the exchange energy with respect to tau adds to the inverse mass of the electrons: below
    -1 the mass is negative, and empty orbitals fall into the tail of the density. In a tail that decays like
    exp(-2 k r) it is -0.8 sqrt(p) dF/dalpha / k, k about 1 bohr^-1.

    Attributes:
        base: (n_p, n_alpha) enhancement F of r2SCAN.
        amplitude: The same for the change by N = 1.
        inputs: (n_p, n_alpha, 2) of the exchange network.
        scale: (n_p, n_alpha - 1) sqrt(p) over steps of alpha.
    """

    base: torch.Tensor
    amplitude: torch.Tensor
    inputs: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def on_grid(cls) -> ExchangeSlopes:
        """Cover valence and tails."""
        p = torch.from_numpy(np.geomspace(0.05, 60.0, 20))
        alpha = torch.tensor(
            [0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0],
            dtype=torch.float64,
        )
        grid_p, grid_alpha = (x.reshape(-1) for x in torch.meshgrid(p, alpha, indexing="ij"))
        shape = (len(p), len(alpha))
        base, amplitude, inputs = exchange_parts(torch.ones_like(grid_p), grid_p, grid_alpha)
        return cls(
            base=(base / r2scan.UNIFORM_EXCHANGE).reshape(shape),
            amplitude=(amplitude / r2scan.UNIFORM_EXCHANGE).reshape(shape),
            inputs=torch.stack(inputs, dim=-1).to(torch.float32).reshape(*shape, 2),
            scale=p.sqrt()[:, None] / alpha.diff()[None, :],
        )

    def violations(self, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return by how much slopes exceed ``STEEPEST`` or those of r2SCAN, in tolerances."""
        bend = network(parameters, "exchange", self.inputs.reshape(-1, 2)).to(torch.float64)
        slopes = (self.base + self.amplitude * bend.reshape(self.base.shape)).diff(dim=-1)
        allowed = (self.base.diff(dim=-1) * self.scale).clamp_min(STEEPEST)
        return (slopes * self.scale - allowed).clamp_min(0.0).reshape(-1) / SLOPE_TOLERANCE


def _shortfall(values: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """Return by how much ``values`` fall along the last axis, beyond what ``base`` does."""
    return (base.diff(dim=-1).clamp_max(0.0) - values.diff(dim=-1)).clamp_min(0.0)
