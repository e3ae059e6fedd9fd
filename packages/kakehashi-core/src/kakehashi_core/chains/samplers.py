"""Markov chains behind the sampler contract: warm up once, keep what was measured, go on to the last bit."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains.autocorrelation import Autocorrelation, autocorrelation
from kakehashi_core.chains.convergence import effective_sample_size, rhat
from kakehashi_core.chains.kernels import ChainState, Kernel, Positions
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.random_streams import recorded_seed
from kakehashi_core.results import Estimate

FloatArray = npt.NDArray[np.float64]

FIRST_RUN = 400
"""Measurements of each chain that are made when an average is asked for before anything was sampled."""


class ChainSampler(ABC):
    """Some chains that one kernel moves; a subclass says what is observed.

    The first call that needs samples warms up and freezes the kernel. Further calls go on where the chains
    stand.

    Args:
        kernel: Moves the chains.
        first_positions: Random numbers to positions, (n_chains, ...).
        warmup: Steps before the first measurement; None for twice the least that the kernel needs.
        thin: Steps between measurements.
        seed: Of everything; None draws one and records it.

    Attributes:
        seed: What all random numbers come from.

    Raises:
        InvalidInputError: If a number makes no sense.
    """

    def __init__(
        self,
        kernel: Kernel,
        first_positions: Callable[[np.random.Generator], Positions],
        *,
        warmup: int | None = None,
        thin: int = 1,
        seed: int | None = None,
    ) -> None:
        if thin < 1:
            raise InvalidInputError(f"thin must be at least 1, got {thin}")
        self._warmup = 2 * kernel.least_warmup if warmup is None else int(warmup)
        if self._warmup < kernel.least_warmup:
            raise InvalidInputError(
                f"warmup is {warmup}; learning takes at least {kernel.least_warmup} steps"
            )
        self._kernel, self._thin = kernel, int(thin)
        self.seed = recorded_seed(seed)
        self._rng = np.random.default_rng(self.seed)
        self._state = kernel.start(first_positions(self._rng))
        self._n_warm = 0
        self._measured = np.zeros((0, *self._state.positions.shape))
        self._accepted = self._moved = 0

    @abstractmethod
    def series(self, operator: Any) -> FloatArray:
        """Return an observable at every measurement, (n_chains, n_measurements); may call ``measured``."""

    @abstractmethod
    def arguments(self) -> Mapping[str, Any]:
        """Return what makes states of another sampler another distribution or another series."""

    def run(self, n_measurements: int) -> None:
        """Measure each chain so many times more.

        Raises:
            InvalidInputError: If the number is not positive.
        """
        if n_measurements < 1:
            raise InvalidInputError(f"n_measurements must be at least 1, got {n_measurements}")
        while self._n_warm < self._warmup:
            step = self._kernel.step(self._state, self._rng)
            self._state = step.state
            self._kernel.adapt(step)
            self._n_warm += 1
        found = []
        for _ in range(n_measurements):
            for _ in range(self._thin):
                step = self._kernel.step(self._state, self._rng)
                self._state = step.state
                self._accepted += int((step.accepted & step.moved).sum())
                self._moved += int(step.moved.sum())
            found.append(self._state.positions)
        self._measured = np.concatenate([self._measured, np.array(found)])

    def measured(self) -> Positions:
        """Return all measurements, (n_measurements, n_chains, ...); makes some if there are none."""
        if not len(self._measured):
            self.run(FIRST_RUN)
        return self._measured

    def sample(self, n: int) -> FloatArray:
        """Return n new states, (n, ...): those of all chains at one measurement, then at the next.

        Raises:
            InvalidInputError: If n is not positive.
        """
        if n < 1:
            raise InvalidInputError(f"the number of states must be at least 1, got {n}")
        n_measurements = math.ceil(n / self._state.n_chains)
        self.run(n_measurements)
        new = self._measured[-n_measurements:]
        return np.asarray(new.reshape(-1, *new.shape[2:])[:n].copy())

    def autocorrelation(self, operator: Any) -> Autocorrelation:
        """Return how long an observable is remembered, in measurements; arguments as of ``expt_value``."""
        return autocorrelation(self.series(operator))

    def energy(self) -> Estimate:
        """Return the average energy."""
        return self.autocorrelation("energy").estimate()

    def diagnostics(self) -> Mapping[str, float]:
        """Return acceptance of moved proposals, and of the energy tau_int, ESS and R-hat."""
        values = self.series("energy")
        enough = len(values) > 1
        return {
            "acceptance": self._accepted / max(self._moved, 1),
            "tau_int": autocorrelation(values).tau_int,
            "ESS": effective_sample_size(values) if enough else float("nan"),
            "R-hat": rhat(values) if enough else float("nan"),
        }

    def state_dict(self) -> Mapping[str, Any]:
        """Return what is needed to go on to the last bit."""
        return {
            "arguments": {**self.arguments(), "thin": self._thin},
            "seed": self.seed,
            "n_warm": self._n_warm,
            "kernel": self._kernel.state_dict(),
            "positions": self._state.positions,
            "log_weights": self._state.log_weights,
            "rng": self._rng.bit_generator.state,
            "measured": self._measured,
            "accepted": self._accepted,
            "moved": self._moved,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state of a sampler with the same arguments.

        Raises:
            InvalidInputError: If the state is that of a sampler with other arguments or another number of
                chains, or not all of a state.
        """
        own = self.state_dict()
        missing = sorted(set(own) - set(state))
        if missing:
            raise InvalidInputError(
                f"the state has no {', '.join(missing)}; it is not what state_dict of this version returned"
            )
        saved = state["arguments"]
        for name, value in own["arguments"].items():
            if saved.get(name) != value:
                raise InvalidInputError(
                    f"the state is that of a sampler with {name} = {saved.get(name)!r}, this one has "
                    f"{value!r}; make a sampler with the same arguments"
                )
        if np.shape(state["positions"]) != self._state.positions.shape:
            raise InvalidInputError(
                f"the state holds positions of shape {np.shape(state['positions'])}, this sampler has "
                f"{self._state.positions.shape}"
            )
        self.seed, self._n_warm = int(state["seed"]), int(state["n_warm"])
        self._kernel.load_state_dict(state["kernel"])
        self._state = ChainState(np.array(state["positions"]), np.array(state["log_weights"]))
        self._rng.bit_generator.state = state["rng"]
        self._measured = np.array(state["measured"])
        self._accepted, self._moved = int(state["accepted"]), int(state["moved"])

    def applied(self, function: Callable[[Any], Any]) -> FloatArray:
        """Return what a function of states, (n, ...) to (n,), gives at every measurement.

        Returns:
            Shape (n_chains, n_measurements).

        Raises:
            InvalidInputError: If it returns another shape.
        """
        measured = self.measured()
        values = np.array([np.asarray(function(s), dtype=np.float64) for s in measured])
        if values.shape != measured.shape[:2]:
            raise InvalidInputError(
                f"the observable returned shape {values.shape[1:]} for {self._state.n_chains} states; one "
                "number for each is needed"
            )
        return values.T
