"""Sweeps of many chains at once with torch, for a GPU; the same numbers give the same moves as on a CPU."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

SMALL_FIELD = 1e-6


class TorchSpins:
    """Spins on a device; every site of all chains is one operation.

    Args:
        spins: (n_chains, n_sites, 3); stay as they are.
        couplings: M, (n_sites, n_sites).
        device: As torch names it.
    """

    def __init__(
        self,
        spins: npt.NDArray[np.float64],
        couplings: npt.NDArray[np.float64],
        *,
        device: str | torch.device,
    ) -> None:
        self._device = torch.device(device)
        self._spins = torch.tensor(spins, dtype=torch.float64, device=self._device)
        self._couplings = torch.tensor(couplings, dtype=torch.float64, device=self._device)

    def heat_bath(self, order: npt.NDArray[np.int64], numbers: npt.NDArray[np.float64]) -> None:
        """Draw the spins of these sites anew, from uniform numbers in (0, 1], (n_chains, n_visited, 2)."""
        drawn = torch.as_tensor(numbers).to(self._device)
        for k, site in enumerate(order):
            self._spins[:, site] = _draw(self._field(int(site)), drawn[:, k, 0], drawn[:, k, 1])

    def overrelax(self, order: npt.NDArray[np.int64]) -> None:
        """Turn the spins of these sites by half a turn around their fields."""
        for site in order:
            field = self._field(int(site))
            square = (field * field).sum(dim=1, keepdim=True)
            here = self._spins[:, site]
            turned = 2.0 * (here * field).sum(dim=1, keepdim=True) / square * field - here
            turned = turned / turned.norm(dim=1, keepdim=True)
            self._spins[:, site] = torch.where(square > 0.0, turned, here)

    def spins(self) -> npt.NDArray[np.float64]:
        """Return where they point now, (n_chains, n_sites, 3)."""
        return np.asarray(self._spins.cpu().numpy())

    def _field(self, site: int) -> torch.Tensor:
        return torch.einsum("j,bja->ba", self._couplings[site], self._spins)


def _draw(field: torch.Tensor, uniform: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Return directions distributed as exp(H . S), with the basis of ``heat_bath`` on the CPU."""
    strength = field.norm(dim=1)
    axis = field / strength.clamp(min=1e-300)[:, None]
    up = torch.tensor([0.0, 0.0, 1.0], dtype=field.dtype, device=field.device)
    x, y, z = torch.where((strength > 0.0)[:, None], axis, up).unbind(dim=1)
    safe = strength.clamp(min=SMALL_FIELD)
    w = 1.0 + torch.log1p((1.0 - uniform) * torch.expm1(-2.0 * safe)) / safe
    w = torch.where(strength < SMALL_FIELD, 2.0 * uniform - 1.0, w).clamp(-1.0, 1.0)
    radius = (1.0 - w * w).clamp(min=0.0).sqrt()
    angle = 2.0 * math.pi * turn
    c, s = radius * angle.cos(), radius * angle.sin()
    sign = torch.where(z >= 0.0, 1.0, -1.0).to(field.dtype)
    a = -1.0 / (sign + z)
    b = x * y * a
    found: torch.Tensor = torch.stack(
        [
            w * x + c * (1.0 + sign * x * x * a) + s * b,
            w * y + c * sign * b + s * (sign + y * y * a),
            w * z - c * sign * x - s * y,
        ],
        dim=1,
    )
    length: torch.Tensor = found.norm(dim=1, keepdim=True)
    return found / length
