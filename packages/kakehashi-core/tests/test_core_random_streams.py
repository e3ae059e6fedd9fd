"""Random streams: repeatable, independent, always from a recorded seed."""

import numpy as np
import pytest
import torch

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.random_streams import recorded_seed, spawn, torch_generator


def test_same_seed_same_streams_and_more_streams_change_nothing() -> None:
    first, seed = spawn(7, 3)
    again, _ = spawn(np.int64(7), 5)
    assert seed == 7
    draws = [rng.random(4) for rng in first]
    for one, other in zip(draws, [rng.random(4) for rng in again[:3]], strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({tuple(draw) for draw in draws}) == 3


def test_streams_are_those_of_numpy() -> None:
    """Oracle: numpy.random.SeedSequence.spawn."""
    child = np.random.SeedSequence(11).spawn(2)[1]
    assert spawn(11, 2)[0][1].random() == np.random.default_rng(child).random()


def test_none_draws_fresh_entropy_that_repeats_the_run() -> None:
    (rng,), seed = spawn(None, 1)
    assert 0 <= seed < 2**63
    assert seed != spawn(None, 1)[1]
    assert rng.random() == spawn(seed, 1)[0][0].random()


@pytest.mark.parametrize("seed", [-1, 1.0, "1", True])
def test_bad_seeds(seed: int) -> None:
    with pytest.raises(InvalidInputError, match="seed must be an integer >= 0 or None"):
        recorded_seed(seed)


@pytest.mark.parametrize("n", [0, -3, 2.0, True])
def test_bad_numbers(n: int) -> None:
    with pytest.raises(InvalidInputError, match="number of random streams"):
        spawn(1, n)


def test_torch_generators_are_seeded() -> None:
    unseeded = torch.Generator().initial_seed()
    one, same, other = torch_generator(3), torch_generator(3), torch_generator(4)
    values = [torch.rand(3, generator=generator) for generator in (one, same, other)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    assert unseeded not in {one.initial_seed(), other.initial_seed()}
    with pytest.raises(InvalidInputError, match=r"recorded_seed\(None\)"):
        torch_generator(None)  # type: ignore[arg-type]


def test_torch_generator_from_a_numpy_stream_advances_it() -> None:
    (rng,), _ = spawn(5, 1)
    (copy,), _ = spawn(5, 1)
    first, second = torch_generator(rng), torch_generator(rng)
    assert first.initial_seed() != second.initial_seed()
    assert first.initial_seed() == torch_generator(copy).initial_seed()


def test_global_generators_are_left_alone() -> None:
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    spawn(1, 2)
    torch_generator(1)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)
