"""The original formula written down term by term, as the reference that ``OriginalBotan`` must equal.

It concatenates what enters each layer, as the published code does. It is slower and needs several times the
memory; use it to test and to measure, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

N_STEPS = 7


def concatenated_outputs(
    parameters: Mapping[str, torch.Tensor],
    types: torch.Tensor,
    edge_index: torch.Tensor,
    edge_vectors: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Evaluate the original network.

    Args:
        parameters: State dict under the published names.
        types: 0 or 1 for each node, (n_nodes,).
        edge_index: Source and destination of each edge, any order of edges, (2, n_edges).
        edge_vectors: x_destination - x_source, (n_edges, 3), sigma_AA.

    Returns:
        One number for each node, (n_nodes,), and for each edge, (n_edges,).

    Source:
        Shiba, Hanai, Suzumura, Shimokawabe, J. Chem. Phys. 158, 084503 (2023).
    """

    def layers(name: str, rows: torch.Tensor) -> torch.Tensor:
        for layer in ("fc1", "fc2"):
            weight, bias = (parameters[f"{name}.{layer}.{kind}"] for kind in ("weight", "bias"))
            rows = torch.relu(functional.linear(rows, weight, bias))
        return rows

    def decoder(rows: torch.Tensor) -> torch.Tensor:
        weight, bias = parameters["decoder.fc3.weight"], parameters["decoder.fc3.bias"]
        return functional.linear(layers("decoder", rows), weight, bias).squeeze(-1)

    dtype = parameters["decoder.fc3.bias"].dtype
    source, destination = edge_index
    nodes = first_nodes = layers("node_encoder", types.to(dtype)[:, None])
    edges = first_edges = layers("edge_encoder", edge_vectors.to(dtype))
    for _ in range(N_STEPS):
        edges = layers(
            "network.edge_model.mlp",
            torch.cat([nodes[source], nodes[destination], edges, first_edges], dim=1),
        )
        sums = torch.zeros_like(nodes).index_add(0, destination, edges)
        nodes = layers("network.node_model.mlp", torch.cat([nodes, first_nodes, sums], dim=1))
    return decoder(nodes), decoder(edges)
