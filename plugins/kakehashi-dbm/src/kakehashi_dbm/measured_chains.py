"""Chains that are warmed up once, and then measured as often as somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import Kernel, Repeated, warm_up
from kakehashi_core.random_streams import recorded_seed
from kakehashi_dbm.arguments import whole


class MeasuredChains:
    """Where chains stand, and what moves them.

    Args:
        kernel: Moves all chains.
        start: Returns their first positions from a stream of random numbers.
        warmup: Steps before the first measurement.
        thin: Steps between measurements.
        seed: Of everything; None draws one.

    Attributes:
        seed: What all random numbers come from.
    """

    def __init__(
        self,
        kernel: Kernel,
        start: Callable[[np.random.Generator], npt.NDArray[Any]],
        *,
        warmup: int,
        thin: int,
        seed: int | None,
    ) -> None:
        self._warmup = whole("warmup", warmup, least=0)
        self._kernel = Repeated(kernel, whole("thin", thin, least=1))
        self._inner = kernel
        self.seed = recorded_seed(seed)
        self._rng = np.random.default_rng(self.seed)
        self._state = kernel.start(start(self._rng))
        self._warm = False

    @property
    def positions(self) -> npt.NDArray[Any]:
        """Where the chains stand, (n_chains, ...)."""
        return self._state.positions

    def run(self, n_measurements: int, measure: Callable[[npt.NDArray[Any]], None]) -> None:
        """Move on, and hand over the positions so many times.

        Raises:
            InvalidInputError: If the number is not positive.
        """
        whole("n_measurements", n_measurements, least=1)
        if not self._warm:
            self._state = warm_up(self._inner, self._state, self._rng, self._warmup)
            self._warm = True
        for _ in range(n_measurements):
            self._state = self._kernel.step(self._state, self._rng).state
            measure(self._state.positions)

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on to the last bit."""
        return {
            "seed": self.seed,
            "warm": self._warm,
            "positions": self._state.positions,
            "kernel": self._inner.state_dict(),
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.seed, self._warm = int(state["seed"]), bool(state["warm"])
        positions = np.array(state["positions"], dtype=self._state.positions.dtype)
        self._state = self._inner.start(positions)
        self._inner.load_state_dict(state["kernel"])
        self._rng.bit_generator.state = state["rng"]
