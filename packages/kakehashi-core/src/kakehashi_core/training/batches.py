"""Where batches come from: objects that know, and can be told, how far they have come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from kakehashi_core.errors import CheckpointError, InvalidInputError
from kakehashi_core.training.random_states import load_random_state, random_state

Batch_co = TypeVar("Batch_co", covariant=True)


class Batches(Protocol[Batch_co]):
    """An endless sequence of batches with a state."""

    def draw(self) -> Batch_co:
        """Return the next batch."""

    def state_dict(self) -> dict[str, Any]:
        """Return position and random streams."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Go on from a state."""


class ShuffledBatches:
    """Index arrays that visit every sample once per epoch, in a new order each time.

    Args:
        n_samples: Number of samples, at least 1.
        batch_size: Indices per batch. The samples that do not fill a last batch are left out of this
            epoch; every order leaves out others.
        rng: Draws the orders.

    Raises:
        InvalidInputError: If the sizes are not positive, or a batch is larger than the data.
    """

    def __init__(self, n_samples: int, batch_size: int, *, rng: np.random.Generator) -> None:
        if not 1 <= batch_size <= n_samples:
            raise InvalidInputError(
                f"batch_size must be between 1 and the number of samples, {n_samples}; got {batch_size}"
            )
        self._n_samples = n_samples
        self._batch_size = batch_size
        self._rng = rng
        self._order = np.empty(0, dtype=np.int64)
        self._position = 0
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """Number of epochs that were begun."""
        return self._epoch

    def draw(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return (batch_size,) indices."""
        if self._position + self._batch_size > len(self._order):
            self._order = self._rng.permutation(self._n_samples)
            self._position = 0
            self._epoch += 1
        start = self._position
        self._position = start + self._batch_size
        return self._order[start : self._position].copy()

    def state_dict(self) -> dict[str, Any]:
        """Return the order of the current epoch, the position in it, and the random stream."""
        return {
            "n_samples": self._n_samples,
            "order": self._order,
            "position": self._position,
            "epoch": self._epoch,
            "rng": random_state(self._rng),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Go on from a state.

        Raises:
            CheckpointError: If the number of samples changed.
        """
        if state["n_samples"] != self._n_samples:
            raise CheckpointError(
                f"the run was started with {state['n_samples']} samples, now there are {self._n_samples}; "
                "resume with the same data, or train in a new directory"
            )
        self._order = np.asarray(state["order"])
        self._position = state["position"]
        self._epoch = state["epoch"]
        load_random_state(self._rng, state["rng"])


class RandomBatches(Generic[Batch_co]):
    """Batches that a function makes of random numbers.

    Args:
        make: Function of the stream; it must depend on nothing else that changes.
        rng: The stream.
    """

    def __init__(
        self, make: Callable[[np.random.Generator], Batch_co], *, rng: np.random.Generator
    ) -> None:
        self._make = make
        self._rng = rng

    def draw(self) -> Batch_co:
        """Return a new batch."""
        return self._make(self._rng)

    def state_dict(self) -> dict[str, Any]:
        """Return the random stream."""
        return {"rng": random_state(self._rng)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Go on from a state."""
        load_random_state(self._rng, state["rng"])
