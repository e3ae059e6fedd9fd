"""The training loop with a trainable of plain arrays: resumption, stopping, files, signals."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kakehashi_core.errors import (
    CheckpointError,
    InvalidInputError,
    LockedError,
    NonFiniteError,
)
from kakehashi_core.files import directory_lock
from kakehashi_core.training import (
    Outcome,
    Trainable,
    TrainingResult,
    load_random_state,
    random_state,
    read_metrics,
    train,
)

STEPS = 12
SETTINGS: dict[str, Any] = {
    "config": {"kind": "walk"},
    "steps": STEPS,
    "validate_every": 3,
    "checkpoint_steps": 2,
    "plot": False,
    "restore_best": False,
}


class Walk:
    """A random walk; every step depends on all earlier ones and on the random stream."""

    def __init__(self, *, seed: int = 1, crash_at: int | None = None) -> None:
        self.rng = np.random.default_rng(seed)
        self.place = np.zeros(3)
        self.n_steps = 0
        self.crash_at = crash_at

    def step(self) -> dict[str, float]:
        if self.n_steps == self.crash_at:
            self.place[:] = 99.0  # a crash in the middle of a step leaves a mess
            raise KeyError("crash")
        self.place = 0.9 * self.place + self.rng.standard_normal(3)
        self.n_steps += 1
        return {"loss": float(self.place @ self.place)}

    def validate(self) -> dict[str, float]:
        return {"loss": float(abs(self.place).sum()), "first": self.place[0]}

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place, "n_steps": self.n_steps, "rng": random_state(self.rng)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        self.place = np.array(state["place"])
        self.n_steps = state["n_steps"]
        load_random_state(self.rng, state["rng"])


class Scripted(Walk):
    """Validates to given numbers, one after the other."""

    def __init__(self, values: list[float], **options: Any) -> None:
        super().__init__(**options)
        self.values = values

    def validate(self) -> dict[str, float]:
        return {"score": self.values[self.n_steps - 1]}


def run(directory: Path, walk: Walk | None = None, **changes: Any) -> tuple[Walk, TrainingResult]:
    walk = walk or Walk()
    return walk, train(walk, directory, **(SETTINGS | changes))


Reference = tuple[Walk, bytes]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The uninterrupted run and its metrics file."""
    directory = tmp_path_factory.mktemp("reference")
    walk, result = run(directory)
    assert (result.outcome, result.step) == (Outcome.COMPLETE, STEPS)
    assert abs(walk.place).min() > 1e-3
    return walk, (directory / "metrics.jsonl").read_bytes()


def assert_equal(walk: Walk, other: Walk) -> None:
    assert walk.place.tobytes() == other.place.tobytes()
    assert walk.n_steps == other.n_steps
    assert random_state(walk.rng) == random_state(other.rng)


def newest(directory: Path) -> Path:
    return max(directory.glob("checkpoint-*.safetensors"), key=lambda path: path.stat().st_mtime_ns)


def test_walk_is_a_trainable() -> None:
    assert isinstance(Walk(), Trainable)


@pytest.mark.parametrize("crash_at", range(STEPS))
def test_resumed_after_a_crash_equals_uninterrupted(
    tmp_path: Path, reference: Reference, crash_at: int
) -> None:
    """Oracle: the uninterrupted run, bit for bit, state, random stream and metrics file."""
    expected, metrics = reference
    with pytest.raises(KeyError, match="crash"):
        run(tmp_path / "run", Walk(crash_at=crash_at))
    # Another seed: everything must come from the checkpoint.
    walk, result = run(tmp_path / "run", Walk(seed=99))
    assert result.outcome is Outcome.COMPLETE
    assert_equal(walk, expected)
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == metrics
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == list(range(1, STEPS + 1))


def test_more_steps_continue_a_finished_run(tmp_path: Path, reference: Reference) -> None:
    """Oracle: a run that had all the steps from the start."""
    expected, metrics = reference
    first, result = run(tmp_path / "run", steps=5)
    assert (result.step, first.n_steps) == (5, 5)
    walk, result = run(tmp_path / "run", Walk(seed=2))
    assert_equal(walk, expected)
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == metrics
    again, repeated = run(tmp_path / "run", Walk(crash_at=STEPS))
    assert repeated == result
    assert again.place.tobytes() == walk.place.tobytes()


