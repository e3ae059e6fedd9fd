"""The original network: equal to its formula at every node and edge, and to published scores."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch_geometric.data import Batch

from kakehashi_botan.concatenated_form import concatenated_outputs
from kakehashi_botan.graphs import ParticleGraph, augmented, cube_group, particle_graph
from kakehashi_botan.original_form import (
    N_PARAMETERS,
    BotanOutput,
    OriginalBotan,
    node_edge_loss,
)
from kakehashi_core.errors import InvalidInputError

CELL = np.diag([4.4, 4.9, 5.6])


def lively_network(dtype: str = "float64") -> OriginalBotan:
    """Random weights, enlarged so that outputs spread over about 0.1: as drawn they hardly differ."""
    network = OriginalBotan(dtype=dtype, seed=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.6)
    return network


@pytest.fixture(scope="module")
def network() -> OriginalBotan:
    return lively_network()


@pytest.fixture(scope="module")
def system() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    return rng.random((50, 3)) @ CELL, rng.integers(0, 2, 50)


@pytest.fixture(scope="module")
def graph(system: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]) -> ParticleGraph:
    return particle_graph(*system, CELL)


def tensors(graph: ParticleGraph, dtype: str = "float64") -> tuple[torch.Tensor, ...]:
    data = graph.to_data(dtype=dtype)
    return data.types, data.edge_index, data.edge_attr


def loop_over_edges(
    parameters: dict[str, torch.Tensor],
    types: npt.NDArray[np.int64],
    edges: list[tuple[int, int]],
    vectors: npt.NDArray[np.float64],
) -> tuple[list[float], list[float]]:
    """The formula of the paper in NumPy, one edge and one node at a time."""
    values = {name: tensor.numpy() for name, tensor in parameters.items()}

    def layers(name: str, row: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        for layer in ("fc1", "fc2"):
            row = values[f"{name}.{layer}.weight"] @ row + values[f"{name}.{layer}.bias"]
            row = np.maximum(row, 0.0)
        return row

    def decoded(row: npt.NDArray[np.float64]) -> float:
        weight, bias = values["decoder.fc3.weight"], values["decoder.fc3.bias"]
        return float((weight @ layers("decoder", row) + bias)[0])

    first_nodes = [layers("node_encoder", np.array([float(kind)])) for kind in types]
    first_edges = [layers("edge_encoder", vector) for vector in vectors]
    nodes, links = first_nodes, first_edges
    for _ in range(7):
        links = [
            layers("network.edge_model.mlp", np.concatenate([nodes[i], nodes[j], link, first]))
            for (i, j), link, first in zip(edges, links, first_edges, strict=True)
        ]
        received = [np.zeros(64) for _ in nodes]
        for (_, j), link in zip(edges, links, strict=True):
            received[j] = received[j] + link
        nodes = [
            layers("network.node_model.mlp", np.concatenate(rows))
            for rows in zip(nodes, first_nodes, received, strict=True)
        ]
    return [decoded(row) for row in nodes], [decoded(row) for row in links]


def test_number_of_parameters_by_block(network: OriginalBotan) -> None:
    """Oracle: counts of the paper's architecture."""
    blocks = {
        name: sum(parameter.numel() for parameter in block.parameters())
        for name, block in network.named_children()
    }
    assert blocks == {
        "node_encoder": 4288,
        "edge_encoder": 4416,
        "network": 20608 + 16512,
        "decoder": 8385,
    }
    assert sum(blocks.values()) == N_PARAMETERS == 54209


def test_outputs_equal_the_formula_edge_by_edge(network: OriginalBotan) -> None:
    """Oracle: loops in NumPy on a directed graph without symmetry, so that directions show."""
    rng = np.random.default_rng(3)
    types = np.array([0, 1, 0, 0, 1])
    # No edge has its reverse; node 3 receives nothing; the order is not that of destinations.
    edges = [(3, 0), (0, 1), (1, 2), (2, 0), (3, 4), (4, 2), (3, 2)]
    vectors = rng.normal(size=(len(edges), 3))
    nodes, links = loop_over_edges(network.state_dict(), types, edges, vectors)
    arguments = (torch.tensor(types), torch.tensor(edges).T, torch.tensor(vectors))
    for outputs in (network(*arguments), concatenated_outputs(network.state_dict(), *arguments)):
        for found, expected in zip(outputs, (nodes, links), strict=True):
            assert np.ptp(expected) > 1e-3
            np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0.0, atol=1e-12)
    turned = network(arguments[0], arguments[1].flip(0), arguments[2])
    assert np.abs(turned.nodes.detach().numpy() - nodes).max() > 1e-3


