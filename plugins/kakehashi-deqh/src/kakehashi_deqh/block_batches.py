"""Matrices of several molecules as numbers of their blocks, sorted by the elements of the two atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_deqh.orbital_layout import AXES, OrbitalLayout, ShellCounts
from kakehashi_deqh.pair_irreps import PairIrreps, pair_irreps

FloatArray = npt.NDArray[np.float64]
BlockType = tuple[int, int, bool]
"""Elements of the rows and of the columns, and whether it is a block of an atom with itself."""
Blocks = dict[BlockType, torch.Tensor]
"""Numbers of all blocks of each type, (n_blocks, n_irreps)."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Molecule:
    """Atoms with their orbitals, and matrices between these.

    Attributes:
        numbers: Atomic numbers, (n_atoms,).
        positions: (n_atoms, 3), bohr.
        layout: Where orbitals are.
        matrices: By name, in the order of the layout, (n_orbitals, n_orbitals).
    """

    numbers: npt.NDArray[np.int64]
    positions: FloatArray
    layout: OrbitalLayout = field(repr=False)
    matrices: Mapping[str, FloatArray] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BlockBatch:
    """Molecules next to each other; every pair of atoms of a molecule in both orders.

    Attributes:
        numbers: Atomic numbers, (n_atoms,).
        positions: (n_atoms, 3), bohr, in the order y, z, x.
        molecule: That each atom belongs to, (n_atoms,).
        n_molecules: How many there are.
        types: Types of blocks, atoms with themselves first.
        rows: Atom of the rows of the blocks of each type, (n_blocks,).
        columns: Atom of their columns.
        reversed: Place of the transposed block within its own type, (n_blocks,).
        places: Where the entries of the blocks of each type are in ``packed`` matrices,
            (n_blocks, n_rows * n_columns).
        offsets: Where the matrix of each molecule begins in packed matrices, (n_molecules + 1,).
        sizes: Orbitals of each molecule.
        matrices: Numbers of the blocks by name of the matrix.
    """

    numbers: torch.Tensor
    positions: torch.Tensor
    molecule: torch.Tensor
    n_molecules: int
    types: tuple[BlockType, ...]
    rows: dict[BlockType, torch.Tensor]
    columns: dict[BlockType, torch.Tensor]
    reversed: dict[BlockType, torch.Tensor]
    places: dict[BlockType, torch.Tensor]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    matrices: dict[str, Blocks]

    @classmethod
    def join(
        cls,
        molecules: Sequence[Molecule],
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Put molecules with the same kinds of matrices next to each other.

        Args:
            molecules: At least one.
            dtype: Of numbers of blocks and positions.
            device: Where everything is.
        """
        sizes = tuple(m.layout.n_orbitals for m in molecules)
        offsets = (0, *np.cumsum([n * n for n in sizes]).tolist())
        counts: dict[int, ShellCounts] = {}
        pairs: dict[BlockType, list[tuple[int, int]]] = {}
        places: dict[BlockType, list[npt.NDArray[np.int64]]] = {}
        values: dict[str, dict[BlockType, list[FloatArray]]] = {
            name: {} for name in molecules[0].matrices
        }
        first_atom = 0
        for k, m in enumerate(molecules):
            edges = m.layout.first
            places_in = np.arange(offsets[k], offsets[k + 1]).reshape(sizes[k], sizes[k])
            for i, zi in enumerate(m.numbers.tolist()):
                counts[zi] = m.layout.counts[i]
                a = slice(edges[i], edges[i + 1])
                for j, zj in enumerate(m.numbers.tolist()):
                    kind = (zi, zj, i == j)
                    b = slice(edges[j], edges[j + 1])
                    pairs.setdefault(kind, []).append((first_atom + i, first_atom + j))
                    places.setdefault(kind, []).append(places_in[a, b].ravel())
                    for name, found in values.items():
                        found.setdefault(kind, []).append(m.matrices[name][a, b])
            first_atom += len(m.numbers)
        types = tuple(sorted(pairs, key=lambda t: (not t[2], t)))
        where = {t: {pair: p for p, pair in enumerate(pairs[t])} for t in types}
        turned = {
            (za, zb, own): [where[zb, za, own][j, i] for i, j in pairs[za, zb, own]]
            for za, zb, own in types
        }
        options: Any = {"device": device}
        return cls(
            numbers=torch.as_tensor(np.concatenate([m.numbers for m in molecules]), **options),
            positions=torch.as_tensor(
                np.concatenate([m.positions for m in molecules])[:, AXES], dtype=dtype, **options
            ),
            molecule=torch.as_tensor(
                np.repeat(np.arange(len(molecules)), [len(m.numbers) for m in molecules]), **options
            ),
            n_molecules=len(molecules),
            types=types,
            rows={t: torch.as_tensor([p[0] for p in pairs[t]], **options) for t in types},
            columns={t: torch.as_tensor([p[1] for p in pairs[t]], **options) for t in types},
            reversed={t: torch.as_tensor(turned[t], **options) for t in types},
            places={t: torch.as_tensor(np.array(places[t]), **options) for t in types},
            offsets=offsets,
            sizes=sizes,
            matrices={
                name: {
                    t: pair_irreps(counts[t[0]], counts[t[1]])
                    .taken(torch.as_tensor(np.array(found[t])))
                    .to(dtype=dtype, device=device)
                    for t in types
                }
                for name, found in values.items()
            },
        )

    def packed(self, blocks: Mapping[BlockType, torch.Tensor], irreps: IrrepsOf) -> torch.Tensor:
        """Return the entries of all matrices one after the other, (sum of sizes^2,), from their numbers."""
        reference = next(iter(blocks.values()))
        found = torch.zeros(self.offsets[-1], dtype=reference.dtype, device=reference.device)
        index, entries = [], []
        for t in self.types:
            entries.append(irreps(t).given_back(blocks[t]).reshape(-1))
            index.append(self.places[t].reshape(-1))
        return found.index_put((torch.cat(index),), torch.cat(entries))

    def matrices_of(self, packed: torch.Tensor) -> list[torch.Tensor]:
        """Return one matrix for each molecule, (n_orbitals, n_orbitals), of packed ones."""
        return [
            packed[start : start + n * n].reshape(n, n)
            for start, n in zip(self.offsets, self.sizes, strict=False)
        ]


class IrrepsOf:
    """The change of basis of each type of block.

    Args:
        counts: Shells of each element by angular momentum.
    """

    def __init__(self, counts: Mapping[int, ShellCounts]) -> None:
        self.counts = dict(counts)

    def __call__(self, kind: BlockType) -> PairIrreps:
        """Return the change of basis of one type."""
        return pair_irreps(self.counts[kind[0]], self.counts[kind[1]])

    def transposed(self, kind: BlockType) -> torch.Tensor:
        """Return what turns numbers of blocks into those of their transposes, (n_irreps, n_irreps)."""
        here, there = self(kind), self((kind[1], kind[0], kind[2]))
        n_rows, n_columns = here.shape
        flipped = here.basis.reshape(-1, n_rows, n_columns).transpose(1, 2).flatten(1)
        return flipped @ there.basis.T


class StateRows:
    """Numbers of all blocks of a molecule as one row, padded with zeros.

    Args:
        batch: Whose blocks.
        widths: Numbers of a block of each type.
    """

    def __init__(self, batch: BlockBatch, widths: Mapping[BlockType, int]) -> None:
        self._widths = widths
        self._types = batch.types
        self._molecules, self._places = {}, {}
        used = torch.zeros(batch.n_molecules, dtype=torch.int64, device=batch.numbers.device)
        for t in batch.types:
            owner = batch.molecule[batch.rows[t]]
            count = torch.bincount(owner, minlength=batch.n_molecules)
            # Blocks of a molecule are next to each other.
            first = torch.cumsum(count, 0) - count
            within = torch.arange(len(owner), device=owner.device) - first[owner]
            start = used[owner] + within * widths[t]
            steps = torch.arange(widths[t], device=owner.device)
            self._places[t] = start[:, None] + steps
            self._molecules[t] = owner[:, None].expand(-1, widths[t])
            used = used + count * widths[t]
        self.shape = (batch.n_molecules, int(used.max()))

    def joined(self, blocks: Mapping[BlockType, torch.Tensor]) -> torch.Tensor:
        """Return rows, (n_molecules, n_numbers)."""
        reference = next(iter(blocks.values()))
        rows = torch.zeros(self.shape, dtype=reference.dtype, device=reference.device)
        index = (
            torch.cat([self._molecules[t].reshape(-1) for t in self._types]),
            torch.cat([self._places[t].reshape(-1) for t in self._types]),
        )
        return rows.index_put(index, torch.cat([blocks[t].reshape(-1) for t in self._types]))

    def split(self, rows: torch.Tensor) -> Blocks:
        """Return the numbers of the blocks of rows."""
        return {t: rows[self._molecules[t], self._places[t]] for t in self._types}
