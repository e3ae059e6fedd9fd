"""The edge half of one message-passing step, and other row-by-row work, in pieces that fit a cache.

A graph has about forty times more edges than nodes, so the time and the memory of the network are those of
arrays with one row per edge. Both functions here touch each such array once per pass: they work through
blocks of rows whose intermediate results stay in cache, keep only what enters and leaves, and compute the
hidden layers again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch_geometric import EdgeIndex

ROWS_PER_BLOCK = 2048
"""Rows that are worked on at a time on a CPU; 64 numbers each, in float32, make half a megabyte."""


class EdgeOrder(NamedTuple):
    """Edges sorted by destination, and how to visit them by source.

    Attributes:
        source: Node that sends, (n_edges,).
        destination: Node that receives, (n_edges,), ascending.
        destination_pointer: Edge at which the edges into each node begin, (n_nodes + 1,).
        by_source: Edge numbers sorted by source, (n_edges,).
        source_pointer: Place in ``by_source`` at which the edges out of each node begin, (n_nodes + 1,).
    """

    source: torch.Tensor
    destination: torch.Tensor
    destination_pointer: torch.Tensor
    by_source: torch.Tensor
    source_pointer: torch.Tensor

    @classmethod
    def of(cls, edge_index: EdgeIndex) -> EdgeOrder:
        """Read the order from an index with rows source and destination, sorted by destination."""
        (destination_pointer, source), _ = edge_index.get_csc()
        (source_pointer, _), by_source = edge_index.get_csr()
        destination = edge_index.as_tensor()[1]
        return cls(source, destination, destination_pointer, by_source, source_pointer)


def updated_edges(
    edges: torch.Tensor,
    constant: torch.Tensor,
    from_source: torch.Tensor,
    from_destination: torch.Tensor,
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    order: EdgeOrder,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Update all edges and sum them at the nodes that they point to.

    With z = constant + edges We^T + from_source[source] + from_destination[destination] the new edges are
    relu(relu(z) W2^T + b2). Without gradients ``edges`` is overwritten.

    Args:
        edges: Edge vectors of the last step, (n_edges, width).
        constant: Part of z that is the same in all steps, (n_edges, width).
        from_source: What a node gives to the edges that leave it, (n_nodes, width).
        from_destination: What a node gives to the edges that arrive, (n_nodes, width).
        weights: We, W2 and b2, (width, width) twice and (width,).
        order: Where the edges go.

    Returns:
        New edges, (n_edges, width), and their sums over the edges into each node, (n_nodes, width).

    Source:
        Shiba et al., J. Chem. Phys. 158, 084503 (2023), with the first layer split by its inputs; the
        backward pass is our own, tested against finite differences.
    """
    if torch.is_grad_enabled():
        updated, sums = _EdgeUpdate.apply(  # type: ignore[no-untyped-call]
            edges, constant, from_source, from_destination, *weights, order
        )
    else:
        updated, sums = _update(
            edges, constant, from_source, from_destination, *weights, order, out=edges
        )
    return updated, sums