def test_messages_run_from_source_to_destination(network: OriginalBotan) -> None:
    """Oracle: with the single edge 0 -> 1, node 0 is as if alone and node 1 feels the species of node 0."""
    index, vector = torch.tensor([[0], [1]]), torch.tensor([[0.9, 0.2, -0.3]], dtype=torch.float64)
    with torch.no_grad():
        nothing = network(torch.tensor([0, 0]), index[:, :0], vector[:0]).nodes
        nodes = {kind: network(torch.tensor([kind, 0]), index, vector).nodes for kind in (0, 1)}
    assert float(nodes[0][0]) == pytest.approx(float(nothing[0]), abs=1e-13)
    assert abs(float(nodes[0][1] - nothing[1])) > 1e-4
    assert abs(float(nodes[1][1] - nodes[0][1])) > 1e-4


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_outputs_equal_the_concatenated_form(
    graph: ParticleGraph, dtype: str, tolerance: float
) -> None:
    """Oracle: the formula with concatenated inputs, with and without gradients."""
    network = lively_network(dtype)
    arguments = tensors(graph, dtype)
    expected = concatenated_outputs(network.state_dict(), *arguments)
    with torch.no_grad():
        without = network(*arguments)
    for outputs in (network(*arguments), without):
        for found, reference in zip(outputs, expected, strict=True):
            assert float(reference.std()) > 1e-2
            torch.testing.assert_close(found, reference, rtol=0.0, atol=tolerance)


def test_gradients_equal_those_of_the_concatenated_form(
    network: OriginalBotan, graph: ParticleGraph
) -> None:
    """Oracle: torch's derivatives of the concatenated form, for all weights and the edge vectors."""
    types, index, vectors = tensors(graph)
    vectors.requires_grad_()
    rng = torch.Generator().manual_seed(0)
    targets = [
        torch.randn(n, generator=rng, dtype=torch.float64) for n in (graph.n_atoms, graph.n_edges)
    ]
    inputs = [*network.parameters(), vectors]
    parameters = dict(network.named_parameters())
    outputs = (
        network(types, index, vectors),
        BotanOutput(*concatenated_outputs(parameters, types, index, vectors)),
    )
    found, expected = (
        torch.autograd.grad(node_edge_loss(output, *targets), inputs) for output in outputs
    )
    for a, b in zip(found, expected, strict=True):
        assert float(b.abs().max()) > 1e-8
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13)


def test_order_of_edges_does_not_matter(network: OriginalBotan, graph: ParticleGraph) -> None:
    """Oracle: the sorted graph; edge outputs follow the order of the caller."""
    types, index, vectors = tensors(graph)
    order = torch.randperm(graph.n_edges, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(types, index, vectors)
        found = network(types, index[:, order], vectors[order])
    torch.testing.assert_close(found.nodes, expected.nodes, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(found.edges, expected.edges[order], rtol=0.0, atol=1e-12)
    assert float((found.edges - expected.edges).abs().max()) > 1e-4


def test_translation_permutation_and_unwrapping(
    network: OriginalBotan, system: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]
) -> None:
    """Oracle: outputs of the configuration itself."""
    positions, types = system
    nodes, _ = network.evaluate(particle_graph(positions, types, CELL))
    assert nodes.std() > 1e-3
    rng = np.random.default_rng(1)
    new = rng.permutation(len(types))
    moved = positions + [0.7, -0.3, 12.0] + rng.integers(-3, 4, positions.shape) @ CELL
    found, _ = network.evaluate(particle_graph(moved[new], types[new], CELL))
    np.testing.assert_allclose(found, nodes[new], rtol=0.0, atol=1e-11)


def test_cube_group_changes_outputs_like_the_configuration(
    network: OriginalBotan, system: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]
) -> None:
    """Oracle: the transformed configuration; this network is not invariant, so outputs must change."""
    positions, types = system
    graph = particle_graph(positions, types, CELL)
    plain, _ = network.evaluate(graph)
    for element in (5, 22, 47):
        matrix = cube_group()[element].T
        moved = particle_graph(positions @ matrix, types, CELL @ matrix)
        found, expected = (network.evaluate(each) for each in (augmented(graph, element), moved))
        np.testing.assert_allclose(found[0], expected[0], rtol=0.0, atol=1e-12)
        np.testing.assert_allclose(found[1], expected[1], rtol=0.0, atol=1e-12)
        assert np.abs(found[0] - plain).max() > 1e-4


def test_joined_graphs_do_not_see_each_other(network: OriginalBotan, graph: ParticleGraph) -> None:
    """Oracle: one graph at a time; torch_geometric joins them."""
    graphs = [graph, augmented(graph, 9)]
    batch = Batch.from_data_list([each.to_data(dtype="float64") for each in graphs])
    with torch.no_grad():
        joined = network(batch.types, batch.edge_index, batch.edge_attr)
    alone = [network.evaluate(each) for each in graphs]
    np.testing.assert_allclose(joined.nodes, np.concatenate([a for a, _ in alone]), atol=1e-12)
    np.testing.assert_allclose(joined.edges, np.concatenate([b for _, b in alone]), atol=1e-12)


