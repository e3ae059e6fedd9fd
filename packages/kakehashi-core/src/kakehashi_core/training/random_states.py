"""States of NumPy and torch random generators, as data that a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kakehashi_core.errors import CheckpointError, InvalidInputError

if TYPE_CHECKING:
    import torch

    RandomStream = np.random.Generator | torch.Generator


def random_state(stream: RandomStream) -> dict[str, Any]:
    """Return the state of a generator, for ``Trainable.state_dict``.

    Args:
        stream: NumPy or torch generator.

    Raises:
        InvalidInputError: If it is neither.
    """
    import torch

    if isinstance(stream, torch.Generator):
        return {"kind": "torch", "device": stream.device.type, "state": stream.get_state()}
    if isinstance(stream, np.random.Generator):
        return {
            "kind": "numpy",
            "state": stream.bit_generator.state,
            "n_children": _n_children(stream),
        }
    raise InvalidInputError(
        f"a random stream must be a numpy.random.Generator or a torch.Generator, got "
        f"{type(stream).__name__}; see kakehashi_core.spawn and torch_generator"
    )


def load_random_state(stream: RandomStream, state: Mapping[str, Any]) -> None:
    """Put a generator, in place, into a state that ``random_state`` returned.

    Args:
        stream: Generator of the same kind.
        state: What ``random_state`` returned.

    Raises:
        CheckpointError: If the state belongs to another kind of generator.
    """
    import torch

    expected = "torch" if isinstance(stream, torch.Generator) else "numpy"
    if state["kind"] != expected:
        raise CheckpointError(
            f"the stored random stream is of kind {state['kind']!r}, here it is of kind {expected!r}; resume "
            "with the generators that the run was started with"
        )
    if isinstance(stream, torch.Generator):
        if state["device"] != stream.device.type:
            raise CheckpointError(
                f"the stored torch generator lived on {state['device']!r}, here it lives on "
                f"{stream.device.type!r}; resume on the same kind of device"
            )
        stream.set_state(state["state"])
        return
    try:
        stream.bit_generator.state = state["state"]
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"the stored random stream does not fit a {type(stream.bit_generator).__name__}: {error}"
        ) from error
    # Streams that were spawned from this one are counted outside the state proper; without them a
    # resumed run would spawn the same children again.
    missing = state["n_children"] - _n_children(stream)
    if missing > 0:
        stream.spawn(missing)


def _n_children(stream: np.random.Generator) -> int:
    return int(getattr(stream.bit_generator.seed_seq, "n_children_spawned", 0))
