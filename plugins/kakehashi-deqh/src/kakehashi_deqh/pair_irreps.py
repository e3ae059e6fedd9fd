"""Blocks between the orbitals of two atoms as irreducible representations of O(3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import torch
from e3nn import o3

from kakehashi_deqh.orbital_layout import ShellCounts, n_orbitals


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PairIrreps:
    """An orthogonal change of basis of blocks.

    Shells l1 and l2 give one copy of each L = |l1 - l2| ... l1 + l2, of parity (-1)^(l1 + l2). Copies of one
    kind are next to each other.

    Attributes:
        irreps: What the numbers of a block are, simplified: "14x0e+16x1o+...".
        basis: Orthogonal matrix, (n_irreps, n_rows * n_columns), float64.
        shape: Rows and columns of a block.
    """

    irreps: o3.Irreps
    basis: torch.Tensor = field(repr=False)
    shape: tuple[int, int]

    def taken(self, blocks: torch.Tensor) -> torch.Tensor:
        """Return the numbers of blocks, (..., n_irreps), of (..., n_rows, n_columns)."""
        return blocks.flatten(-2) @ self.basis.to(blocks).T

    def given_back(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return blocks, (..., n_rows, n_columns), of their numbers."""
        return (numbers @ self.basis.to(numbers)).reshape(*numbers.shape[:-1], *self.shape)


@cache
def pair_irreps(rows: ShellCounts, columns: ShellCounts) -> PairIrreps:
    """Return the change of basis of blocks between two atoms.

    Args:
        rows: Shells of the first atom by angular momentum.
        columns: Shells of the second one.
    """
    n_rows, n_columns = n_orbitals(rows), n_orbitals(columns)
    found: dict[tuple[int, int], list[torch.Tensor]] = {}
    row = 0
    for l1, n1 in enumerate(rows):
        for _ in range(n1):
            column = 0
            for l2, n2 in enumerate(columns):
                for _ in range(n2):
                    for total in range(abs(l1 - l2), l1 + l2 + 1):
                        coupling = o3.wigner_3j(l1, l2, total, dtype=torch.float64)
                        vectors = torch.zeros(2 * total + 1, n_rows, n_columns, dtype=torch.float64)
                        vectors[:, row : row + 2 * l1 + 1, column : column + 2 * l2 + 1] = (
                            2 * total + 1
                        ) ** 0.5 * coupling.permute(2, 0, 1)
                        found.setdefault((total, (-1) ** (l1 + l2)), []).append(vectors.flatten(1))
                    column += 2 * l2 + 1
            row += 2 * l1 + 1
    kinds = sorted(found, key=lambda kind: (kind[0], kind[1]))
    irreps = o3.Irreps([(len(found[kind]), kind) for kind in kinds])
    basis = torch.cat([vectors for kind in kinds for vectors in found[kind]])
    return PairIrreps(irreps=irreps, basis=basis, shape=(n_rows, n_columns))
