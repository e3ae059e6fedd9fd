"""The training loop: steps, validation, early stopping, checkpoints, resumption."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from kakehashi_core.errors import InvalidInputError, NonFiniteError
from kakehashi_core.files import directory_lock
from kakehashi_core.progress import Advance, progress_bar
from kakehashi_core.training.metrics_file import (
    METRICS_NAME,
    VALIDATION,
    MetricsWriter,
    check_plotting,
    plot_metrics,
)
from kakehashi_core.training.processes import Processes
from kakehashi_core.training.run_directory import (
    StoredState,
    load_state,
    record_config,
    remove_leftovers,
    save_state,
)
from kakehashi_core.training.state_tree import snapshot
from kakehashi_core.training.termination import (
    StoppedError,
    Termination,
    deliver_termination,
    watch_termination,
)
from kakehashi_core.training.trainable import Trainable

SLOW_SECONDS = 5.0
"""Before a step or validation that takes longer the state is saved, so that SIGTERM may break it off."""


class Outcome(StrEnum):
    """Why a training ended."""

    COMPLETE = "complete"
    """All steps were done."""
    EARLY = "early"
    """Validation did not improve any more."""
    CONVERGED = "converged"
    """``step`` raised StopIteration: nothing was left to do."""
    TERMINATED = "terminated"
    """SIGTERM arrived; the same call goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What ``train`` returns.

    Attributes:
        directory: The run directory.
        outcome: Why it ended.
        step: Number of steps done since the start of the run.
        best_step: Step with the best validation, None without validation.
        best_value: The monitored metric there.
        seconds: Time spent in this run, all resumptions together.
    """

    directory: Path
    outcome: Outcome
    step: int
    best_step: int | None
    best_value: float | None
    seconds: float


def train(
    trainable: Trainable,
    directory: str | Path,
    *,
    config: Mapping[str, Any],
    steps: int,
    validate_every: int | None = None,
    monitor: str = "loss",
    maximize: bool = False,
    patience: int | None = None,
    minimum_improvement: float = 0.0,
    checkpoint_seconds: float = 300.0,
    checkpoint_steps: int | None = None,
    restore_best: bool = True,
    plot: bool = True,
    description: str = "training",
) -> TrainingResult:
    """Train until all steps are done or validation stops improving; the same call resumes a run.

    The directory then holds ``config.json``, ``metrics.jsonl`` (one line per step), ``metrics.png`` and
    two generations of checkpoints. Killed at any moment, the same call with a newly built trainable goes
    on from the last checkpoint and ends with the same bits as an uninterrupted run, given the same
    number of threads and versions. A damaged checkpoint is passed over with a warning in favor of the one
    before. SIGTERM makes a checkpoint, then ends the process (status 143) or calls the handler that was
    there before; steps and validations that take seconds are broken off, since the state before them
    is on disk. A finished run returns at once; more ``steps`` or ``patience`` continue it.

    Args:
        trainable: What is trained; changed in place.
        directory: Run directory, created if absent. One process (or group of processes) at a time.
        config: Everything that the training depends on, JSON-able; recorded at the start and compared
            when the run is resumed.
        steps: Number of steps since the start of the run.
        validate_every: Validate after every so many steps; None for never.
        monitor: The validation metric that decides what is best.
        maximize: Whether larger values of it are better.
        patience: Stop after so many validations in a row without improvement; None for never.
        minimum_improvement: What a value must be better by to count as an improvement.
        checkpoint_seconds: Save when so much time has passed since the last checkpoint.
        checkpoint_steps: Save also after every so many steps.
        restore_best: Leave the trainable in its best validated state, instead of the last one.
        plot: Draw ``metrics.png`` at the end; needs matplotlib.
        description: What the progress bar says.

    Raises:
        InvalidInputError: If an option makes no sense, or the configuration differs from the recorded one.
        LockedError: If another process trains in the directory.
        NonFiniteError: If a metric is not finite; the checkpoint from before stays.
        CheckpointError: If no checkpoint is intact.
        UnsupportedError: If a plot is wanted without matplotlib.
        SystemExit: After SIGTERM.
    """
    options = _Options(
        steps=steps,
        validate_every=validate_every,
        monitor=monitor,
        maximize=maximize,
        patience=patience,
        minimum_improvement=minimum_improvement,
        checkpoint_seconds=checkpoint_seconds,
        checkpoint_steps=checkpoint_steps,
    )
    if plot:
        check_plotting()
    directory = Path(directory)
    processes = Processes(getattr(trainable, "fabric", None))
    with ExitStack() as stack:
        termination = stack.enter_context(watch_termination())
        if processes.is_first:
            stack.enter_context(directory_lock(directory))
            remove_leftovers(directory)
            record_config(directory, config, options.rules())
        processes.wait()
        advance = stack.enter_context(progress_bar(description, total=steps))
        run = _Run(trainable, directory, options, processes, termination, advance)
        stack.callback(run.close)
        outcome = run.to_the_end()
        leaving = termination.requested or outcome is Outcome.TERMINATED
        if plot and processes.is_first and not leaving:
            plot_metrics(directory)
        if restore_best and outcome is not Outcome.TERMINATED:
            run.restore_best()
    if leaving:
        deliver_termination()
    return run.result(outcome)


@dataclass(frozen=True, kw_only=True)
class _Options:
    steps: int
    validate_every: int | None
    monitor: str
    maximize: bool
    patience: int | None
    minimum_improvement: float
    checkpoint_seconds: float
    checkpoint_steps: int | None

    def __post_init__(self) -> None:
        for name in ("steps", "validate_every", "patience", "checkpoint_steps"):
            value = getattr(self, name)
            optional = name != "steps"
            if not (optional and value is None) and (type(value) is not int or value < 1):
                raise InvalidInputError(
                    f"{name} must be a positive integer{' or None' if optional else ''}, got {value!r}"
                )
        if self.validate_every is None and self.patience is not None:
            raise InvalidInputError(
                f"patience={self.patience} counts validations, but there are none; give validate_every"
            )
        if self.validate_every is not None and self.validate_every > self.steps:
            raise InvalidInputError(
                f"validate_every={self.validate_every} is larger than steps={self.steps}: there would be "
                "no validation. Lower it, or give None."
            )
        for name in ("minimum_improvement", "checkpoint_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InvalidInputError(f"{name} must be a finite number >= 0, got {value!r}")

    def rules(self) -> dict[str, Any]:
        """Return what changes the numbers; a resumed run must agree on it."""
        return {
            name: getattr(self, name)
            for name in ("validate_every", "monitor", "maximize", "minimum_improvement")
        }


@dataclass(kw_only=True)
class _Position:
    """How far a run has come; goes into every checkpoint.

    Attributes:
        line: Metrics of the last step while its validation is outstanding, else None.
        n_stale: Validations since the best one.
        n_bytes: Length of the metrics file.
    """

    step: int = 0
    line: dict[str, float] | None = None
    converged: bool = False
    best_step: int | None = None
    best_value: float | None = None
    n_stale: int = 0
    n_bytes: int = 0
    seconds: float = 0.0


class _Run:
    """One call of ``train``, from the last checkpoint to the end."""

    def __init__(
        self,
        trainable: Trainable,
        directory: Path,
        options: _Options,
        processes: Processes,
        termination: Termination,
        advance: Advance,
    ) -> None:
        self._trainable = trainable
        self._directory = directory
        self._options = options
        self._processes = processes
        self._termination = termination
        self._advance = advance
        self._position = _Position()
        self._best: Any = None
        self._generation = 0
        self._durations: dict[str, float] = {}
        stored = load_state(directory)
        processes.wait()  # nobody may save before everybody has read
        if stored is not None:
            self._take_over(stored)
        self._unsaved = stored is None
        now = time.monotonic()
        self._started = now - self._position.seconds
        self._last_save = now
        self._metrics = (
            MetricsWriter(directory / METRICS_NAME, n_bytes=self._position.n_bytes)
            if processes.is_first
            else None
        )
        advance(self._position.step)

    def to_the_end(self) -> Outcome:
        if self._unsaved:
            self._save()  # a state that cannot be stored is noticed before hours have passed
        try:
            while True:
                self._finish_line()
                outcome = self._outcome()
                if outcome is not None or self._checkpoint_is_due():
                    self._save()
                if outcome is not None:
                    return outcome
                self._perform("step", self._step)
        except StoppedError:
            return Outcome.TERMINATED

    def restore_best(self) -> None:
        if self._best is not None:
            self._trainable.load_state_dict(self._best)

    def result(self, outcome: Outcome) -> TrainingResult:
        position = self._position
        return TrainingResult(
            directory=self._directory,
            outcome=outcome,
            step=position.step,
            best_step=position.best_step,
            best_value=position.best_value,
            seconds=position.seconds,
        )

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()

    def _take_over(self, stored: StoredState) -> None:
        self._position = _Position(**stored.state["loop"])
        self._best = stored.state["best"]
        self._generation = stored.generation
        self._trainable.load_state_dict(stored.state["trainable"])

    def _perform(self, name: str, part: Callable[[], None]) -> None:
        """Do a step or a validation, saved before if it may take long."""
        expected = self._durations.get(name, math.inf)
        if self._processes.any(expected > SLOW_SECONDS):
            self._save()
        # With several processes a single one must not leave: the others would wait for it forever.
        alone = self._processes.count == 1
        start = time.monotonic()
        with self._termination.abortable(alone and not self._unsaved):
            part()
        self._durations[name] = time.monotonic() - start
        self._unsaved = True

    def _step(self) -> None:
        position = self._position
        try:
            metrics = self._trainable.step()
        except StopIteration:
            position.converged = True
            return
        for name in metrics:
            if name == "step" or name.startswith(VALIDATION):
                raise InvalidInputError(
                    f"step returned a metric named {name!r}; 'step' and names that start with "
                    f"{VALIDATION!r} are taken, use another name"
                )
        checked = self._finite(metrics, position.step + 1, "step")
        position.step += 1
        position.line = {"step": position.step, **checked}

    def _finish_line(self) -> None:
        """Complete the metrics of the last step by its validation and write them."""
        line = self._position.line
        if line is None:
            return
        every = self._options.validate_every
        if every is not None and self._position.step % every == 0:
            self._perform("validation", self._validate)
        if self._metrics is not None:
            self._metrics.write(line)
        self._position.line = None
        self._unsaved = True
        self._advance(1)

    def _validate(self) -> None:
        position, options = self._position, self._options
        metrics = self._finite(self._trainable.validate(), position.step, "validation")
        if options.monitor not in metrics:
            raise InvalidInputError(
                f"validation returned no metric {options.monitor!r}, which is to be monitored; it returned "
                f"{', '.join(map(repr, metrics)) or 'none'}. Choose one of them as monitor."
            )
        value = self._processes.of_first(metrics[options.monitor])
        best = position.best_value
        gain = math.inf if best is None else (value - best if options.maximize else best - value)
        better = gain > 0 and gain >= options.minimum_improvement
        if better:
            self._best = snapshot(self._trainable.state_dict())
            position.best_step, position.best_value = position.step, value
        position.n_stale = 0 if better else position.n_stale + 1
        if position.line is not None:
            position.line |= {VALIDATION + name: number for name, number in metrics.items()}

    def _outcome(self) -> Outcome | None:
        position, patience = self._position, self._options.patience
        if position.converged:
            return Outcome.CONVERGED
        if patience is not None and position.n_stale >= patience:
            return Outcome.EARLY
        if position.step >= self._options.steps:
            return Outcome.COMPLETE
        if self._processes.any(self._termination.requested):
            return Outcome.TERMINATED
        return None

    def _checkpoint_is_due(self) -> bool:
        every = self._options.checkpoint_steps
        if every is not None and self._position.step % every == 0:
            return True
        passed = time.monotonic() - self._last_save
        return self._processes.any(passed >= self._options.checkpoint_seconds)

    def _save(self) -> None:
        if not self._unsaved:
            return
        position = self._position
        position.seconds = time.monotonic() - self._started
        if self._metrics is not None:
            self._metrics.sync()
            position.n_bytes = self._metrics.n_bytes
        state = {
            "loop": dataclasses.asdict(position),
            "trainable": self._trainable.state_dict(),
            "best": self._best,
        }
        self._generation += 1
        if self._processes.is_first:
            save_state(self._directory, state, generation=self._generation)
        self._unsaved = False
        self._last_save = time.monotonic()

    def _finite(self, metrics: Mapping[str, float], step: int, part: str) -> dict[str, float]:
        numbers = {name: float(value) for name, value in metrics.items()}
        bad = {name: value for name, value in numbers.items() if not math.isfinite(value)}
        if bad:
            listed = ", ".join(f"{name} = {value}" for name, value in bad.items())
            raise NonFiniteError(
                f"{part} {step} of the run in {self._directory} returned {listed}. All metrics must be "
                "finite. The last checkpoint is from before; look at metrics.jsonl, then start again in a "
                "new directory with a smaller learning rate or cleaner data."
                if part == "step"
                else f"validation after step {step} of the run in {self._directory} returned {listed}. All "
                "metrics must be finite. Check the validation data, then start again in a new directory."
            )
        return numbers