@pytest.mark.parametrize(
    ("values", "options", "best_step", "last_step"),
    [
        ([5.0, 4.0, 4.5, 3.0, 3.2, 3.1, 3.05, 1.0], {"patience": 3}, 4, 7),
        ([5.0, 4.0, 4.5, 3.0, 3.2, 3.1, 3.05, 1.0], {"patience": 4}, 8, 8),
        ([5.0, 4.9, 4.8, 4.7, 0.0], {"patience": 2, "minimum_improvement": 0.5}, 1, 3),
        ([5.0, 5.0, 5.0, 5.0, 0.0], {"patience": 2}, 1, 3),
        ([1.0, 2.0, 1.5, 1.9, 9.0], {"patience": 2, "maximize": True}, 2, 4),
    ],
)
@pytest.mark.parametrize("crash_at", [None, 2])
def test_early_stopping(
    tmp_path: Path,
    values: list[float],
    options: dict[str, Any],
    best_step: int,
    last_step: int,
    crash_at: int | None,
) -> None:
    """Oracle: stopping worked out by hand; a crash changes nothing, the best state comes back."""
    settings = {"validate_every": 1, "monitor": "score", "steps": len(values), **options}
    settings["restore_best"] = True
    if crash_at is not None:
        with pytest.raises(KeyError):
            run(tmp_path, Scripted(values, crash_at=crash_at), **settings)
    walk, result = run(tmp_path, Scripted(values), **settings)
    early = last_step < len(values)
    assert result.outcome is (Outcome.EARLY if early else Outcome.COMPLETE)
    assert (result.best_step, result.best_value) == (best_step, values[best_step - 1])
    assert result.step == last_step
    assert walk.n_steps == best_step
    free = Walk()
    for _ in range(best_step):
        free.step()
    assert walk.place.tobytes() == free.place.tobytes()


def test_more_patience_continues_an_early_stop(tmp_path: Path) -> None:
    values = [5.0, 4.0, 4.5, 4.6, 1.0, 2.0]
    settings = {"validate_every": 1, "monitor": "score", "steps": 6}
    assert run(tmp_path, Scripted(values), patience=2, **settings)[1].outcome is Outcome.EARLY
    _, result = run(tmp_path, Scripted(values), patience=3, **settings)
    assert (result.outcome, result.best_step) == (Outcome.COMPLETE, 5)


def test_solver_that_has_converged_ends_the_run(tmp_path: Path) -> None:
    class Solver(Walk):
        def step(self) -> dict[str, float]:
            if self.n_steps == 4:
                raise StopIteration
            return super().step()

    for _ in range(2):
        solver, result = run(tmp_path, Solver(), restore_best=True)
        assert (result.outcome, result.step) == (Outcome.CONVERGED, 4)
    assert len(read_metrics(tmp_path)) == 4
    assert solver.n_steps == result.best_step == 3


def test_second_process_is_refused(tmp_path: Path) -> None:
    run(tmp_path, steps=3)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("[cm]*")}
    with directory_lock(tmp_path), pytest.raises(LockedError, match="is in use by"):
        run(tmp_path)
    assert before == {path.name: path.read_bytes() for path in tmp_path.glob("[cm]*")}


