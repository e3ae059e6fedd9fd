"""Kernels side by side: acceptance, autocorrelation, diagonalizations and CPU time, in turns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import ChainState, Kernel, autocorrelation
from kakehashi_slmc.spin_fermion import SpinFermion
from kakehashi_slmc.spin_observables import magnetization

FloatArray = npt.NDArray[np.float64]

TURNS = 10
"""Every kernel gets its steps in so many parts, in turns, so that a slow minute hits all alike."""


class CountedWeight:
    """An exact weight that counts its diagonalizations.

    Attributes:
        n_values: Diagonalizations without vectors.
        n_gradients: Those with vectors.
    """

    def __init__(self, model: SpinFermion) -> None:
        self._model = model
        self.n_values = self.n_gradients = 0

    def __call__(self, spins: FloatArray) -> FloatArray:
        """Return log W of each chain, (n_chains,)."""
        self.n_values += len(spins)
        return self._model(spins)

    def value_and_gradient(self, spins: FloatArray, /) -> tuple[FloatArray, FloatArray]:
        """Return log W and its derivative."""
        self.n_gradients += len(spins)
        return self._model.value_and_gradient(spins)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one kernel did, per step and chain.

    Attributes:
        acceptance: Of proposals that moved.
        moved: Share of proposals that moved.
        tau: Integrated autocorrelation times in steps, by observable.
        tau_error: Their statistical errors.
        means: Averages, by observable.
        errors: Their errors.
        diagonalizations: Per step and chain, with and without vectors.
        cpu_ms: CPU time per step and chain.
        longest_wait: Most steps in a row that a chain stood still.
        n_steps: Steps of each chain.
        n_chains: Chains.
    """

    acceptance: float
    moved: float
    tau: Mapping[str, float]
    tau_error: Mapping[str, float]
    means: Mapping[str, float]
    errors: Mapping[str, float]
    diagonalizations: float
    cpu_ms: float
    longest_wait: int
    n_steps: int
    n_chains: int

    def cost(self, observable: str) -> float:
        """Return the CPU milliseconds of an independent sample, 2 tau steps."""
        return 2.0 * self.tau[observable] * self.cpu_ms

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return asdict(self)


@dataclass(slots=True)
class Contestant:
    """A kernel with the chains that it moves.

    Attributes:
        kernel: What moves, frozen.
        weight: Counts what it asks for.
        state: Where its chains stand.
        n_steps: How often it is to move.
    """

    kernel: Kernel
    weight: CountedWeight
    state: ChainState
    n_steps: int


def measure(
    contestants: Mapping[str, Contestant],
    model: SpinFermion,
    signs: FloatArray | None,
    *,
    seed: int,
) -> dict[str, Measured]:
    """Move all in turns and measure the square of the (staggered) magnetization and the energy.

    Args:
        contestants: Kernels by name.
        model: Exact model, for the energy.
        signs: Of the magnetization, see ``magnetization``.
        seed: Of everything.
    """
    rngs = {name: np.random.default_rng([seed, k]) for k, name in enumerate(contestants)}
    spins: dict[str, list[FloatArray]] = {name: [] for name in contestants}
    flags: dict[str, list[FloatArray]] = {name: [] for name in contestants}
    cpu = dict.fromkeys(contestants, 0.0)
    for contestant in contestants.values():
        contestant.weight.n_values = contestant.weight.n_gradients = 0
    for turn in range(TURNS):
        for name, c in contestants.items():
            for _ in range(c.n_steps * (turn + 1) // TURNS - c.n_steps * turn // TURNS):
                start = time.process_time()
                step = c.kernel.step(c.state, rngs[name])
                cpu[name] += time.process_time() - start
                c.state = step.state
                spins[name].append(step.state.positions)
                flags[name].append(np.array([step.accepted & step.moved, step.moved], dtype=float))
    return {
        name: _summary(c, model, signs, spins[name], np.array(flags[name]), cpu[name])
        for name, c in contestants.items()
    }


def _summary(
    contestant: Contestant,
    model: SpinFermion,
    signs: FloatArray | None,
    spins: list[FloatArray],
    flags: FloatArray,
    cpu: float,
) -> Measured:
    series = {
        "m2": np.array([magnetization(s, signs) ** 2 for s in spins]).T,
        "m": np.array([magnetization(s, signs) for s in spins]).T,
        "energy": np.array([model.electron_energy(model.spectrum(s)) for s in spins]).T,
    }
    found = {name: autocorrelation(values) for name, values in series.items()}
    n = len(spins) * contestant.state.n_chains
    accepted, moved = flags[:, 0].sum(), flags[:, 1].sum()
    return Measured(
        acceptance=float(accepted / max(moved, 1.0)),
        moved=float(moved / n),
        tau={name: a.tau_int for name, a in found.items()},
        tau_error={name: a.tau_int_error for name, a in found.items()},
        means={name: a.mean for name, a in found.items()},
        errors={name: a.stderr for name, a in found.items()},
        diagonalizations=(contestant.weight.n_values + contestant.weight.n_gradients) / n,
        cpu_ms=1e3 * cpu / n,
        longest_wait=_longest_wait(flags[:, 0] > 0.0),
        n_steps=len(spins),
        n_chains=contestant.state.n_chains,
    )


def _longest_wait(accepted: npt.NDArray[np.bool_]) -> int:
    longest = np.zeros(accepted.shape[1], dtype=int)
    current = longest.copy()
    for row in accepted:
        current = np.where(row, 0, current + 1)
        longest = np.maximum(longest, current)
    return int(longest.max())
