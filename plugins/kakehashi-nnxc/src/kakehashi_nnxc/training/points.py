"""Fixed densities in the form that a network of the four-layer form reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.contracts import XCFamily
from kakehashi_nnxc.descriptors import log_descriptors
from kakehashi_nnxc.four_layer_form import network

LOWEST_DENSITY = 1e-7
CHUNK_POINTS = 8192


@dataclass(frozen=True, kw_only=True)
class DensityPoints:
    """A fixed density.

    Attributes:
        inputs: (n_points, n_descriptors) logarithms of the descriptors, float64.
        factors: (n_points,) quadrature weight times n^(4/3) phi, float64.
    """

    inputs: torch.Tensor
    factors: torch.Tensor

    @classmethod
    def of(
        cls,
        variables: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64],
        spin: Literal[0, 1],
        family: XCFamily,
    ) -> DensityPoints:
        """Build from meta-GGA variables (and R as last row for NONLOCAL) and weights in bohr^3."""
        total = variables[0] if spin == 0 else variables[0] + variables[1]
        kept = total > LOWEST_DENSITY
        tensor = torch.from_numpy(np.ascontiguousarray(variables[:, kept]))
        inputs, prefactor = log_descriptors(tensor, spin, family, smooth=True)
        factors = torch.from_numpy(np.ascontiguousarray(weights[kept])) * prefactor
        return cls(inputs=inputs, factors=factors)

    @classmethod
    def from_density(cls, density: Mapping[str, Any], family: XCFamily) -> DensityPoints:
        """Build from an entry of ``fixed_densities.load_densities``."""
        spin: Literal[0, 1] = 1 if int(density["spin"]) else 0
        variables, weights = np.asarray(density["variables"]), np.asarray(density["weights"])
        return cls.of(variables, weights, spin, family)

    def energy(self, parameters: Mapping[str, torch.Tensor], activation: str = "silu") -> float:
        """Return the exchange-correlation energy, hartree."""
        with torch.no_grad():
            return float(sum(part.item() for part in self._parts(parameters, activation)))

    def gradient(
        self, parameters: Mapping[str, torch.Tensor], activation: str = "silu"
    ) -> torch.Tensor:
        """Return the derivative of the energy with respect to all parameters, flattened in their order.

        Computed with a float32 network, relative error 1e-5: half the time, and enough for a direction.
        """
        leaves = {
            k: v.detach().to(torch.float32).requires_grad_(True) for k, v in parameters.items()
        }
        for part in self._parts(leaves, activation):
            part.backward()
        gradient = [v.grad if v.grad is not None else torch.zeros_like(v) for v in leaves.values()]
        return torch.cat([g.reshape(-1) for g in gradient]).to(torch.float64)

    def _parts(self, parameters: Mapping[str, torch.Tensor], activation: str) -> Any:
        inputs = torch.split(self.inputs, CHUNK_POINTS)
        for x, factors in zip(inputs, torch.split(self.factors, CHUNK_POINTS), strict=True):
            y = network(parameters, x.to(parameters["fc1.weight"].dtype), activation)
            yield -(y.to(torch.float64) * factors).sum()