@pytest.mark.parametrize("damage", ["flip", "truncate", "manifest", "empty"])
def test_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, reference: Reference, damage: str
) -> None:
    """Oracle: the uninterrupted run, from one generation earlier."""
    expected, metrics = reference
    with pytest.raises(KeyError):
        run(tmp_path / "run", Walk(crash_at=9))
    path = newest(tmp_path / "run")
    if damage == "manifest":
        path = path.with_suffix(".json")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "truncate":
        content = content[: len(content) // 2]
    path.write_bytes(b"" if damage == "empty" else content)
    with pytest.warns(UserWarning, match=r"damaged .*checkpoint-\d.* goes on from checkpoint-\d"):
        walk, _ = run(tmp_path / "run")
    assert_equal(walk, expected)
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == metrics


def test_no_intact_checkpoint_is_an_error(tmp_path: Path) -> None:
    run(tmp_path)
    for path in tmp_path.glob("checkpoint-*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"no checkpoint .* is intact .*Restore the files"):
        run(tmp_path)


def test_shortened_metrics_file_is_reported(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(b"")
    with pytest.warns(UserWarning, match="metrics were lost"):
        run(tmp_path)


def test_leftovers_of_dead_writers_are_removed(tmp_path: Path) -> None:
    run(tmp_path, steps=3)
    names = {path.name for path in tmp_path.iterdir()}
    for name in ("checkpoint-0.safetensors", "checkpoint-1.json.next", "config.json"):
        (tmp_path / f".{name}.elsewhere.1.abcd.tmp").touch()
    run(tmp_path, steps=3)
    assert {path.name for path in tmp_path.iterdir()} == names


def test_changed_configuration_is_refused(tmp_path: Path) -> None:
    config = {"model": {"width": 8, "activation": "silu"}, "rate": 0.1, "seed": 1}
    run(tmp_path, config=config)
    with pytest.raises(InvalidInputError, match="another configuration") as caught:
        changed = {"model": {"width": 16, "activation": "silu"}, "rate": 0.1, "data": "new"}
        run(tmp_path, config=changed, monitor="first")
    for words in (
        "config.model.width was 8, now it is 16",
        "config.seed was 1, now it is absent",
        "config.data was absent, now it is 'new'",
        "rules.monitor was 'loss', now it is 'first'",
    ):
        assert words in str(caught.value)
    assert "rate" not in str(caught.value)
    run(tmp_path, config=config)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        run(tmp_path, config=config)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_metric_that_is_not_finite_is_an_error(tmp_path: Path, value: float) -> None:
    class Diverging(Walk):
        def step(self) -> dict[str, float]:
            return {**super().step(), "energy": value if self.n_steps == 6 else 0.0}

    for _ in range(2):  # the checkpoint from before step 6 stays good
        with pytest.raises(NonFiniteError, match=rf"^step 6 of the run .* energy = {value}\."):
            run(tmp_path, Diverging())
    assert read_metrics(tmp_path)[-1]["step"] == 5


def test_validation_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    values = [1.0, 2.0, float("nan")]
    with pytest.raises(NonFiniteError, match=r"^validation after step 3 of the run .* score = nan"):
        run(tmp_path, Scripted(values), validate_every=1, monitor="score")


def test_state_that_cannot_be_stored_is_refused_before_the_first_step(tmp_path: Path) -> None:
    class Odd(Walk):
        def state_dict(self) -> dict[str, Any]:
            return {"inner": [{"rng": self.rng}]}

    odd = Odd()
    with pytest.raises(InvalidInputError, match=r"\['inner'\]\[0\]\['rng'\] is a Generator"):
        run(tmp_path, odd)
    assert odd.n_steps == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be a positive integer, got 0"),
        ({"steps": 2.5}, "steps must be a positive integer, got 2.5"),
        ({"checkpoint_steps": -1}, "checkpoint_steps must be a positive integer or None"),
        ({"validate_every": 100}, "validate_every=100 is larger than steps=12"),
        ({"validate_every": None, "patience": 2}, "patience=2 counts validations"),
        ({"checkpoint_seconds": float("nan")}, "checkpoint_seconds must be a finite number"),
        ({"config": {"a": object()}}, "configuration cannot be written as JSON"),
        ({"config": {"a": float("inf")}}, "configuration cannot be written as JSON"),
        ({"monitor": "lost"}, "no metric 'lost'.* returned 'loss', 'first'"),
    ],
)
def test_senseless_options_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        run(tmp_path, **changes)


@pytest.mark.parametrize("name", ["step", "validation_loss"])
def test_taken_metric_names_are_refused(tmp_path: Path, name: str) -> None:
    class Naming(Walk):
        def step(self) -> dict[str, float]:
            return {name: 1.0}

    with pytest.raises(InvalidInputError, match=f"metric named '{name}'"):
        run(tmp_path, Naming())


@pytest.mark.parametrize(("seconds", "lost"), [(0.0, 0), (1e6, 7)])
def test_checkpoints_follow_the_clock(tmp_path: Path, seconds: float, lost: int) -> None:
    """With zero seconds every step is saved and a crash loses none; without saving it loses all."""
    settings = {"checkpoint_steps": None, "validate_every": None, "checkpoint_seconds": seconds}
    with pytest.raises(KeyError):
        run(tmp_path, Walk(crash_at=7), **settings)

    calls: list[int] = []

    class Counting(Walk):
        def step(self) -> dict[str, float]:
            calls.append(self.n_steps)
            return super().step()

    with pytest.raises(KeyError):
        run(tmp_path, Counting(crash_at=7), **settings)
    assert len(calls) == lost + 1


class Signalled(Walk):
    """Sends SIGTERM to its own process in the middle of a step."""

    def step(self) -> dict[str, float]:
        if self.n_steps == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().step()


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM kills at once there")
def test_termination_saves_and_calls_the_handler_from_before(
    tmp_path: Path, reference: Reference
) -> None:
    expected, metrics = reference
    received: list[int] = []

    def handler(number: int, frame: object) -> None:
        received.append(number)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        _, result = run(tmp_path / "run", Signalled(), checkpoint_steps=None)
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
    assert (result.outcome, result.step) == (Outcome.TERMINATED, 5)
    walk = Walk(crash_at=0)  # must not start again
    run(tmp_path / "run", walk)
    assert_equal(walk, expected)
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == metrics


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM kills at once there")
def test_termination_without_a_handler_leaves_with_the_usual_status(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, Signalled())
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert run(tmp_path)[1].outcome is Outcome.COMPLETE


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM kills at once there")
@pytest.mark.parametrize("part", ["step", "validate"])
def test_termination_breaks_off_what_takes_long(
    tmp_path: Path, reference: Reference, part: str
) -> None:
    expected, metrics = reference
    finished: list[bool] = []

    def sleep(self: Walk) -> dict[str, float]:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        time.sleep(60.0)
        finished.append(True)
        return {}

    slow = Walk()
    setattr(slow, part, sleep.__get__(slow))
    with pytest.raises(SystemExit):
        run(tmp_path / "run", slow)
    assert not finished
    walk, _ = run(tmp_path / "run", Walk(seed=5))
    assert_equal(walk, expected)
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == metrics


def test_training_outside_the_main_thread(tmp_path: Path) -> None:
    results: list[TrainingResult] = []
    thread = threading.Thread(target=lambda: results.append(run(tmp_path)[1]))
    thread.start()
    thread.join()
    assert results[0].outcome is Outcome.COMPLETE


def start_process(directory: Path, settings: dict[str, Any]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Python fears threads; torch's are idle
        process = os.fork()
    if process == 0:
        try:
            run(directory, Walk(), **settings)
        finally:
            os._exit(0)
    return process


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_times_equals_uninterrupted(tmp_path: Path) -> None:
    """Oracle: the uninterrupted run, after ``kill -9`` while nearly all time goes into saving."""
    settings = SETTINGS | {"steps": 150, "checkpoint_steps": 1, "validate_every": 7}
    expected, _ = run(tmp_path / "reference", **(settings | {"checkpoint_steps": None}))
    rng = np.random.default_rng(3)
    directory = tmp_path / "run"
    metrics = directory / "metrics.jsonl"
    kills = 0
    for _ in range(8):
        process = start_process(directory, settings)
        time.sleep(rng.uniform(0.05, 0.5))
        os.kill(process, signal.SIGKILL)
        kills += os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert kills >= 2
    # How far it came depends on the machine.
    assert len(read_metrics(directory)) > 3
    walk, result = run(directory, Walk(seed=8), **settings)
    assert_equal(walk, expected)
    assert result.step == 150
    assert metrics.read_bytes() == (tmp_path / "reference/metrics.jsonl").read_bytes()
    assert not list(directory.glob(".*"))
