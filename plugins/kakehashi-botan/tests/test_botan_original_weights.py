"""Published state dicts: scores of the public configurations, our own files, damaged files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from kakehashi_botan.graphs import ParticleGraph, particle_graph
from kakehashi_botan.original_form import OriginalBotan
from kakehashi_botan.original_weights import (
    PUBLISHED,
    convert_original,
    load_network,
    load_original,
    save_network,
)
from kakehashi_core.checkpoints import read_manifest, save_checkpoint
from kakehashi_core.errors import CheckpointError

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "botan"
needs_data = pytest.mark.skipif(
    not (DATA / "model1.pth").is_file(), reason="the public data are not on this machine"
)
LENGTH = (4096 / 1.2) ** (1 / 3)
EDGE_PEARSON = {
    401: (0.5405, 0.5292, 0.5410, 0.5386, 0.5401, 0.5399, 0.5427, 0.5433),
    402: (0.4275, 0.4204, 0.4259, 0.4253, 0.4235, 0.4259, 0.4264, 0.4247),
}
NODE_MEANS_401 = (0.0729, -0.6057, 0.2691, 0.5493, 0.5538, 0.2783, 0.0519, 0.1117)


@cache
def configuration(
    number: int,
) -> tuple[ParticleGraph, npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Return graph, mask of the bonds that are scored, and their targets."""
    with np.load(DATA / f"isoconfig_N4096T0.44_{number}_tc07.npz") as data:
        start, runs, types = data["initial_positions"], data["positions"], data["types"]
    graph = particle_graph(start, types, np.eye(3) * LENGTH)
    bonds = (graph.types[graph.edge_index] == 0).all(axis=0) & (graph.distances < 1.35)
    source, destination = graph.edge_index[:, bonds]
    targets = np.zeros(bonds.sum())
    for positions in runs:
        vectors = positions[destination] - positions[source]
        vectors -= LENGTH * np.round(vectors / LENGTH)
        targets += np.linalg.norm(vectors, axis=1) - graph.distances[bonds]
    return graph, bonds, targets / len(runs)


def edge_pearson(model: int, number: int) -> float:
    graph, bonds, targets = configuration(number)
    _, edges = load_original(DATA / f"model{model}.pth", sha256=PUBLISHED).evaluate(graph)
    return float(np.corrcoef(edges[bonds], targets)[0, 1])


@needs_data
@pytest.mark.parametrize(("model", "number"), [(1, 401), (8, 402)])
def test_edge_scores(model: int, number: int) -> None:
    """Oracle: scores of the published weights by the published code, four decimals."""
    expected = EDGE_PEARSON[number][model - 1]
    assert edge_pearson(model, number) == pytest.approx(expected, abs=1e-4)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("number", [401, 402])
@pytest.mark.parametrize("model", range(1, 9))
def test_all_edge_scores(model: int, number: int) -> None:
    """Oracle: as ``test_edge_scores``; the full table."""
    expected = EDGE_PEARSON[number][model - 1]
    assert edge_pearson(model, number) == pytest.approx(expected, abs=1e-4)


@needs_data
def test_outputs_of_the_first_model() -> None:
    """Oracle: means and spread of all outputs on 401, from the formula with concatenated inputs."""
    graph, _, targets = configuration(401)
    nodes, edges = load_original(DATA / "model1.pth").evaluate(graph)
    assert nodes.mean() == pytest.approx(NODE_MEANS_401[0], abs=1e-4)
    assert edges.mean() == pytest.approx(0.0153, abs=1e-4)
    assert edges.std() == pytest.approx(0.0775, abs=1e-4)
    assert targets.mean() == pytest.approx(0.13190, abs=1e-5)
    assert targets.std() == pytest.approx(0.12328, abs=1e-5)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("model", range(1, 9))
def test_node_means(model: int) -> None:
    """Oracle: as ``test_outputs_of_the_first_model``; node means differ between the files by up to 1.2."""
    graph, _, _ = configuration(401)
    nodes, _ = load_original(DATA / f"model{model}.pth").evaluate(graph)
    assert nodes.mean() == pytest.approx(NODE_MEANS_401[model - 1], abs=1e-4)


@needs_data
def test_converted_file_is_the_same_network(tmp_path: Path) -> None:
    """Oracle: the published file; the manifest says where the numbers come from."""
    source, target = DATA / "model2.pth", tmp_path / "model2.safetensors"
    convert_original(source, target, sha256=PUBLISHED["model2.pth"])
    original, converted = load_original(source), load_network(target)
    for name, tensor in original.state_dict().items():
        assert torch.equal(converted.state_dict()[name], tensor)
    manifest = read_manifest(target)
    assert manifest["converted_from"] == {"file": "model2.pth", "sha256": PUBLISHED["model2.pth"]}
    assert manifest["weights_license"] == "Apache-2.0"


@needs_data
def test_another_file_than_asked_for(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected f34147b3"):
        load_original(DATA / "model2.pth", sha256=PUBLISHED["model1.pth"])


def written(path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save(state, path)
    return path


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_state_dict_of_torch_is_read_exactly(tmp_path: Path, dtype: str) -> None:
    """Oracle: the tensors that were written."""
    state = OriginalBotan(seed=5).state_dict()
    network = load_original(written(tmp_path / "own.pth", state), dtype=dtype)
    assert network.dtype == getattr(torch, dtype)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor.float(), state[name])


def test_state_dicts_of_another_shape_are_refused(tmp_path: Path) -> None:
    state = dict(OriginalBotan(seed=5).state_dict())
    narrow = {**state, "network.edge_model.mlp.fc1.weight": torch.zeros(64, 192)}
    with pytest.raises(CheckpointError, match=r"edge_model.*\(64, 192\).*expected \(64, 256\)"):
        load_original(written(tmp_path / "narrow.pth", narrow))
    with pytest.raises(CheckpointError, match=r"unexpected \['extra'\]"):
        load_original(written(tmp_path / "extra.pth", {**state, "extra": torch.zeros(1)}))
    del state["decoder.fc3.bias"]
    with pytest.raises(CheckpointError, match=r"missing \['decoder.fc3.bias'\]"):
        load_original(written(tmp_path / "missing.pth", state))
    double = OriginalBotan(dtype="float64", seed=5).state_dict()
    with pytest.raises(CheckpointError, match=r"torch.float64, expected .* torch.float32"):
        load_original(written(tmp_path / "double.pth", double))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_own_files_keep_every_bit(tmp_path: Path, dtype: str) -> None:
    """Oracle: the network that was saved."""
    network = OriginalBotan(dtype=dtype, seed=6)
    path = tmp_path / "own.safetensors"
    save_network(path, network, manifest={"note": "test"})
    found = load_network(path, dtype=dtype)
    for name, tensor in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)
    assert read_manifest(path)["note"] == "test"


def test_own_file_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    state = OriginalBotan(seed=6).state_dict()
    save_checkpoint(path, state, manifest={"architecture": "something-else"})
    with pytest.raises(CheckpointError, match="'something-else', expected 'original-botan'"):
        load_network(path)
    with pytest.raises(CheckpointError, match=r"only '.safetensors' files"):
        load_network(tmp_path / "model1.pth")
