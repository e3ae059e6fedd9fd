"""Independent random streams from one seed that is always recorded."""

from __future__ import annotations

import operator
import secrets
from typing import TYPE_CHECKING

import numpy as np

from kakehashi_core.errors import InvalidInputError

if TYPE_CHECKING:
    import torch

_SEED_BITS = 63
"""Fits into a signed 64-bit integer of any file format and into torch's manual_seed."""


def recorded_seed(seed: int | None) -> int:
    """Return ``seed``, or fresh entropy of the operating system for None.

    The result belongs into the record of the run: it repeats the run.

    Raises:
        InvalidInputError: If the seed is not an integer >= 0.
    """
    if seed is None:
        return secrets.randbits(_SEED_BITS)
    try:
        value = operator.index(seed)
    except TypeError:
        value = -1
    if value < 0 or isinstance(seed, bool):
        raise InvalidInputError(f"seed must be an integer >= 0 or None, got {seed!r}")
    return value


def spawn(seed: int | None, n: int) -> tuple[list[np.random.Generator], int]:
    """Return one generator per chain or worker, and the seed they all come from.

    Stream i depends on the seed and on i only, so more streams leave the first ones unchanged.

    Args:
        seed: Integer >= 0; None draws fresh entropy once.
        n: Number of streams, at least 1.

    Returns:
        The generators and the recorded seed.

    Raises:
        InvalidInputError: If the seed or the number is out of range.

    Source:
        numpy.random.SeedSequence.spawn.
    """
    seed = recorded_seed(seed)
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InvalidInputError(f"number of random streams must be a positive integer, got {n!r}")
    children = np.random.SeedSequence(seed).spawn(int(n))
    return [np.random.default_rng(child) for child in children], seed


def torch_generator(
    source: int | np.random.Generator, *, device: str | torch.device = "cpu"
) -> torch.Generator:
    """Return a seeded torch generator.

    Args:
        source: A seed, or a NumPy generator, of which one number is drawn. None is refused on
            purpose: an unseeded torch generator always starts from the same number. Draw a seed
            with ``recorded_seed`` first.
        device: Where the generator lives; a device name as torch writes it.

    Raises:
        InvalidInputError: If the source is neither.
    """
    import torch

    if isinstance(source, np.random.Generator):
        value = int(source.integers(2**_SEED_BITS))
    elif source is None:
        raise InvalidInputError(
            "torch_generator needs a seed or a NumPy generator; got None. Draw and record one with "
            "recorded_seed(None)."
        )
    else:
        # Through SeedSequence, because nearby seeds of torch's generator are correlated at first.
        state = np.random.SeedSequence(recorded_seed(source)).generate_state(1, np.uint64)
        value = int(state[0] >> np.uint64(64 - _SEED_BITS))
    return torch.Generator(device=device).manual_seed(value)
