"""The network: overlap and start Hamiltonian of a molecule, and its present Hamiltonian, to the next one.

    H_next = H_start + D(A(R) + s B(R, H)),  0 < s < LARGEST_FEEDBACK

A is computed once for a geometry; only B sees the present Hamiltonian, through all of its blocks. D gives
numbers back their sizes, and lets blocks of atoms far from each other vanish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from e3nn import o3

from kakehashi_deqh.block_batches import BlockBatch, Blocks, BlockType, IrrepsOf
from kakehashi_deqh.block_scales import BlockScales, key
from kakehashi_deqh.equivariant_layers import (
    KINDS,
    N_KINDS,
    Gate,
    Mixing,
    bounded,
    harmonics,
    kind_of_component,
)
from kakehashi_deqh.orbital_layout import ShellCounts
from kakehashi_deqh.tensor_products import tensor_product

N_RADIAL = 16
CUTOFF = 15.0
"""Distance beyond which atoms do not see each other, bohr."""
LONGEST_FEATURE, LONGEST_OUTPUT = 4.0, 8.0
"""In units of what the training set has."""
LARGEST_FEEDBACK = 1.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Prepared:
    """What does not depend on the present Hamiltonian.

    Attributes:
        nodes: Features of atoms, (n_components, n_atoms, n_channels).
        pairs: Features of pairs, (n_components, n_pairs, n_channels).
        graph: The pairs.
        base: Standardized numbers of A.
    """

    nodes: torch.Tensor = field(repr=False)
    pairs: torch.Tensor = field(repr=False)
    graph: PairGraph
    base: Blocks = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PairGraph:
    """All pairs of different atoms, sorted by their types.

    Attributes:
        rows: Atom that receives, (n_pairs,).
        columns: Atom that sends.
        radial: Functions of the distance, (n_pairs, N_RADIAL).
        envelope: 1 to 0 at the cutoff, (n_pairs,).
        slices: Where the pairs of each type are.
        n_atoms: How many there are.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    radial: torch.Tensor = field(repr=False)
    envelope: torch.Tensor = field(repr=False)
    slices: dict[BlockType, slice]
    n_atoms: int


