"""How much mobility varies within a configuration, and over what distance: targets of two penalties.

Regression gives fields that vary too little. The penalties compare variance and spatial correlation of a
predicted field with those of the truth at the same temperature, freed from the noise of few runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_botan.displacements import minimum_image

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BIN_EDGES = (0.9, 1.35, 2.0, 3.0, 4.0)
"""Bins of distance, sigma_AA; boxes down to 8 sigma_AA hold all of them."""
PAIRS_PER_BIN = 4000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FieldStatistics:
    """Targets of one configuration, and the pairs of A particles to compare at.

    Attributes:
        variance: Of the field of infinitely many runs, sigma_AA^2.
        correlation: Mean product of the field at both ends of a pair, by bin, (n_bins,), sigma_AA^2.
        pairs: (2, n_pairs).
        bins: Bin of each pair, (n_pairs,).
    """

    variance: float
    correlation: torch.Tensor
    pairs: torch.Tensor
    bins: torch.Tensor

    def to(self, device: torch.device | str) -> Self:
        """Return the same on a device."""
        moved = {name: getattr(self, name).to(device) for name in ("correlation", "pairs", "bins")}
        return replace(self, **moved)


def pairs_by_distance(
    positions: FloatArray, types: IntArray, cell: FloatArray, *, seed: int
) -> tuple[IntArray, IntArray]:
    """Return random A-A pairs, at most ``PAIRS_PER_BIN`` of each bin of distance.

    Returns:
        Pairs, (2, n_pairs), and their bins, (n_pairs,).
    """
    rng = np.random.default_rng(seed)
    chosen = np.flatnonzero(types == 0)
    first, second = (chosen[k] for k in np.triu_indices(len(chosen), 1))
    vectors = minimum_image(positions[second] - positions[first], cell, np.ones(3, dtype=bool))
    found = np.digitize(np.linalg.norm(vectors, axis=1), BIN_EDGES) - 1
    kept = []
    for k in range(len(BIN_EDGES) - 1):
        members = np.flatnonzero(found == k)
        kept.append(rng.permutation(members)[:PAIRS_PER_BIN])
    order = np.sort(np.concatenate(kept))
    return np.stack([first[order], second[order]]), found[order]


def true_statistics(
    lengths: FloatArray, types: IntArray, pairs: IntArray, bins: IntArray
) -> tuple[float, FloatArray]:
    """Return variance and binned correlation of infinitely many runs, estimated from products of two runs.

    Args:
        lengths: Displacement lengths, (n_runs, n_atoms).
        types: Species, (n_atoms,).
        pairs: A-A pairs, (2, n_pairs).
        bins: Of the pairs, (n_pairs,).
    """
    n = len(lengths)
    centered = lengths - lengths[:, types == 0].mean(axis=1, keepdims=True)

    def across_runs(a: FloatArray, b: FloatArray) -> FloatArray:
        # Sum over k != l of a_k b_l.
        both = a.sum(axis=0) * b.sum(axis=0) - (a * b).sum(axis=0)
        return np.asarray(both / (n * (n - 1)))

    chosen = centered[:, types == 0]
    variance = float(across_runs(chosen, chosen).mean())
    products = across_runs(centered[:, pairs[0]], centered[:, pairs[1]])
    n_bins = len(BIN_EDGES) - 1
    sums = np.bincount(bins, products, n_bins)
    return variance, sums / np.maximum(np.bincount(bins, minlength=n_bins), 1)


def mean_statistics(
    found: Sequence[tuple[float, FloatArray]],
) -> tuple[float, FloatArray]:
    """Return the mean over configurations of one temperature."""
    variance = float(np.mean([v for v, _ in found]))
    return variance, np.mean([c for _, c in found], axis=0)


def penalties(
    field: torch.Tensor, types: torch.Tensor, target: FieldStatistics
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (sd / true sd - 1)^2 and the squared differences of the correlation over the true variance.

    Args:
        field: Of one configuration, (n_atoms,).
        types: Species, (n_atoms,).
        target: What it is compared with.

    Source:
        Modelled on the loss of GlassMLP, G. Jung, G. Biroli, L. Berthier, Phys. Rev. Lett. 130, 238202
        (2023).
    """
    chosen = field[types == 0]
    centered = field - chosen.mean()
    amplitude = (chosen.std(unbiased=False) / target.variance**0.5 - 1.0) ** 2
    first, second = target.pairs
    products = centered[first] * centered[second]
    n_bins = len(target.correlation)
    sums = products.new_zeros(n_bins).index_add(0, target.bins, products)
    counts = torch.bincount(target.bins, minlength=n_bins).clamp(min=1)
    difference = (sums / counts - target.correlation.to(field)) / target.variance
    return amplitude, (difference**2).sum()
