"""Run chains: warm-up, measurements, checkpoints that resume to the last bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains.autocorrelation import Autocorrelation, autocorrelation
from kakehashi_core.chains.convergence import effective_sample_size, rhat
from kakehashi_core.chains.kernels import ChainState, Kernel, Positions
from kakehashi_core.errors import CheckpointError, InvalidInputError, NonFiniteError
from kakehashi_core.files import directory_lock
from kakehashi_core.progress import progress_bar
from kakehashi_core.random_streams import recorded_seed
from kakehashi_core.results import Estimate

FloatArray = npt.NDArray[np.float64]
Observable = Callable[[ChainState], npt.ArrayLike]
"""State to one number per chain, (n_chains,), or several, (n_chains, ...)."""

CHECKPOINT_SECONDS = 60.0
SAME_WEIGHT = 1e-6
"""Log-weights of saved positions that differ by less, relative or absolute, are alike: kernels that add up
changes of energies drift a little in long runs."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChainRun:
    """What a run measured.

    Attributes:
        series: Observable by name, (n_chains, n_measurements, ...).
        state: Where the chains stand at the end.
        acceptance: Share of accepted proposals of each chain after the warm-up, (n_chains,); of those that
            moved, where some did not.
        n_steps: Steps of the kernel after the warm-up.
        seed: What all random numbers came from.
    """

    series: Mapping[str, FloatArray]
    state: ChainState
    acceptance: FloatArray
    n_steps: int
    seed: int

    def autocorrelation(self, name: str) -> Autocorrelation:
        """Return how long an observable is remembered, in measurements.

        Raises:
            InvalidInputError: If it is not one number per chain.
        """
        return autocorrelation(self._scalar(name))

    def estimate(self, name: str) -> Estimate:
        """Return the average of an observable with its error."""
        return self.autocorrelation(name).estimate()

    def diagnostics(self) -> dict[str, float]:
        """Return acceptance, and of each scalar observable tau_int, ESS and, of several chains, R-hat."""
        found = {"acceptance": float(self.acceptance.mean())}
        for name, values in self.series.items():
            if values.ndim == 2:
                found[f"tau_int {name}"] = autocorrelation(values).tau_int
                if len(values) > 1:
                    found[f"ESS {name}"] = effective_sample_size(values)
                    found[f"R-hat {name}"] = rhat(values)
        return found

    def _scalar(self, name: str) -> FloatArray:
        if name not in self.series or self.series[name].ndim != 2:
            numbers = [n for n, values in self.series.items() if values.ndim == 2]
            raise InvalidInputError(
                f"{name!r} is no observable with one number per chain; these are: {', '.join(numbers)}"
            )
        return self.series[name]


def run_chains(
    kernel: Kernel,
    positions: Positions,
    *,
    observables: Mapping[str, Observable],
    n_measurements: int,
    thin: int = 1,
    warmup: int = 0,
    seed: int | None = None,
    directory: str | Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    description: str = "chains",
) -> ChainRun:
    """Move chains and measure; with a directory, the same call goes on where it was killed.

    The kernel adapts during the warm-up and is frozen before the first measurement.

    Args:
        kernel: Moves all chains at once. It must be newly made: a resumed run loads what it had learned.
        positions: Where chains start, (n_chains, ...).
        observables: What is measured, by name.
        n_measurements: How often.
        thin: Steps before each measurement.
        warmup: Steps before the first of these.
        seed: Of everything; None draws one and records it, but cannot be resumed.
        directory: Where checkpoints are kept; locked while this runs. None keeps none.
        checkpoint_seconds: Time between checkpoints.
        description: For the progress bar.

    Raises:
        InvalidInputError: If a number makes no sense, an observable is not one, the warm-up is too short for
            the kernel, or the directory holds a run with other settings or of another weight.
        NonFiniteError: If an observable is not finite; the message names the chain.
        CheckpointError: If no checkpoint in the directory is intact.
        LockedError: If another process works in the directory.
    """
    for name, number, least in (
        ("n_measurements", n_measurements, 1),
        ("thin", thin, 1),
        ("warmup", warmup, 0),
    ):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
            raise InvalidInputError(f"{name} must be an integer, got {number!r}")
        if number < least:
            raise InvalidInputError(f"{name} must be at least {least}, got {number}")
    if warmup < kernel.least_warmup:
        raise InvalidInputError(
            f"warmup is {warmup}; {type(kernel).__name__} learns during at least {kernel.least_warmup} steps"
        )
    _check_observables(observables)
    used = recorded_seed(seed)
    settings = {
        "n_measurements": int(n_measurements),
        "thin": int(thin),
        "warmup": int(warmup),
        "seed": used,
        "shape": list(np.shape(positions)),
        "observables": sorted(observables),
        "kernel": type(kernel).__name__,
    }
    with ExitStack() as stack:
        store = None
        if directory is not None:
            stack.enter_context(directory_lock(directory))
            store = _Store(Path(directory), settings)
        saved_state = None if store is None else store.load()
        run = _Running(kernel, positions, observables, settings, saved_state)
        advance = stack.enter_context(progress_bar(description, total=run.n_total))
        advance(run.n_done)
        saved = time.monotonic()
        while run.n_done < run.n_total:
            run.advance()
            advance(1)
            if store is not None and time.monotonic() - saved > checkpoint_seconds:
                store.save(run.state_dict())
                saved = time.monotonic()
        if store is not None:
            store.save(run.state_dict())
    return run.result()


