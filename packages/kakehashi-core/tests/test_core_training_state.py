"""Nested states, random states and batches: what goes in comes out, bit for bit."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kakehashi_core.errors import CheckpointError, InvalidInputError
from kakehashi_core.training import (
    RandomBatches,
    ShuffledBatches,
    load_random_state,
    random_state,
)
from kakehashi_core.training.run_directory import load_state, save_state
from kakehashi_core.training.state_tree import decode, encode, snapshot

INFINITY, NAN = float("inf"), float("nan")
STATE: dict[str, Any] = {
    "weights": torch.arange(6.0).reshape(2, 3).T,
    "half": torch.tensor([1.5], dtype=torch.bfloat16),
    "scalar": torch.tensor(2.0, dtype=torch.float64),
    "empty": torch.zeros(0, 3),
    "limits": torch.tensor([INFINITY, NAN, -0.0]),
    "wave": torch.tensor([1.0 + 2.0j, -1.0j], dtype=torch.complex128).conj(),
    "flags": torch.tensor([True, False]),
    "bytes": torch.tensor([0, 255], dtype=torch.uint8),
    "arrays": [
        np.array([[1, 2]], dtype=np.uint64),
        np.array([NAN, 1.0]),
        np.array(3.0 + 1.0j),
        np.array(["a", "µ"]),
        np.arange(6).reshape(2, 3).T,
        np.zeros((0, 2), dtype=np.float32),
    ],
    "scalars": (np.float32(0.1), np.int64(7), np.bool_(True)),
    "numbers": [0.1, INFINITY, -INFINITY, NAN, -0.0, 2**127, True, None, "text µ"],
    "steps": {0: {"lr": 0.1}, 1: (), "dict": {"tuple": 1}, "": []},
    "milestones": Counter({10: 2}),
}


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        if one.dtype == torch.bfloat16:
            one, other = one.view(torch.int16), other.view(torch.int16)
        assert one.numpy().tobytes() == other.numpy().tobytes()
    elif isinstance(one, np.ndarray | np.generic):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
    else:
        assert repr(one) == repr(other)


def test_states_survive_files(tmp_path: Path) -> None:
    """Oracle: identity, of types, order and bits."""
    save_state(tmp_path, STATE, generation=1)
    stored = load_state(tmp_path)
    assert stored is not None
    assert stored.generation == 1
    assert_same(stored.state, {**STATE, "wave": STATE["wave"].resolve_conj()})
    save_state(tmp_path, {"nothing": None}, generation=2)
    save_state(tmp_path, [3], generation=3)
    stored = load_state(tmp_path)
    assert stored is not None
    assert stored.state == [3]


def test_snapshots_share_no_memory() -> None:
    live = {"tensor": torch.zeros(2), "array": np.zeros(2), "list": [0]}
    copy = snapshot(live)
    live["tensor"] += 1
    live["array"] += 1
    live["list"].append(1)
    assert_same(copy, {"tensor": torch.zeros(2), "array": np.zeros(2), "list": [0]})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": [lambda: None]}, r"state\['a'\]\[0\] is a function"),
        ({"a": {(1, 2): 1}}, r"state\['a'\] has the key \(1, 2\)"),
        ({"a": {True: 1}}, "has the key True"),
        ({"a": np.array([None])}, "array of dtype object"),
        ({"a": np.ma.masked_array([1.0])}, "is a MaskedArray"),
        ({"a": torch.eye(2).to_sparse()}, "sparse"),
        ({"a": torch.Generator()}, r"Generator.*random_state\(generator\)"),
    ],
)
def test_other_things_are_refused_by_place(state: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        encode(state)


@pytest.mark.parametrize("tree", [{"function": 1}, {"tensor": "gone"}, {"dict": 3}])
def test_foreign_trees_are_refused(tree: Any) -> None:
    with pytest.raises(CheckpointError, match="cannot be understood"):
        decode(tree, {})


def streams(seed: int) -> list[np.random.Generator | torch.Generator]:
    return [
        np.random.default_rng(seed),
        np.random.Generator(np.random.MT19937(seed)),
        np.random.Generator(np.random.Philox(seed)),
        torch.Generator().manual_seed(seed),
    ]


def draws(stream: np.random.Generator | torch.Generator) -> list[float]:
    if isinstance(stream, torch.Generator):
        return [float(x) for x in torch.randn(5, generator=stream)]
    children = stream.spawn(2)
    listed = [stream.standard_normal(), stream.random(dtype=np.float32), children[1].random()]
    return [float(x) for x in listed]


@pytest.mark.parametrize("index", range(4))
def test_random_streams_go_on_where_they_were(index: int, tmp_path: Path) -> None:
    """Oracle: the stream that was not interrupted, its spawned children too."""
    stream = streams(1)[index]
    first = draws(stream)
    save_state(tmp_path, random_state(stream), generation=1)
    expected = draws(stream)
    assert expected != first
    stored = load_state(tmp_path)
    assert stored is not None
    other = streams(1)[index]
    load_random_state(other, stored.state)
    assert draws(other) == expected


def test_random_states_of_another_kind_are_refused() -> None:
    pcg, twister, _, torch_stream = streams(1)
    with pytest.raises(CheckpointError, match="kind 'numpy', here it is of kind 'torch'"):
        load_random_state(torch_stream, random_state(pcg))
    with pytest.raises(CheckpointError, match="does not fit a MT19937"):
        load_random_state(twister, random_state(pcg))
    with pytest.raises(InvalidInputError, match="got RandomState"):
        random_state(np.random.RandomState(1))  # type: ignore[arg-type]


@pytest.mark.parametrize(("n_samples", "batch_size"), [(7, 3), (6, 2), (5, 5), (1, 1)])
def test_shuffled_batches_visit_everything_once_per_epoch(n_samples: int, batch_size: int) -> None:
    """Oracle: counting, and resumption after every possible number of batches."""
    batches = ShuffledBatches(n_samples, batch_size, rng=np.random.default_rng(2))
    per_epoch = n_samples // batch_size
    drawn, states = [], []
    for number in range(4 * per_epoch):
        states.append(snapshot(batches.state_dict()))
        drawn.append(batches.draw())
        assert batches.epoch == number // per_epoch + 1
    for epoch in range(4):
        visited = np.concatenate(drawn[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert len(set(visited.tolist())) == per_epoch * batch_size
        assert set(visited.tolist()) <= set(range(n_samples))
    if n_samples > 1:
        orders = [np.concatenate(drawn[e * per_epoch : (e + 1) * per_epoch]) for e in range(4)]
        assert len({order.tobytes() for order in orders}) > 1
    for number, state in enumerate(states):
        other = ShuffledBatches(n_samples, batch_size, rng=np.random.default_rng(3))
        other.load_state_dict(state)
        for expected in drawn[number:]:
            assert np.array_equal(other.draw(), expected)


def test_batches_of_other_data_are_refused() -> None:
    rng = np.random.default_rng(1)
    state = ShuffledBatches(5, 2, rng=rng).state_dict()
    with pytest.raises(CheckpointError, match="started with 5 samples, now there are 6"):
        ShuffledBatches(6, 2, rng=rng).load_state_dict(state)
    with pytest.raises(InvalidInputError, match="between 1 and the number of samples, 5; got 6"):
        ShuffledBatches(5, 6, rng=rng)


def test_random_batches_go_on_where_they_were() -> None:
    def make(rng: np.random.Generator) -> list[float]:
        return rng.standard_normal(3).tolist()

    batches = RandomBatches(make, rng=np.random.default_rng(1))
    first = batches.draw()
    state = snapshot(batches.state_dict())
    expected = batches.draw()
    other = RandomBatches(make, rng=np.random.default_rng(2))
    other.load_state_dict(state)
    assert other.draw() == expected != first
