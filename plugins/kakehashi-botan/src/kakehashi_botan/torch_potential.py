"""The same potential in torch: differentiable, for many systems at once, on any device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from kakehashi_botan.mixtures import Mixture
from kakehashi_botan.pair_potential import (
    SKIN,
    BoolArray,
    FloatArray,
    IntArray,
    PairSums,
    term_table,
)
from kakehashi_core.devices import resolve_device
from kakehashi_core.neighbor_lists import NeighborList


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Pairs of one or several systems whose particles are numbered through.

    Attributes:
        first: Particle of each pair, (n_pairs,).
        second: Its partner, (n_pairs,); each pair stands there from both ends.
        offset: What is added to the position of the partner, (n_pairs, 3), sigma_AA.
    """

    first: torch.Tensor
    second: torch.Tensor
    offset: torch.Tensor


def pair_energies(
    positions: torch.Tensor, types: torch.Tensor, pairs: PairBatch, terms: torch.Tensor
) -> torch.Tensor:
    """Return half of the energy of each pair on its first particle, (n,), differentiable.

    Args:
        positions: (n, 3), sigma_AA, float64 where energies matter.
        types: Species, (n,).
        pairs: All pairs within the cutoffs; others cost time only.
        terms: ``pair_potential.term_table`` of the mixture, (5, n_species, n_species).
    """
    vectors = positions[pairs.second] + pairs.offset - positions[pairs.first]
    energies = half_energies(
        vectors.square().sum(-1), types[pairs.first], types[pairs.second], terms
    )
    return torch.zeros_like(positions[:, 0]).index_add(0, pairs.first, energies)


def half_energies(
    squares: torch.Tensor, first: torch.Tensor, second: torch.Tensor, terms: torch.Tensor
) -> torch.Tensor:
    """Return half of the energy of pairs with these squared distances and species, same shape."""
    twelve, six, cutoff_squared, slope, constant = terms[:, first, second]
    inside = squares < cutoff_squared
    # A distance beyond the cutoff, or zero, must not put NaN into a derivative.
    safe = torch.where(inside, squares, torch.ones_like(squares))
    sixth = safe**-3
    energy = (twelve * sixth - six) * sixth - constant - slope * safe.sqrt()
    return 0.5 * torch.where(inside, energy, torch.zeros_like(energy))


class TorchPotential:
    """As ``MixturePotential``, through torch."""

    def __init__(self, mixture: Mixture, *, skin: float = SKIN, device: str = "auto") -> None:
        """Take a mixture.

        Args:
            mixture: What interacts how.
            skin: How much further the list of pairs reaches, sigma_AA.
            device: "cpu", "cuda[:i]" or "auto".

        Raises:
            InvalidInputError: If there is no device of that name.
            UnsupportedError: If this machine has no such device.
        """
        self.mixture = mixture
        self.skin = skin
        self.device = resolve_device(device)
        self.terms = torch.as_tensor(term_table(mixture), device=self.device)
        self._lists: list[NeighborList] = []

    def evaluate(
        self, positions: FloatArray, types: IntArray, cell: FloatArray, pbc: BoolArray
    ) -> PairSums:
        """Return energies, forces and virial of one system; see ``MixturePotential.evaluate``."""
        return self.evaluate_batch([(positions, types, cell, pbc)])[0]

    def forces(
        self, positions: FloatArray, types: IntArray, cell: FloatArray, pbc: BoolArray
    ) -> FloatArray:
        """Return the forces alone, (n, 3)."""
        return self.evaluate(positions, types, cell, pbc).forces

    def evaluate_batch(
        self, systems: Sequence[tuple[FloatArray, IntArray, FloatArray, BoolArray]]
    ) -> list[PairSums]:
        """Return energies, forces and virial of several systems, in one evaluation.

        Args:
            systems: Positions, species, cell and periodic directions of each.
        """
        while len(self._lists) < len(systems):
            self._lists.append(NeighborList(self.mixture.largest_cutoff, skin=self.skin))
        starts = np.cumsum([0, *(len(s[1]) for s in systems)])
        parts = [
            pairs.update(positions, cell, pbc)
            for pairs, (positions, _, cell, pbc) in zip(self._lists, systems, strict=False)
        ]
        first = np.concatenate([p.i + s for p, s in zip(parts, starts, strict=False)])
        second = np.concatenate([p.j + s for p, s in zip(parts, starts, strict=False)])
        offset = np.concatenate([p.shifts @ s[2] for p, s in zip(parts, systems, strict=True)])
        positions = self._tensor(np.concatenate([s[0] for s in systems])).requires_grad_()
        batch = PairBatch(self._tensor(first), self._tensor(second), self._tensor(offset))
        types = self._tensor(np.concatenate([s[1] for s in systems]))
        # A strain of each system: its derivative is the virial, images included.
        strain = torch.zeros(
            (len(systems), 3, 3), dtype=positions.dtype, device=self.device, requires_grad=True
        )
        which = self._tensor(np.repeat(np.arange(len(systems)), np.diff(starts)))
        stretch = torch.eye(3, dtype=positions.dtype, device=self.device) + 0.5 * (
            strain + strain.mT
        )
        moved = torch.einsum("na,nab->nb", positions, stretch[which])
        image = torch.einsum("na,nab->nb", batch.offset, stretch[which[batch.first]])
        energies = pair_energies(
            moved, types, PairBatch(batch.first, batch.second, image), self.terms
        )
        gradient, virial = torch.autograd.grad(energies.sum(), (positions, strain))
        return [
            PairSums(
                energies[low:high].detach().cpu().numpy(),
                -gradient[low:high].cpu().numpy(),
                _voigt(virial[k].cpu().numpy()),
            )
            for k, (low, high) in enumerate(pairwise(starts))
        ]

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, device=self.device)


def _voigt(tensor: np.ndarray) -> FloatArray:
    return np.array([tensor[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))])
