"""The block-wise edge update: derivatives against finite differences, any number of blocks."""

from __future__ import annotations

import pytest
import torch
from torch_geometric import EdgeIndex

from kakehashi_botan import edge_updates
from kakehashi_botan.edge_updates import EdgeOrder, recomputed_rows, updated_edges

N_NODES, N_EDGES, WIDTH = 6, 17, 5


@pytest.fixture(params=[4, 1000], ids=["five blocks", "one block"], autouse=True)
def rows_per_block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(edge_updates, "ROWS_PER_BLOCK", request.param)
    return int(request.param)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def edge_index(generator: torch.Generator) -> torch.Tensor:
    """Random directed edges; the last node receives none, node 0 sends none."""
    source = torch.randint(1, N_NODES, (N_EDGES,), generator=generator)
    destination = torch.randint(0, N_NODES - 1, (N_EDGES,), generator=generator).sort().values
    return torch.stack([source, destination])


def order_of(index: torch.Tensor) -> EdgeOrder:
    return EdgeOrder.of(EdgeIndex(index, sparse_size=(N_NODES, N_NODES), sort_order="col"))


def random_inputs(generator: torch.Generator) -> list[torch.Tensor]:
    shapes = [
        (N_EDGES, WIDTH),
        (N_EDGES, WIDTH),
        (N_NODES, WIDTH),
        (N_NODES, WIDTH),
        (WIDTH, WIDTH),
        (WIDTH, WIDTH),
        (WIDTH,),
    ]
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]


def plain(inputs: list[torch.Tensor], index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    edges, constant, from_source, from_destination, edge_weight, weight, bias = inputs
    source, destination = index
    z = constant + edges @ edge_weight.T + from_source[source] + from_destination[destination]
    new = torch.relu(torch.relu(z) @ weight.T + bias)
    return new, torch.zeros_like(from_source).index_add(0, destination, new)


def test_values_and_gradients_are_those_of_the_formula(generator: torch.Generator) -> None:
    """Oracle: the formula in plain torch operations with torch's own derivatives."""
    index, inputs = edge_index(generator), random_inputs(generator)
    found = updated_edges(*inputs[:4], tuple(inputs[4:]), order_of(index))
    expected = plain(inputs, index)
    probes = [torch.randn(each.shape, generator=generator, dtype=each.dtype) for each in expected]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=1e-13)
    # Each output alone, then both: a missing gradient of one output is a case of its own.
    for chosen in ([0], [1], [0, 1]):
        gradients = [
            torch.autograd.grad(
                sum((outputs[k] * probes[k]).sum() for k in chosen), inputs, retain_graph=True
            )
            for outputs in (found, expected)
        ]
        for a, b in zip(*gradients, strict=True):
            assert float(b.abs().max()) > 1e-2
            torch.testing.assert_close(a, b, rtol=0.0, atol=1e-12)


def test_gradients_by_finite_differences(generator: torch.Generator) -> None:
    """Oracle: torch.autograd.gradcheck, central differences in float64."""
    index, inputs = edge_index(generator), random_inputs(generator)
    order = order_of(index)
    assert torch.autograd.gradcheck(
        lambda *args: updated_edges(*args[:4], args[4:], order), inputs, eps=1e-7, atol=1e-6
    )


def test_without_gradients_the_edges_are_overwritten(generator: torch.Generator) -> None:
    """Oracle: the path with gradients."""
    index, inputs = edge_index(generator), random_inputs(generator)
    order = order_of(index)
    expected = updated_edges(*inputs[:4], tuple(inputs[4:]), order)
    with torch.no_grad():
        edges, sums = updated_edges(*inputs[:4], tuple(inputs[4:]), order)
    assert edges.data_ptr() == inputs[0].data_ptr()
    assert torch.equal(edges, expected[0])
    assert torch.equal(sums, expected[1])


def test_no_edges_at_all(generator: torch.Generator) -> None:
    inputs = random_inputs(generator)
    empty = [each[:0].detach().requires_grad_() for each in inputs[:2]]
    order = order_of(torch.zeros(2, 0, dtype=torch.int64))
    edges, sums = updated_edges(*empty, *inputs[2:4], tuple(inputs[4:]), order)
    assert edges.shape == (0, WIDTH)
    assert torch.equal(sums, torch.zeros(N_NODES, WIDTH, dtype=torch.float64))
    sums.sum().backward()


@pytest.mark.parametrize("frozen", ["", "rows", "weight"])
def test_recomputed_rows_have_the_gradients_of_the_layers(
    generator: torch.Generator, frozen: str
) -> None:
    """Oracle: the layers called once on all rows."""
    layers = torch.nn.Sequential(
        torch.nn.Linear(3, 4, dtype=torch.float64),
        torch.nn.Tanh(),
        torch.nn.Linear(4, 2, dtype=torch.float64),
    )
    rows = torch.randn(13, 3, generator=generator, dtype=torch.float64)
    rows.requires_grad_(frozen != "rows")
    layers[0].weight.requires_grad_(frozen != "weight")
    inputs = [each for each in (rows, *layers.parameters()) if each.requires_grad]
    found, expected = recomputed_rows(layers, rows), layers(rows)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-14)
    probe = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    gradients = [torch.autograd.grad((out * probe).sum(), inputs) for out in (found, expected)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=1e-13)


def test_recomputed_rows_of_nothing() -> None:
    layers = torch.nn.Linear(3, 2)
    result = recomputed_rows(layers, torch.zeros(0, 3))
    assert result.shape == (0, 2)
    result.sum().backward()
    assert torch.equal(layers.weight.grad, torch.zeros(2, 3))