def test_second_evaluation_and_input_are_untouched(
    network: OriginalBotan, graph: ParticleGraph
) -> None:
    """Edges are overwritten inside; what the caller holds must not be."""
    arguments = tensors(graph)
    before = [each.clone() for each in arguments]
    with torch.no_grad():
        first, second = network(*arguments), network(*arguments)
    assert torch.equal(first.nodes, second.nodes)
    assert torch.equal(first.edges, second.edges)
    assert all(torch.equal(a, b) for a, b in zip(arguments, before, strict=True))


def test_seed_decides_the_weights_and_the_global_generator_stays() -> None:
    """Oracle: torch's default scheme, uniform within 1/sqrt(inputs)."""
    state = torch.random.get_rng_state()
    a, b, other = OriginalBotan(seed=3), OriginalBotan(seed=3), OriginalBotan()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.decoder.fc1.weight, other.decoder.fc1.weight)
    weight = a.network.edge_model.mlp.fc1.weight.detach()
    assert 0.99 / 16 < float(weight.abs().max()) <= 1.0 / 16
    repeated = OriginalBotan(seed=other.seed)
    assert torch.equal(repeated.decoder.fc1.weight, other.decoder.fc1.weight)


def test_copies_and_pickles_compute_the_same(network: OriginalBotan, graph: ParticleGraph) -> None:
    expected, _ = network.evaluate(graph)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        np.testing.assert_array_equal(twin.evaluate(graph)[0], expected)


def test_output_starts_near_the_mean_of_the_targets(graph: ParticleGraph) -> None:
    """Oracle: a shift of the last bias is a shift of all outputs."""
    network = OriginalBotan(dtype="float64", seed=1)
    before = float(network.decoder.fc3.bias.detach())
    nodes, edges = network.evaluate(graph)
    network.set_output_mean(0.5)
    new_nodes, new_edges = network.evaluate(graph)
    np.testing.assert_allclose(new_nodes - nodes, 0.5 - before, atol=1e-12)
    np.testing.assert_allclose(new_edges - edges, 0.5 - before, atol=1e-12)
    with pytest.raises(InvalidInputError, match="must be finite, got nan"):
        network.set_output_mean(float("nan"))


def test_loss_weights_nodes_and_edges() -> None:
    """Oracle: means of squares by hand, (1 + 9)/2 = 5 and (4 + 0 + 4 + 0)/4 = 2."""
    output = BotanOutput(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0, 0.0, 1.0]))
    nodes, edges = torch.zeros(2), torch.tensor([0.0, 1.0, 2.0, 1.0])
    assert float(node_edge_loss(output, nodes, edges)) == pytest.approx(0.4 * 5 + 0.6 * 2)
    assert float(node_edge_loss(output, nodes, edges, node_weight=0.25)) == pytest.approx(2.75)
    missing = torch.full((4,), torch.nan)
    assert float(node_edge_loss(output, nodes, missing, node_weight=1.0)) == 5.0
    assert float(node_edge_loss(output, missing[:2], edges, node_weight=0.0)) == 2.0
    with pytest.raises(InvalidInputError, match=r"within \[0, 1\], got 1.5"):
        node_edge_loss(output, nodes, edges, node_weight=1.5)
    with pytest.raises(InvalidInputError, match=r"edge targets have shape \(4, 1\)"):
        node_edge_loss(output, nodes, edges[:, None])


def test_bad_input_is_refused(network: OriginalBotan, graph: ParticleGraph) -> None:
    types, index, vectors = tensors(graph)
    with pytest.raises(InvalidInputError, match=r"do not fit; expected"):
        network(types, index, vectors[1:])
    with pytest.raises(InvalidInputError, match=r"runs from 0 to 50, allowed are the 50 nodes"):
        network(types, index + (index == 49), vectors)
    third = particle_graph(np.zeros((1, 3)), [2], CELL)
    with pytest.raises(InvalidInputError, match=r"species \[2\].*0 \(A\) and 1 \(B\)"):
        network.evaluate(third)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_the_cpu(network: OriginalBotan, graph: ParticleGraph) -> None:
    """Oracle: the same network on the CPU, outputs and gradients, float64."""
    twin = copy.deepcopy(network).to("cuda")
    expected = network(*tensors(graph))
    found = twin(*(each.to("cuda") for each in tensors(graph)))
    for output in (expected, found):
        (output.nodes.square().sum() + output.edges.square().sum()).backward()
    torch.testing.assert_close(found.nodes.cpu(), expected.nodes, rtol=0.0, atol=1e-11)
    torch.testing.assert_close(found.edges.cpu(), expected.edges, rtol=0.0, atol=1e-11)
    for a, b in zip(twin.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(a.grad.cpu(), b.grad, rtol=1e-8, atol=1e-11)
        b.grad = None