class HamiltonianNetwork(torch.nn.Module):
    """An O(3)-equivariant network on blocks between atomic orbitals.

    Args:
        counts: Shells of each element by angular momentum.
        n_channels: Channels of every kind of feature.
        n_layers: Layers before the present Hamiltonian comes in.
        feedback: Whether it comes in at all.
    """

    def __init__(
        self,
        counts: Mapping[int, ShellCounts],
        *,
        n_channels: int = 24,
        n_layers: int = 2,
        feedback: bool = True,
    ) -> None:
        super().__init__()
        self.irreps = IrrepsOf(counts)
        elements = sorted(self.irreps.counts)
        self.types: tuple[BlockType, ...] = (
            *((z, z, True) for z in elements),
            *((a, b, False) for a in elements for b in elements),
        )
        self.n_channels, self.n_layers, self.feedback = n_channels, n_layers, feedback
        self.inputs = torch.nn.ModuleDict(
            {name: BlockScales(self.irreps, self.types) for name in ("overlap", "start")}
        )
        self.output_scales = BlockScales(self.irreps, self.types)
        self.embeddings = BlockEmbeddings(self.irreps, self.types, n_channels, n_matrices=2)
        self.radial = RadialFunctions()
        self.directions = torch.nn.Linear(N_RADIAL, N_KINDS * n_channels)
        self.layers = torch.nn.ModuleList(Interaction(n_channels) for _ in range(n_layers))
        self.heads = BlockHeads(self.irreps, self.types, n_channels)
        if feedback:
            self.feedback_embeddings = BlockEmbeddings(self.irreps, self.types, n_channels)
            self.feedback_layer = Interaction(n_channels)
            self.feedback_heads = BlockHeads(self.irreps, self.types, n_channels)
            self.strength = torch.nn.Parameter(torch.tensor(-2.0))
        self.register_buffer("_kinds", kind_of_component(), persistent=False)
        self._turned = {t: _signed_permutation(self.irreps.transposed(t)) for t in self.types}

    @property
    def feedback_strength(self) -> float:
        """The factor s of the formula above; zero without feedback."""
        if not self.feedback:
            return 0.0
        return LARGEST_FEEDBACK * float(torch.sigmoid(self.strength))

    def use_tensor_products(self, backend: str) -> None:
        """Let others compute Clebsch-Gordan products, see ``tensor_product``."""
        product = tensor_product(backend)
        for module in self.modules():
            if isinstance(module, Interaction):
                module.product = product

    def silence_feedback(self) -> None:
        """Let B be zero, whatever the present Hamiltonian is."""
        for parameter in self.feedback_heads.parameters():
            torch.nn.init.zeros_(parameter)

    def prepare(self, batch: BlockBatch) -> Prepared:
        """Return what depends on the geometry only."""
        graph = self._graph(batch)
        known = {
            name: self.inputs[name].standardized(batch.matrices[name])  # type: ignore[operator]
            for name in ("overlap", "start")
        }
        nodes, pairs = self.embeddings(
            {t: (known["overlap"][t], known["start"][t]) for t in batch.types}, batch, graph
        )
        n_pairs = len(graph.rows)
        weights = self.directions(graph.radial).reshape(n_pairs, N_KINDS, self.n_channels)
        vectors = batch.positions[graph.columns] - batch.positions[graph.rows]
        turned = harmonics(vectors)[:, :, None]
        pairs = pairs + turned * weights.permute(1, 0, 2)[self._kinds] * graph.envelope[:, None]
        nodes, pairs = bounded(nodes, LONGEST_FEATURE), bounded(pairs, LONGEST_FEATURE)
        for layer in self.layers:
            nodes, pairs = layer(nodes, pairs, graph)
        base = self.heads(nodes, pairs, batch, graph)
        return Prepared(nodes=nodes, pairs=pairs, graph=graph, base=base)

    def step(
        self, prepared: Prepared, batch: BlockBatch, present: Mapping[BlockType, torch.Tensor]
    ) -> Blocks:
        """Return the next Hamiltonian as standardized numbers of H - H_start.

        Args:
            prepared: From ``prepare``.
            batch: The molecules.
            present: The same numbers of the present Hamiltonian.
        """
        found = prepared.base
        if self.feedback:
            graph = prepared.graph
            nodes, pairs = self.feedback_embeddings(
                {t: (present[t],) for t in batch.types}, batch, graph
            )
            nodes = prepared.nodes + bounded(nodes, LONGEST_FEATURE)
            pairs = prepared.pairs + bounded(pairs, LONGEST_FEATURE)
            nodes, pairs = self.feedback_layer(nodes, pairs, graph)
            change = self.feedback_heads(nodes, pairs, batch, graph)
            strength = LARGEST_FEEDBACK * torch.sigmoid(self.strength)
            found = {t: base + strength * change[t] for t, base in found.items()}
        return self._symmetric(self._limited(found), batch)

    def first(self, prepared: Prepared, batch: BlockBatch) -> Blocks:
        """Return what the network says without a present Hamiltonian, the same numbers."""
        return self._symmetric(self._limited(prepared.base), batch)

    def changes(self, batch: BlockBatch, state: Mapping[BlockType, torch.Tensor]) -> Blocks:
        """Return numbers of the blocks of H - H_start of standardized ones."""
        found = self.output_scales.restored(state)
        envelope = self._envelopes(batch)
        return {t: found[t] if t[2] else found[t] * envelope[t][:, None] for t in batch.types}

    def states(self, batch: BlockBatch, name: str) -> Blocks:
        """Return the standardized numbers that ``changes`` turns into a matrix of the batch less H_start."""
        return self.output_scales.standardized(self.unscaled(batch, name))

    def unscaled(self, batch: BlockBatch, name: str) -> Blocks:
        """Return the same before they are standardized."""
        envelope = self._envelopes(batch)
        found = {}
        for t in batch.types:
            change = batch.matrices[name][t] - batch.matrices["start"][t]
            found[t] = change if t[2] else change / envelope[t][:, None].clamp(min=1e-3)
        return found

    def _graph(self, batch: BlockBatch) -> PairGraph:
        types = [t for t in batch.types if not t[2]]
        rows = (
            torch.cat([batch.rows[t] for t in types]) if types else batch.rows[batch.types[0]][:0]
        )
        columns = torch.cat([batch.columns[t] for t in types]) if types else rows
        distances = (batch.positions[columns] - batch.positions[rows]).norm(dim=1)
        slices, at = {}, 0
        for t in types:
            slices[t] = slice(at, at + len(batch.rows[t]))
            at += len(batch.rows[t])
        return PairGraph(
            rows=rows,
            columns=columns,
            radial=self.radial(distances),
            envelope=envelope_of(distances),
            slices=slices,
            n_atoms=len(batch.numbers),
        )

    def _envelopes(self, batch: BlockBatch) -> Blocks:
        return {
            t: envelope_of(
                (batch.positions[batch.columns[t]] - batch.positions[batch.rows[t]]).norm(dim=1)
            )
            for t in batch.types
            if not t[2]
        }

    def _limited(self, blocks: Blocks) -> Blocks:
        """Shorten irreps that are longer than anything in the training set."""
        found = {}
        for t, values in blocks.items():
            irreps = self.irreps(t).irreps
            parts = []
            for (mul, ir), where in zip(irreps, irreps.slices(), strict=True):
                part = values[:, where].reshape(-1, mul, ir.dim)
                length = (part.square().mean(dim=2, keepdim=True) + 1e-12).sqrt()
                factor = LONGEST_OUTPUT * torch.tanh(length / LONGEST_OUTPUT) / length
                parts.append((part * factor).flatten(1))
            found[t] = torch.cat(parts, dim=1)
        return found

    def _symmetric(self, blocks: Blocks, batch: BlockBatch) -> Blocks:
        """Average with the transposed blocks, in units of the matrices."""
        found = {}
        for t, values in blocks.items():
            za, zb, own = t
            other = blocks[zb, za, own][batch.reversed[t]]
            index, sign = (x.to(values.device) for x in self._turned[t])
            # Sizes and means of a type and of its transpose are equal, up to the order of the numbers.
            found[t] = 0.5 * (values + other[:, index] * sign.to(values))
        return found


