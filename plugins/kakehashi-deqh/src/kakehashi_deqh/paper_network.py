"""The network as it was published, in a smaller size: what it reads and what it leaves out.

On-site blocks of the present Hamiltonian and of the overlap are reduced to features of atoms, each irrep of
which is divided by its own length; blocks between atoms are not read. The state is the Hamiltonian itself and
begins as the identity; the trunk sees elements and directions only. Kept for comparison: scale and off-site
blocks of the present Hamiltonian are lost, so that feedback is weak by construction.

Source:
    Z. Wang et al., NeurIPS 2024, arXiv:2406.03794; Z. Qiao et al., arXiv:2105.14655, for the reduction.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from kakehashi_deqh.block_batches import BlockBatch, Blocks, BlockType
from kakehashi_deqh.equivariant_layers import KINDS, N_KINDS, bounded, harmonics
from kakehashi_deqh.hamiltonian_network import (
    LONGEST_FEATURE,
    BlockEmbeddings,
    HamiltonianNetwork,
    Prepared,
)
from kakehashi_deqh.orbital_layout import ShellCounts


class PaperNetwork(HamiltonianNetwork):
    """Same layers as ``HamiltonianNetwork``, other inputs; see the module.

    Args:
        counts: Shells of each element by angular momentum.
        n_channels: Channels of every kind of feature.
        n_layers: Layers before the present Hamiltonian comes in.
    """

    def __init__(
        self, counts: Mapping[int, ShellCounts], *, n_channels: int = 24, n_layers: int = 2
    ) -> None:
        super().__init__(counts, n_channels=n_channels, n_layers=n_layers, feedback=True)
        self.elements = torch.nn.Embedding(max(counts) + 1, n_channels)

    def prepare(self, batch: BlockBatch) -> Prepared:
        """Return what elements and directions give."""
        graph = self._graph(batch)
        n_atoms, n_pairs = len(batch.numbers), len(graph.rows)
        scalars = self.elements(batch.numbers)
        nodes = scalars.new_zeros(KINDS.dim, n_atoms, self.n_channels)
        nodes = torch.cat([scalars[None], nodes[1:]])
        weights = self.directions(graph.radial).reshape(n_pairs, N_KINDS, self.n_channels)
        vectors = batch.positions[graph.columns] - batch.positions[graph.rows]
        pairs = harmonics(vectors)[:, :, None] * weights.permute(1, 0, 2)[self._kinds]
        pairs = pairs * graph.envelope[:, None]
        nodes = nodes.index_add(1, graph.rows, pairs)
        nodes, pairs = bounded(nodes, LONGEST_FEATURE), bounded(pairs, LONGEST_FEATURE)
        for layer in self.layers:
            nodes, pairs = layer(nodes, pairs, graph)
        own = {t: batch.matrices["overlap"][t] for t in batch.types if t[2]}
        nodes = nodes + self._reduced(own, batch, self.embeddings, twice=True)
        return Prepared(nodes=nodes, pairs=pairs, graph=graph, base={})

    def first(self, prepared: Prepared, batch: BlockBatch) -> Blocks:
        """Return the identity."""
        del prepared
        found = {}
        for t in batch.types:
            change = self.irreps(t)
            block = torch.zeros(change.shape, dtype=torch.float64)
            if t[2]:
                block = torch.eye(change.shape[0], dtype=torch.float64)
            numbers = change.taken(block).to(batch.positions)
            found[t] = numbers.expand(len(batch.rows[t]), -1)
        return self.output_scales.standardized(found)

    def step(
        self, prepared: Prepared, batch: BlockBatch, present: Mapping[BlockType, torch.Tensor]
    ) -> Blocks:
        """Return the next Hamiltonian as standardized numbers."""
        graph = prepared.graph
        restored = self.output_scales.restored(present)
        own = {t: restored[t] for t in batch.types if t[2]}
        nodes = prepared.nodes + self._reduced(own, batch, self.feedback_embeddings)
        nodes, pairs = self.feedback_layer(nodes, prepared.pairs, graph)
        return self._symmetric(
            self._limited(self.feedback_heads(nodes, pairs, batch, graph)), batch
        )

    def _reduced(
        self,
        own: Mapping[BlockType, torch.Tensor],
        batch: BlockBatch,
        embeddings: BlockEmbeddings,
        *,
        twice: bool = False,
    ) -> torch.Tensor:
        """Return features of atoms from on-site blocks, each irrep divided by its length."""
        blocks: dict[BlockType, tuple[torch.Tensor, ...]] = {}
        for t, values in own.items():
            parts = []
            irreps = self.irreps(t).irreps
            for (mul, ir), where in zip(irreps, irreps.slices(), strict=True):
                part = values[:, where].reshape(-1, mul, ir.dim)
                parts.append((part / (part.norm(dim=2, keepdim=True) + 1e-5)).flatten(1))
            joined = torch.cat(parts, dim=1)
            blocks[t] = (joined, joined) if twice else (joined,)
        return embeddings.of_atoms(blocks, batch)
