"""Exact log-weights of many chains at once with torch, for a GPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.devices import resolve_device
from kakehashi_slmc.spin_fermion import SpinFermion

FloatArray = npt.NDArray[np.float64]


class TorchSpinFermion:
    """The weight of a ``SpinFermion`` on another device; NumPy arrays go in and come out.

    Args:
        model: What is computed.
        device: "auto", "cpu" or "cuda", "cuda:1" ...

    Raises:
        InvalidInputError: If there is no such device.
    """

    def __init__(self, model: SpinFermion, *, device: str = "auto") -> None:
        self.device = resolve_device(device)
        self._model = model
        n = model.n_sites
        hopping = torch.as_tensor(np.asarray(model.hopping), dtype=torch.complex128)
        full = (
            torch.kron(torch.eye(2, dtype=hopping.dtype), hopping) if len(hopping) == n else hopping
        )
        self._hopping = full.to(self.device)
        self._half = torch.as_tensor(0.5 * model.coupling).to(self.device)

    def __call__(self, spins: FloatArray) -> FloatArray:
        """Return log W of each chain, (n_chains,)."""
        energies = torch.linalg.eigvalsh(self._matrices(spins))
        return np.asarray(self._log_weight(energies).cpu().numpy())

    def value_and_gradient(self, spins: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log W, (n_chains,), and its derivative by S, (n_chains, n_sites, 3)."""
        model, n = self._model, self._model.n_sites
        energies, vectors = torch.linalg.eigh(self._matrices(spins))
        x = (energies - model.chemical_potential) / model.temperature
        f = 0.5 * (1.0 - torch.tanh(0.5 * x))
        up, down = vectors[:, :n], vectors[:, n:]
        mixed = torch.einsum("bn,bin,bin->bi", f.to(vectors.dtype), up.conj(), down)
        along = torch.einsum("bn,bin->bi", f, up.abs() ** 2 - down.abs() ** 2)
        moments = torch.stack([2.0 * mixed.real, 2.0 * mixed.imag, along], dim=-1)
        gradient = -(self._half / model.temperature)[:, None] * moments
        return self._log_weight(energies).cpu().numpy(), gradient.cpu().numpy()

    def _log_weight(self, energies: torch.Tensor) -> torch.Tensor:
        x = (energies - self._model.chemical_potential) / self._model.temperature
        return torch.logaddexp(torch.zeros_like(x), -x).sum(dim=-1)

    def _matrices(self, spins: FloatArray) -> torch.Tensor:
        n = self._model.n_sites
        s = torch.as_tensor(np.asarray(spins)).to(self.device)
        h = self._hopping.expand(len(s), -1, -1).clone()
        along = torch.diag_embed((self._half * s[:, :, 2]).to(h.dtype))
        across = torch.diag_embed(torch.complex(self._half * s[:, :, 0], -self._half * s[:, :, 1]))
        h[:, :n, :n] += along
        h[:, n:, n:] -= along
        h[:, :n, n:] += across
        h[:, n:, :n] += across.conj()
        return h
