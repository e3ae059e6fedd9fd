"""Fixed densities as the networks of the constrained form see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from kakehashi_core.contracts import XCFamily
from kakehashi_nnxc.constrained_form import near_region, network, terms

NETS = ("exchange", "correlation")
LOWEST_DENSITY = 1e-8
MERGING = {"exchange": 40.0, "correlation": 28.0}
"""Cells per unit of an input in which points are merged. Merging keeps sum and first moments of the
amplitudes; energies change by 1e-3 kcal/mol, and a fit is six times faster."""

FINE = 4.0
"""Factor on ``MERGING`` for densities on several grids, whose differences are that small."""


@dataclass(frozen=True, kw_only=True)
class Species:
    """A fixed density as the networks see it.

    Attributes:
        inputs: Net to (n_points, n_inputs), float32.
        amplitudes: Net to (n_points,), change of the energy for N = 1, quadrature weight included, hartree.
        base_energy: Total energy with N = 0, hartree.
    """

    inputs: Mapping[str, torch.Tensor]
    amplitudes: Mapping[str, torch.Tensor]
    base_energy: float

    @classmethod
    def from_density(
        cls, density: Mapping[str, Any], family: XCFamily = "MGGA", *, refinement: float = 1.0
    ) -> Species:
        """Build from an entry of ``fixed_densities.load_densities``.

        The energy with N = 0 is that of r2SCAN at this density; for densities of another functional the
        difference on the stored points is taken.

        Args:
            density: The arrays.
            family: Form.
            refinement: Factor on the number of cells per unit in which points are merged.
        """
        spin: Literal[0, 1] = 1 if int(density["spin"]) else 0
        variables = torch.from_numpy(np.ascontiguousarray(density["variables"]))
        weights = torch.from_numpy(np.ascontiguousarray(density["weights"]))
        total = variables[0] if spin == 0 else variables[0] + variables[1]
        keep = total > LOWEST_DENSITY
        variables, weights = variables[:, keep].clone(), weights[keep]
        if spin == 1:
            variables[:2].clamp_min_(1e-12)
        near = None
        if family == "NONLOCAL":
            near = near_region(
                torch.from_numpy(np.ascontiguousarray(density["near"]))[keep], total[keep]
            )
        exchange, correlation = terms(variables, spin, near)
        base = sum(float((weights * t.base).sum()) for t in (*exchange, correlation))
        inputs, amplitudes = {}, {}
        for net, parts in (("exchange", exchange), ("correlation", [correlation])):
            x = torch.cat([part.inputs for part in parts])
            f = torch.cat([weights * part.amplitude for part in parts])
            inputs[net], amplitudes[net] = _merged(x, f, refinement * MERGING[net])
        return cls(
            inputs=inputs,
            amplitudes=amplitudes,
            base_energy=float(density["total_energy"]) - float(density["xc_energy"]) + base,
        )


def _merged(
    inputs: torch.Tensor, amplitudes: torch.Tensor, cells_per_unit: float
) -> tuple[torch.Tensor, torch.Tensor]:
    n_inputs = inputs.shape[1]
    # N varies slowly along r_s/(1+r_s) and f_2, the first two of the correlation.
    relative = [1.0, 1.0] if n_inputs == 2 else [0.6, 0.6, *[1.0] * (n_inputs - 2)]
    cells = cells_per_unit * torch.tensor(relative, dtype=inputs.dtype)
    key = torch.floor(inputs * cells).to(torch.int64)
    _, cell = torch.unique(key, dim=0, return_inverse=True)
    n_cells = int(cell.max()) + 1
    weight = amplitudes.abs() + 1e-30
    total = torch.zeros(n_cells, dtype=torch.float64).index_add_(0, cell, weight)
    moments = torch.zeros(n_cells, n_inputs, dtype=torch.float64).index_add_(
        0, cell, inputs * weight[:, None]
    )
    sums = torch.zeros(n_cells, dtype=torch.float64).index_add_(0, cell, amplitudes)
    return (moments / total[:, None]).to(torch.float32), sums


def predicted_energy(species: Species, parameters: Mapping[str, torch.Tensor]) -> float:
    """Return the total energy (hartree) of a fixed density."""
    with torch.no_grad():
        return species.base_energy + float(network_energy(species, parameters))


def network_energy(species: Species, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the change of the energy by the networks, hartree."""
    # float32 networks, float64 sums: the error of a total energy stays below 1e-6 hartree.
    parts = [
        (
            network(parameters, net, species.inputs[net]).to(torch.float64)
            * species.amplitudes[net]
        ).sum()
        for net in NETS
    ]
    return parts[0] + parts[1]