class _Running:
    """A run that knows how far it is."""

    def __init__(
        self,
        kernel: Kernel,
        positions: Positions,
        observables: Mapping[str, Observable],
        settings: Mapping[str, Any],
        saved: Mapping[str, Any] | None,
    ) -> None:
        self._kernel, self._observables, self._settings = kernel, observables, settings
        self._state = kernel.start(np.array(positions if saved is None else saved["positions"]))
        self._rng = np.random.default_rng(settings["seed"])
        self._series: dict[str, FloatArray] = {}
        n_chains = len(positions)
        self._accepted = np.zeros(n_chains, dtype=np.int64)
        self._moved = np.zeros(n_chains, dtype=np.int64)
        self.n_done = 0
        if saved is not None:
            self._take_over(saved)
        if self.n_done < self.n_total:
            for name in observables:
                self._values(name)

    @property
    def n_total(self) -> int:
        """Steps of warm-up and measurements together."""
        return int(
            self._settings["warmup"] + self._settings["thin"] * self._settings["n_measurements"]
        )

    def advance(self) -> None:
        """Do one step; adapt in the warm-up, measure when it is time."""
        step = self._kernel.step(self._state, self._rng)
        self._state = step.state
        self.n_done += 1
        after = self.n_done - self._settings["warmup"]
        if after <= 0:
            self._kernel.adapt(step)
            return
        self._accepted += step.accepted & step.moved
        self._moved += step.moved
        if after % self._settings["thin"] == 0:
            self._measure(after // self._settings["thin"] - 1)

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on."""
        return {
            "settings": dict(self._settings),
            "n_done": self.n_done,
            "positions": self._state.positions,
            "log_weights": self._state.log_weights,
            "kernel": self._kernel.state_dict(),
            "rng": self._rng.bit_generator.state,
            "series": dict(self._series),
            "accepted": self._accepted,
            "moved": self._moved,
        }

    def result(self) -> ChainRun:
        """Return what was measured."""
        return ChainRun(
            series=self._series,
            state=self._state,
            acceptance=self._accepted / np.maximum(self._moved, 1),
            n_steps=self.n_done - self._settings["warmup"],
            seed=self._settings["seed"],
        )

    def _take_over(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, once the kernel has weighed its positions anew."""
        before, now = np.array(state["log_weights"]), np.asarray(self._state.log_weights)
        _check_same_weight(before, now, type(self._kernel).__name__)
        self.n_done = int(state["n_done"])
        # The bits that were saved, not those of the new weight: the run goes on as if it had not stopped.
        self._state = ChainState(np.array(state["positions"]), before)
        self._kernel.load_state_dict(state["kernel"])
        self._rng.bit_generator.state = state["rng"]
        self._series = {name: np.array(values) for name, values in state["series"].items()}
        self._accepted, self._moved = np.array(state["accepted"]), np.array(state["moved"])

    def _measure(self, number: int) -> None:
        for name in self._observables:
            values = self._values(name)
            if not np.isfinite(values).all():
                chain = int(np.argwhere(~np.isfinite(values))[0][0])
                raise NonFiniteError(
                    f"observable {name!r} is not finite for chain {chain} at measurement {number}; look at "
                    "the state there"
                )
            if name not in self._series:
                n = self._settings["n_measurements"]
                self._series[name] = np.zeros((len(values), n, *values.shape[1:]))
            self._series[name][:, number] = values

    def _values(self, name: str) -> FloatArray:
        """Return an observable where the chains stand, (n_chains, ...)."""
        raw = np.asarray(self._observables[name](self._state))
        if raw.dtype.kind not in "biuf":
            raise InvalidInputError(
                f"observable {name!r} returned {raw.dtype} values; real numbers are needed. Measure real and "
                "imaginary parts one by one."
            )
        values = raw.astype(np.float64)
        if values.ndim < 1 or len(values) != self._state.n_chains:
            raise InvalidInputError(
                f"observable {name!r} has shape {values.shape}; the first axis must be that of the "
                f"{self._state.n_chains} chains"
            )
        known = self._series.get(name)
        if known is not None and (known.shape[:1] + known.shape[2:]) != values.shape:
            raise InvalidInputError(
                f"observable {name!r} has shape {values.shape}, and had "
                f"{known.shape[:1] + known.shape[2:]} before; use the same, or a new directory"
            )
        return values


def _check_observables(observables: Mapping[str, Observable]) -> None:
    if not isinstance(observables, Mapping):
        raise InvalidInputError(
            f"observables are a {type(observables).__name__}; a mapping of names to functions of the state "
            "is needed, such as {'x': lambda state: state.positions[:, 0]}"
        )
    for name, function in observables.items():
        if not isinstance(name, str) or not callable(function):
            raise InvalidInputError(
                f"observable {name!r} is a {type(function).__name__}; a name and a function of the state are "
                "needed"
            )


def _check_same_weight(before: FloatArray, now: FloatArray, kernel: str) -> None:
    """Refuse a saved run whose positions have another weight now.

    Raises:
        InvalidInputError: If log-weights differ by more than rounding.
    """
    same = before.shape == now.shape and np.allclose(
        before, now, rtol=SAME_WEIGHT, atol=SAME_WEIGHT
    )
    if same:
        return
    where, shown = "", f"of shape {before.shape}, now {now.shape}"
    if before.shape == now.shape:
        index = tuple(
            int(k)
            for k in np.argwhere(~np.isclose(before, now, rtol=SAME_WEIGHT, atol=SAME_WEIGHT))[0]
        )
        where = f" of chain {index[0]}" + (f", copy {index[1]}" if len(index) > 1 else "")
        shown = f"{before[index]:.10g} when they were saved, now {now[index]:.10g}"
    raise InvalidInputError(
        f"the directory holds a run of another weight: log-weights{where} were {shown} by this {kernel}. "
        "Use the model of that run, or a new directory."
    )


class _Store:
    """Checkpoints of a run in a directory that this process has locked."""

    def __init__(self, directory: Path, settings: Mapping[str, Any]) -> None:
        self._directory, self._settings = directory, settings
        self._generation = 0

    def load(self) -> Mapping[str, Any] | None:
        """Return the last state, or None for a new run."""
        # torch writes the tensors; importing this module does without it.
        from kakehashi_core.training.run_directory import load_state, remove_leftovers

        remove_leftovers(self._directory)
        found = load_state(self._directory)
        if found is None:
            return None
        self._generation = found.generation + 1
        state: Mapping[str, Any] = found.state
        if not isinstance(state, Mapping) or "settings" not in state:
            raise CheckpointError(
                f"{self._directory} holds a run of another kind; take a new directory"
            )
        before = state["settings"]
        # Runs of before "kernel" was recorded have none.
        changed = [k for k, v in self._settings.items() if k in before and before[k] != v]
        if changed:
            raise InvalidInputError(
                f"the run in {self._directory} was started with {changed[0]} = {before.get(changed[0])!r}, "
                f"now it is {self._settings[changed[0]]!r}; use the same, or a new directory"
            )
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a state; the one before stays until it is complete."""
        from kakehashi_core.training.run_directory import save_state

        save_state(self._directory, dict(state), generation=self._generation)
        self._generation += 1
