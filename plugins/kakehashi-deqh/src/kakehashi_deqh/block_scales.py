"""Means and sizes of the numbers of blocks over a training set: what networks see and say is of order one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from e3nn import o3

from kakehashi_deqh.block_batches import Blocks, BlockType, IrrepsOf

NEGLIGIBLE = 1e-7
"""Copies of irreps that are smaller than this all over the training set are rounding."""


class BlockScales(torch.nn.Module):
    """Numbers of blocks to standardized ones and back, for each type of block and each copy of an irrep.

    Only scalars have means. Copies that are always zero stay zero.

    Args:
        irreps: Of each type.
        types: Types of blocks.
    """

    def __init__(self, irreps: IrrepsOf, types: Sequence[BlockType]) -> None:
        super().__init__()
        self._irreps = irreps
        for t in types:
            n = irreps(t).irreps.dim
            self.register_buffer(f"mean_{key(t)}", torch.zeros(n, dtype=torch.float64))
            self.register_buffer(f"size_{key(t)}", torch.ones(n, dtype=torch.float64))

    def fit(self, samples: Sequence[Mapping[BlockType, torch.Tensor]]) -> None:
        """Take means and sizes of blocks of a training set."""
        for t in {kind for sample in samples for kind in sample}:
            if not self.knows(t):
                continue
            values = torch.cat([s[t] for s in samples if t in s]).to(torch.float64)
            irreps = self._irreps(t).irreps
            mean = torch.zeros(irreps.dim, dtype=torch.float64)
            size = torch.zeros_like(mean)
            for (mul, ir), where in zip(irreps, irreps.slices(), strict=True):
                part = values[:, where].reshape(-1, mul, ir.dim)
                if ir == o3.Irrep("0e"):
                    mean[where] = part.mean(dim=0).flatten()
                    part = part - part.mean(dim=0)
                rms = part.square().mean(dim=(0, 2)).sqrt()
                size[where] = rms.repeat_interleave(ir.dim)
            getattr(self, f"mean_{key(t)}").copy_(mean)
            getattr(self, f"size_{key(t)}").copy_(torch.where(size > NEGLIGIBLE, size, 0.0))

    def knows(self, kind: BlockType) -> bool:
        """Return whether there are sizes for a type."""
        return hasattr(self, f"mean_{key(kind)}")

    def size(self, kind: BlockType) -> torch.Tensor:
        """Return the sizes of one type, (n_irreps,)."""
        found: torch.Tensor = getattr(self, f"size_{key(kind)}")
        return found

    def mean(self, kind: BlockType) -> torch.Tensor:
        """Return the means of one type, (n_irreps,)."""
        found: torch.Tensor = getattr(self, f"mean_{key(kind)}")
        return found

    def standardized(self, blocks: Mapping[BlockType, torch.Tensor]) -> Blocks:
        """Return numbers of order one."""
        found = {}
        for t, values in blocks.items():
            mean, size = getattr(self, f"mean_{key(t)}").to(values), self.size(t).to(values)
            found[t] = torch.where(size > 0.0, (values - mean) / size.clamp(min=NEGLIGIBLE), 0.0)
        return found

    def restored(self, blocks: Mapping[BlockType, torch.Tensor]) -> Blocks:
        """Return numbers of blocks of standardized ones."""
        return {
            t: values * self.size(t).to(values) + getattr(self, f"mean_{key(t)}").to(values)
            for t, values in blocks.items()
        }


def key(kind: BlockType) -> str:
    """Return a type as a name for parameters."""
    return f"{kind[0]}_{kind[1]}_{'self' if kind[2] else 'pair'}"