def recomputed_rows(layers: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Apply ``layers`` to each row; gradients are those of ``layers(rows)``.

    Args:
        layers: Acts on each row alone; no random numbers, no buffers that change.
        rows: (n_rows, n_in).

    Returns:
        (n_rows, n_out).
    """
    result: torch.Tensor = _RecomputedRows.apply(layers, rows, *layers.parameters())  # type: ignore[no-untyped-call]
    return result


def _blocks(rows: torch.Tensor) -> Iterator[slice]:
    """Cut rows into blocks; a GPU gets all at once."""
    size = ROWS_PER_BLOCK if rows.device.type == "cpu" else max(len(rows), 1)
    for start in range(0, len(rows), size):
        yield slice(start, min(start + size, len(rows)))


def _hidden(
    z: torch.Tensor,
    workspace: torch.Tensor,
    block: slice,
    edges: torch.Tensor,
    constant: torch.Tensor,
    from_source: torch.Tensor,
    from_destination: torch.Tensor,
    edge_weight: torch.Tensor,
    order: EdgeOrder,
) -> None:
    """Write relu(z) of one block into ``z``."""
    torch.index_select(from_source, 0, order.source[block], out=z)
    torch.index_select(from_destination, 0, order.destination[block], out=workspace)
    z.add_(workspace).add_(constant[block]).addmm_(edges[block], edge_weight.T).relu_()


def _update(
    edges: torch.Tensor,
    constant: torch.Tensor,
    from_source: torch.Tensor,
    from_destination: torch.Tensor,
    edge_weight: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    order: EdgeOrder,
    *,
    out: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    for block in _blocks(edges):
        # Fresh blocks come out of the allocator's cache; only arrays over all edges are expensive.
        z, workspace = torch.empty_like(edges[block]), torch.empty_like(edges[block])
        _hidden(
            z, workspace, block, edges, constant, from_source, from_destination, edge_weight, order
        )
        torch.addmm(bias, z, weight.T, out=out[block]).relu_()
    return out, _sums(out, order.destination_pointer)


def _sums(
    rows: torch.Tensor, pointer: torch.Tensor, order: torch.Tensor | None = None
) -> torch.Tensor:
    """Sum rows[order[pointer[i]:pointer[i + 1]]] for every i, always in the same order of terms."""
    if len(rows) == 0:
        return rows.new_zeros(len(pointer) - 1, rows.shape[1])
    if order is None:
        order = torch.arange(len(rows), device=rows.device)
    return functional.embedding_bag(order, rows, pointer, mode="sum", include_last_offset=True)


class _EdgeUpdate(torch.autograd.Function):
    """``updated_edges`` with a backward pass that stores nothing but its inputs and outputs."""

    @staticmethod
    def forward(
        ctx: Any,
        edges: torch.Tensor,
        constant: torch.Tensor,
        from_source: torch.Tensor,
        from_destination: torch.Tensor,
        edge_weight: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        order: EdgeOrder,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = (edges, constant, from_source, from_destination, edge_weight, weight)
        updated, sums = _update(*inputs, bias, order, out=torch.empty_like(edges))
        ctx.save_for_backward(*inputs, updated, *order)
        ctx.set_materialize_grads(False)
        return updated, sums

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_updated: torch.Tensor | None, grad_sums: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        edges, constant, from_source, from_destination, edge_weight, weight, updated, *rest = (
            ctx.saved_tensors
        )
        order = EdgeOrder(*rest)
        grad_edges, grad_z = torch.empty_like(edges), torch.empty_like(edges)
        grad_edge_weight, grad_weight = torch.zeros_like(edge_weight), torch.zeros_like(weight)
        grad_bias = weight.new_zeros(len(weight))
        relu_backward = torch.ops.aten.threshold_backward.grad_input
        for block in _blocks(edges):
            z, grad = torch.empty_like(edges[block]), torch.empty_like(edges[block])
            hidden_grad = grad_z[block]
            _hidden(
                z, grad, block, edges, constant, from_source, from_destination, edge_weight, order
            )
            if grad_sums is None:
                grad.zero_()
            else:
                torch.index_select(grad_sums, 0, order.destination[block], out=grad)
            if grad_updated is not None:
                grad.add_(grad_updated[block])
            relu_backward(grad, updated[block], 0.0, grad_input=grad)
            grad_weight.addmm_(grad.T, z)
            grad_bias.add_(grad.sum(0))
            torch.mm(grad, weight, out=hidden_grad)
            relu_backward(hidden_grad, z, 0.0, grad_input=hidden_grad)
            grad_edge_weight.addmm_(hidden_grad.T, edges[block])
            torch.mm(hidden_grad, edge_weight, out=grad_edges[block])
        return (
            grad_edges,
            grad_z,
            _sums(grad_z, order.source_pointer, order.by_source),
            _sums(grad_z, order.destination_pointer),
            grad_edge_weight,
            grad_weight,
            grad_bias,
            None,
        )


class _RecomputedRows(torch.autograd.Function):
    """Activation checkpointing block by block, by torch's own derivatives of the layers."""

    @staticmethod
    def forward(
        ctx: Any, layers: torch.nn.Module, rows: torch.Tensor, *parameters: torch.Tensor
    ) -> torch.Tensor:
        ctx.layers = layers
        ctx.save_for_backward(rows, *parameters)
        results = [layers(rows[block]) for block in _blocks(rows)]
        return torch.cat(results) if results else layers(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_result: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, *parameters = ctx.saved_tensors
        _, wants_rows, *wants = ctx.needs_input_grad
        wanted = [parameter for parameter, want in zip(parameters, wants, strict=True) if want]
        grads = [torch.zeros_like(parameter) for parameter in wanted]
        grad_rows = torch.empty_like(rows) if wants_rows else None
        for block in _blocks(rows):
            with torch.enable_grad():
                part = rows[block].detach().requires_grad_(wants_rows)
                result = ctx.layers(part)
            inputs = [*([part] if wants_rows else []), *wanted]
            found = list(torch.autograd.grad(result, inputs, grad_result[block]))
            if grad_rows is not None:
                grad_rows[block] = found.pop(0)
            torch._foreach_add_(grads, found)
        remaining = iter(grads)
        return (None, grad_rows, *(next(remaining) if want else None for want in wants))