class RadialFunctions(torch.nn.Module):
    """Bernstein polynomials of exp(-a r), (n, N_RADIAL).

    Source:
        O. T. Unke et al., NeurIPS 2021, arXiv:2106.02347.
    """

    _powers: torch.Tensor
    _logs: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(0.5))
        k = torch.arange(N_RADIAL, dtype=torch.float64)
        n = torch.tensor(N_RADIAL - 1.0, dtype=torch.float64)
        logs = torch.lgamma(n + 1.0) - torch.lgamma(k + 1.0) - torch.lgamma(n - k + 1.0)
        self.register_buffer("_powers", k, persistent=False)
        self.register_buffer("_logs", logs, persistent=False)

    def forward(self, distances: torch.Tensor) -> torch.Tensor:
        """Return the functions at distances, (n, N_RADIAL)."""
        log_x = -torch.nn.functional.softplus(self.rate) * distances[:, None].clamp(min=1e-3)
        log_rest = torch.log(-torch.expm1(log_x))
        k = self._powers.to(distances)
        return torch.exp(self._logs.to(distances) + k * log_x + (N_RADIAL - 1.0 - k) * log_rest)


def envelope_of(distances: torch.Tensor) -> torch.Tensor:
    """Return a smooth function that is 1 at zero and 0 beyond the cutoff."""
    inside = distances < CUTOFF
    r = torch.where(inside, distances, 0.0)
    return torch.where(inside, torch.exp(-(r**2) / ((CUTOFF - r) * (CUTOFF + r))), 0.0)


