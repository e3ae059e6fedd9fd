"""BOTAN as published: one network for the mobility of particles and the change of their distances.

The function is that of the original, evaluated with a quarter of the arithmetic per edge: the first layer of
each update is split by its inputs, and what depends on nodes is computed once for each node instead of once
for each edge. ``concatenated_form`` holds the formula as it is written in the paper.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from torch_geometric import EdgeIndex
from torch_geometric.nn import MessagePassing

from kakehashi_botan.edge_updates import EdgeOrder, recomputed_rows, updated_edges
from kakehashi_botan.graphs import ParticleGraph
from kakehashi_core.devices import resolve_dtype
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.random_streams import recorded_seed, torch_generator

WIDTH = 64
N_STEPS = 7
N_PARAMETERS = 54209
DEFAULT_NODE_WEIGHT = 0.4
"""Weight p of the node error in the loss."""


class BotanOutput(NamedTuple):
    """What the network says about one graph.

    Attributes:
        nodes: Propensity of each particle, (n_atoms,), sigma_AA.
        edges: Change of distance along each edge, (n_edges,), in the order of the edges given, sigma_AA.
    """

    nodes: torch.Tensor
    edges: torch.Tensor


class OriginalBotan(torch.nn.Module):
    """The graph network of Shiba et al. with 54 209 parameters under their published names.

    Seven steps with shared weights; messages run from the source to the destination of an edge and are
    summed without normalization, so the outputs depend on the density and on the cutoff of the graph, and not
    on the number of particles. The network sees bare vectors: it is invariant under translation and
    permutation, not under rotation. One decoder serves nodes and edges.

    Args:
        dtype: "float32" or "float64".
        seed: Of the initial weights; None draws one. Kept in ``seed``.

    Source:
        Shiba, Hanai, Suzumura, Shimokawabe, J. Chem. Phys. 158, 084503 (2023).
    """

    def __init__(self, *, dtype: str | torch.dtype = "float32", seed: int | None = None) -> None:
        super().__init__()
        self.seed = recorded_seed(seed)
        kind = resolve_dtype(dtype)
        generator = torch_generator(self.seed)
        self.node_encoder = _Layers(1, dtype=kind, generator=generator)
        self.edge_encoder = _Layers(3, dtype=kind, generator=generator)
        self.network = _EdgeAndNodeUpdate(dtype=kind, generator=generator)
        self.decoder = _Decoder(dtype=kind, generator=generator)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights and of everything computed with them."""
        return self.decoder.fc3.bias.dtype

    def forward(
        self, types: torch.Tensor, edge_index: torch.Tensor, edge_vectors: torch.Tensor
    ) -> BotanOutput:
        """Evaluate one graph, or several joined into one as torch_geometric does.

        Args:
            types: 0 = A or 1 = B, (n_atoms,), any dtype.
            edge_index: Source and destination of each directed edge, (2, n_edges), int64. Edges sorted by
                destination, as ``particle_graph`` gives them, save a sort.
            edge_vectors: x_destination - x_source, (n_edges, 3), sigma_AA.

        Raises:
            InvalidInputError: If the shapes do not fit, or an index is not a node.
        """
        _check_graph(types, edge_index, edge_vectors)
        order = None
        destination = edge_index[1]
        if bool((destination[1:] < destination[:-1]).any()):
            order = torch.argsort(destination, stable=True)
            edge_index, edge_vectors = edge_index[:, order], edge_vectors[order]
        index = EdgeIndex(
            edge_index.contiguous(), sparse_size=(len(types), len(types)), sort_order="col"
        )
        nodes = self.node_encoder(types.to(self.dtype)[:, None])
        edges = recomputed_rows(self.edge_encoder, edge_vectors.to(self.dtype))
        nodes, edges = self.network(nodes, edges, index)
        node_output = self.decoder(nodes).squeeze(-1)
        edge_output = recomputed_rows(self.decoder, edges).squeeze(-1)
        if order is not None:
            edge_output = edge_output[torch.argsort(order)]
        return BotanOutput(node_output, edge_output)

    def evaluate(
        self, graph: ParticleGraph
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the numbers for particles, (n_atoms,), and edges, (n_edges,), of one graph, sigma_AA.

        Raises:
            InvalidInputError: If the graph holds species other than 0 = A and 1 = B.
        """
        if graph.types.max() > 1:
            raise InvalidInputError(
                f"the graph holds species {sorted({int(kind) for kind in graph.types})}; this network knows "
                "0 (A) and 1 (B) only"
            )
        device = self.decoder.fc3.bias.device
        data = graph.to_data(dtype=self.dtype).to(device)
        with torch.no_grad():
            nodes, edges = self(data.types, data.edge_index, data.edge_attr)
        return nodes.cpu().double().numpy(), edges.cpu().double().numpy()

    def set_output_mean(self, mean: float) -> None:
        """Let the outputs start at ``mean``: training from random weights else spends its first epochs on it.

        Only the bias of the last layer moves. Nodes and edges share it: the constant of smallest loss is
        p times the mean of the node targets plus 1 - p times that of the edge targets.

        Args:
            mean: Mean of the training targets, sigma_AA.

        Raises:
            InvalidInputError: If it is not finite.
        """
        if not math.isfinite(mean):
            raise InvalidInputError(f"the mean of the targets must be finite, got {mean!r}")
        with torch.no_grad():
            self.decoder.fc3.bias.fill_(mean)


def node_edge_loss(
    output: BotanOutput,
    node_targets: torch.Tensor,
    edge_targets: torch.Tensor,
    *,
    node_weight: float = DEFAULT_NODE_WEIGHT,
) -> torch.Tensor:
    """Return p MSE_nodes + (1 - p) MSE_edges over all nodes and edges, sigma_AA^2.

    Args:
        output: What the network said.
        node_targets: Propensities, (n_atoms,), sigma_AA.
        edge_targets: Mean changes of distance, (n_edges,), sigma_AA; not looked at if p = 1.
        node_weight: p, from 0 (edges only) to 1 (nodes only).

    Raises:
        InvalidInputError: If p is outside [0, 1] or a shape differs from the output.

    Source:
        Shiba et al., J. Chem. Phys. 158, 084503 (2023).
    """
    if not 0.0 <= node_weight <= 1.0:
        raise InvalidInputError(
            f"the weight of the node error must be within [0, 1], got {node_weight!r}"
        )
    loss = output.nodes.new_zeros(())
    parts = (
        ("node", node_weight, output.nodes, node_targets),
        ("edge", 1.0 - node_weight, output.edges, edge_targets),
    )
    for name, weight, predicted, targets in parts:
        # A mean over nothing, or NaN for targets that nobody has, must not reach a sum with weight zero.
        if weight > 0.0:
            if targets.shape != predicted.shape:
                raise InvalidInputError(
                    f"{name} targets have shape {tuple(targets.shape)}, the network gave "
                    f"{tuple(predicted.shape)}; give one number for each {name}"
                )
            loss = loss + weight * functional.mse_loss(predicted, targets.to(predicted.dtype))
    return loss


class _Layers(torch.nn.Module):
    """Two linear layers, each followed by ReLU."""

    def __init__(self, n_in: int, *, dtype: torch.dtype, generator: torch.Generator) -> None:
        super().__init__()
        self.fc1 = _linear(n_in, WIDTH, dtype=dtype, generator=generator)
        self.fc2 = _linear(WIDTH, WIDTH, dtype=dtype, generator=generator)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.fc2(torch.relu(self.fc1(rows))))


class _Decoder(_Layers):
    """``_Layers`` and a linear layer to one number."""

    def __init__(self, *, dtype: torch.dtype, generator: torch.Generator) -> None:
        super().__init__(WIDTH, dtype=dtype, generator=generator)
        self.fc3 = _linear(WIDTH, 1, dtype=dtype, generator=generator)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.fc3(super().forward(rows))
        return result


class _Update(torch.nn.Module):
    """Gives the layers of an update their published name."""

    def __init__(self, n_in: int, *, dtype: torch.dtype, generator: torch.Generator) -> None:
        super().__init__()
        self.mlp = _Layers(n_in, dtype=dtype, generator=generator)


class _EdgeAndNodeUpdate(MessagePassing):  # type: ignore[misc]
    """All steps of message passing: new edges, their sums, new nodes.

    A message is the updated edge itself, so the update, the message and its sum are one operation, which
    torch_geometric calls fused.
    """

    SUPPORTS_FUSED_EDGE_INDEX: Final[bool] = True

    def __init__(self, *, dtype: torch.dtype, generator: torch.Generator) -> None:
        super().__init__(aggr="sum", flow="source_to_target")
        self.edge_model = _Update(4 * WIDTH, dtype=dtype, generator=generator)
        self.node_model = _Update(3 * WIDTH, dtype=dtype, generator=generator)

    def forward(
        self, nodes: torch.Tensor, edges: torch.Tensor, edge_index: EdgeIndex
    ) -> tuple[torch.Tensor, torch.Tensor]:
        first = self.edge_model.mlp.fc1
        # Columns of the first edge layer act on [source, destination, edge, first edge].
        *_, of_first_edge = first.weight.chunk(4, dim=1)
        edge_constant = functional.linear(edges, of_first_edge, first.bias)
        node_layer = self.node_model.mlp.fc1
        _, of_first_node, _ = node_layer.weight.chunk(3, dim=1)
        node_constant = functional.linear(nodes, of_first_node, node_layer.bias)
        for _ in range(N_STEPS):
            nodes, edges = self.propagate(
                edge_index,
                nodes=nodes,
                edges=edges,
                edge_constant=edge_constant,
                node_constant=node_constant,
            )
        return nodes, edges

    def message_and_aggregate(
        self,
        edge_index: EdgeIndex,
        nodes: torch.Tensor,
        edges: torch.Tensor,
        edge_constant: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        layers = self.edge_model.mlp
        of_source, of_destination, of_edge, _ = layers.fc1.weight.chunk(4, dim=1)
        return updated_edges(
            edges,
            edge_constant,
            functional.linear(nodes, of_source),
            functional.linear(nodes, of_destination),
            (of_edge, layers.fc2.weight, layers.fc2.bias),
            EdgeOrder.of(edge_index),
        )

    def update(
        self,
        inputs: tuple[torch.Tensor, torch.Tensor],
        nodes: torch.Tensor,
        node_constant: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        edges, sums = inputs
        layers = self.node_model.mlp
        of_node, _, of_sums = layers.fc1.weight.chunk(3, dim=1)
        z = node_constant + functional.linear(nodes, of_node) + functional.linear(sums, of_sums)
        return torch.relu(layers.fc2(torch.relu(z))), edges


def _linear(
    n_in: int, n_out: int, *, dtype: torch.dtype, generator: torch.Generator
) -> torch.nn.Linear:
    """Return a linear layer with torch's default distribution, drawn from ``generator``."""
    # On "meta" nothing is drawn, so torch's global generator stays as it was.
    layer = torch.nn.Linear(n_in, n_out, dtype=dtype, device="meta").to_empty(device="cpu")
    bound = 1.0 / math.sqrt(n_in)
    for parameter in layer.parameters():
        torch.nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer


def _check_graph(types: torch.Tensor, edge_index: torch.Tensor, edge_vectors: torch.Tensor) -> None:
    n_edges = edge_index.shape[-1]
    if types.ndim != 1 or edge_index.shape != (2, n_edges) or edge_vectors.shape != (n_edges, 3):
        raise InvalidInputError(
            f"types {tuple(types.shape)}, edge_index {tuple(edge_index.shape)} and edge_vectors "
            f"{tuple(edge_vectors.shape)} do not fit; expected (n_atoms,), (2, n_edges) and (n_edges, 3)"
        )
    if n_edges and not (int(edge_index.min()) >= 0 and int(edge_index.max()) < len(types)):
        raise InvalidInputError(
            f"edge_index runs from {int(edge_index.min())} to {int(edge_index.max())}, allowed are the "
            f"{len(types)} nodes from 0 to {len(types) - 1}"
        )