class BlockEmbeddings(torch.nn.Module):
    """Numbers of blocks to features of atoms and pairs, with other weights for every type of block."""

    def __init__(
        self,
        irreps: IrrepsOf,
        types: tuple[BlockType, ...],
        n_channels: int,
        n_matrices: int = 1,
    ) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.linears = torch.nn.ModuleDict()
        for t in types:
            inside = o3.Irreps([x for _ in range(n_matrices) for x in irreps(t).irreps])
            self.linears[key(t)] = _linear(inside, _channels(n_channels))

    def forward(
        self,
        blocks: Mapping[BlockType, tuple[torch.Tensor, ...]],
        batch: BlockBatch,
        graph: PairGraph,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features of atoms and of pairs."""
        nodes = self.of_atoms(blocks, batch)
        pairs = [self._features(t, blocks[t]) for t in graph.slices]
        return nodes, torch.cat(pairs, dim=1) if pairs else nodes[:, :0]

    def of_atoms(
        self, blocks: Mapping[BlockType, tuple[torch.Tensor, ...]], batch: BlockBatch
    ) -> torch.Tensor:
        """Return features of atoms from blocks of atoms with themselves."""
        own = [t for t in batch.types if t[2]]
        order = torch.cat([batch.rows[t] for t in own]).argsort()
        return torch.cat([self._features(t, blocks[t]) for t in own], dim=1)[:, order]

    def _features(self, kind: BlockType, numbers: tuple[torch.Tensor, ...]) -> torch.Tensor:
        found = self.linears[key(kind)](torch.cat(numbers, dim=1))
        return _as_components(found, self.n_channels)


class BlockHeads(torch.nn.Module):
    """Features of atoms and pairs to numbers of blocks, with other weights for every type of block."""

    def __init__(self, irreps: IrrepsOf, types: tuple[BlockType, ...], n_channels: int) -> None:
        super().__init__()
        self.linears = torch.nn.ModuleDict(
            {key(t): _linear(_channels(n_channels), irreps(t).irreps) for t in types}
        )

    def forward(
        self, nodes: torch.Tensor, pairs: torch.Tensor, batch: BlockBatch, graph: PairGraph
    ) -> Blocks:
        """Return standardized numbers."""
        found = {}
        for t in batch.types:
            features = nodes[:, batch.rows[t]] if t[2] else pairs[:, graph.slices[t]]
            found[t] = self.linears[key(t)](_as_irreps(features))
        return found


class Interaction(torch.nn.Module):
    """Messages from pairs to atoms, and atoms to pairs."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.product = tensor_product()
        self.radial = torch.nn.Sequential(
            torch.nn.Linear(N_RADIAL, 2 * n_channels),
            torch.nn.SiLU(),
            torch.nn.Linear(2 * n_channels, 2 * N_KINDS * n_channels),
        )
        names = (
            "sender",
            "edge",
            "message",
            "left",
            "right",
            "own",
            "row",
            "column",
            "pair",
            "keep",
        )
        self.mix = torch.nn.ModuleDict({n: Mixing(n_channels, n_channels) for n in names})
        self.node_gate, self.pair_gate = Gate(n_channels), Gate(n_channels)
        self.register_buffer("_kinds", kind_of_component(), persistent=False)

    def forward(
        self, nodes: torch.Tensor, pairs: torch.Tensor, graph: PairGraph
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return new features of atoms and pairs."""
        mix, n_pairs = self.mix, len(graph.rows)
        weights = self.radial(graph.radial) * graph.envelope[:, None]
        to_nodes, to_pairs = weights.reshape(n_pairs, 2, N_KINDS, -1).permute(1, 2, 0, 3)
        sent = mix["sender"](nodes)[:, graph.columns]
        messages = self.product(sent, mix["edge"](pairs) * to_nodes[self._kinds])
        received = torch.zeros_like(nodes).index_add(1, graph.rows, messages)
        nodes = nodes + mix["message"](received)
        own = self.product(mix["left"](nodes), mix["right"](nodes))
        nodes = bounded(nodes + mix["own"](self.node_gate(own)), LONGEST_FEATURE)
        rows, columns = mix["row"](nodes)[:, graph.rows], mix["column"](nodes)[:, graph.columns]
        both = self.product(rows, columns * to_pairs[self._kinds]) + mix["keep"](pairs)
        pairs = bounded(pairs + mix["pair"](self.pair_gate(both)), LONGEST_FEATURE)
        return nodes, pairs


def _linear(inside: o3.Irreps, outside: o3.Irreps) -> o3.Linear:
    """Return a linear layer, without e3nn's optimization: seconds on loading, for a few percent of a step."""
    return o3.Linear(inside, outside, biases=True, _optimize_einsums=False)


def _channels(n: int) -> o3.Irreps:
    return o3.Irreps([(n, ir) for _, ir in KINDS])


def _as_components(flat: torch.Tensor, n_channels: int) -> torch.Tensor:
    """Return (n_components, n, n_channels) of e3nn's (n, n_channels * n_components)."""
    parts, at = [], 0
    for _, ir in KINDS:
        width = n_channels * ir.dim
        part = flat[:, at : at + width].reshape(-1, n_channels, ir.dim)
        parts.append(part.permute(2, 0, 1))
        at += width
    return torch.cat(parts)


def _as_irreps(features: torch.Tensor) -> torch.Tensor:
    """Return e3nn's (n, n_channels * n_components) of (n_components, n, n_channels)."""
    parts = torch.split(features, [ir.dim for _, ir in KINDS])
    return torch.cat([part.permute(1, 2, 0).flatten(1) for part in parts], dim=1)


def _signed_permutation(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return index and sign of the one entry of each row."""
    index = matrix.abs().argmax(dim=1)
    return index, torch.gather(matrix, 1, index[:, None])[:, 0].round()
