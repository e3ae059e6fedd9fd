"""Ensembles: order, resumption, failures, killed workers, canonical keys."""

import functools
import importlib
import inspect
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kakehashi_core._ensemble_store import input_key, read_result, write_result
from kakehashi_core.ensembles import TaskFailure, run_ensemble
from kakehashi_core.errors import EnsembleError, InvalidInputError, LockedError
from kakehashi_core.files import directory_lock


def walk(value: dict[str, Any]) -> dict[str, Any]:
    """A random walk: arrays, scalars and text, repeatable from its seed."""
    rng = np.random.default_rng(value["seed"])
    path = rng.standard_normal((value["steps"], 2)).cumsum(axis=0)
    return {"path": path, "end": tuple(path[-1].tolist()), "norm": np.float32(path[-1, 0])}


def log_and_walk(log: str, value: dict[str, Any]) -> dict[str, Any]:
    with Path(log).open("a") as file:
        file.write(f"{value['seed']}\n")
    if value.get("fail"):
        raise ValueError(f"seed {value['seed']} is unlucky")
    if value.get("kill") and not Path(value["kill"]).exists():
        Path(value["kill"]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return walk(value)


def identity(value: Any) -> Any:
    return value


def make_inputs(n: int) -> list[dict[str, Any]]:
    return [{"seed": seed, "steps": 5} for seed in range(n)]


def logged(tmp_path: Path) -> tuple[functools.partial[Any], Callable[[], list[int]]]:
    log = tmp_path / "log"
    log.touch()
    return functools.partial(log_and_walk, str(log)), lambda: [
        int(line) for line in log.read_text().split()
    ]


def assert_same(one: Any, other: Any) -> None:
    """Equal in type, dtype and every bit."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray | np.generic):
        assert one.dtype == other.dtype
        assert np.shape(one) == np.shape(other)
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert repr(one) == repr(other)


@pytest.fixture
def processes() -> Iterator[Callable[[int], Executor]]:
    opened: list[Executor] = []

    def start(n: int) -> Executor:
        context = multiprocessing.get_context("spawn")
        opened.append(ProcessPoolExecutor(n, mp_context=context))
        return opened[-1]

    yield start
    for executor in opened:
        executor.shutdown(wait=True, cancel_futures=True)


def test_results_come_in_input_order_from_any_executor(tmp_path: Path) -> None:
    """Oracle: a plain loop."""
    inputs = make_inputs(8)
    expected = [walk(value) for value in inputs]
    assert_same(run_ensemble(walk, inputs), expected)
    assert_same(run_ensemble(walk, inputs, directory=tmp_path / "serial"), expected)
    with ThreadPoolExecutor(3) as executor:
        assert_same(run_ensemble(walk, iter(inputs), executor=executor), expected)
        parallel = run_ensemble(walk, inputs, executor=executor, directory=tmp_path / "threads")
        assert_same(parallel, expected)


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    task, calls = logged(tmp_path)
    first = run_ensemble(task, make_inputs(3), directory=tmp_path / "run")
    second = run_ensemble(task, make_inputs(5)[::-1], directory=tmp_path / "run")
    assert sorted(calls()) == [0, 1, 2, 3, 4]
    assert_same(second[::-1][:3], first)
    run_ensemble(task, make_inputs(3), directory=tmp_path / "run", version="2")
    assert sorted(calls()) == [0, 0, 1, 1, 2, 2, 3, 4]


def test_equal_inputs_are_computed_once(tmp_path: Path) -> None:
    task, calls = logged(tmp_path)
    value = make_inputs(1)[0]
    results = run_ensemble(task, [value, dict(reversed(value.items()))], directory=tmp_path / "run")
    assert calls() == [0]
    assert_same(results[0], results[1])


def test_empty_ensemble(tmp_path: Path) -> None:
    assert run_ensemble(walk, []) == []
    assert run_ensemble(walk, [], directory=tmp_path) == []


@pytest.mark.parametrize("damage", ["flip json", "flip npz", "no npz", "truncate", "foreign"])
def test_damaged_results_are_computed_again_with_a_warning(tmp_path: Path, damage: str) -> None:
    task, calls = logged(tmp_path)
    run = tmp_path / "run"
    expected = run_ensemble(task, make_inputs(2), directory=run)
    file = min(run.glob("?" * 64 + (".npz" if "npz" in damage else ".json")))
    data = bytearray(file.read_bytes())
    if damage == "no npz":
        file.unlink()
    elif damage == "truncate":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "foreign":
        file.write_bytes(max(run.glob("?" * 64 + ".json")).read_bytes())
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    with pytest.warns(UserWarning, match="damaged and will be computed again") as caught:
        again = run_ensemble(task, make_inputs(2), directory=run)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert len(calls()) == 3
    assert_same(again, expected)
    assert_same(run_ensemble(task, make_inputs(2), directory=run), expected)
    assert len(calls()) == 3


def test_failures_are_listed_after_everything_else_is_done(tmp_path: Path) -> None:
    task, calls = logged(tmp_path)
    inputs = make_inputs(5)
    inputs[1]["fail"] = inputs[3]["fail"] = True
    expected = (
        r"2 of 5 tasks failed: input 1 \(.*\): ValueError: seed 1 is unlucky; input 3 .*"
        r"The other 3 results are kept in .*run"
    )
    with pytest.raises(EnsembleError, match=expected):
        run_ensemble(task, inputs, directory=tmp_path / "run")
    with ThreadPoolExecutor(2) as executor:
        results = run_ensemble(
            task, inputs, directory=tmp_path / "run", executor=executor, on_error="return"
        )
    assert sorted(calls()) == [0, 1, 1, 2, 3, 3, 4]
    assert [type(result) for result in results] == [dict, TaskFailure, dict, TaskFailure, dict]
    failure: Any = results[3]
    assert (failure.index, failure.lost) == (3, False)
    assert "in log_and_walk" in failure.traceback
    with pytest.raises(EnsembleError, match="give a directory to keep them"):
        run_ensemble(task, inputs)


def test_results_that_cannot_be_stored_are_failures(tmp_path: Path) -> None:
    def run(value: Any) -> list[Any]:
        task = functools.partial(make_object, value)
        return run_ensemble(task, [0], directory=tmp_path / value, on_error="return")

    for kind, message in (
        ("object", r"result\['x'\] is a object .*Allowed are"),
        ("array", "array of dtype object"),
        ("key", "keys must be strings"),
        ("masked", "is a MaskedArray"),
        ("surrogate", "cannot be stored as JSON"),
    ):
        (failure,) = run(kind)
        assert isinstance(failure, TaskFailure)
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(failure.error)


def make_object(kind: str, _value: int) -> Any:
    return {
        "object": {"x": object()},
        "array": np.array([None]),
        "key": {1: 2},
        "masked": np.ma.masked_array([1.0], [True]),
        "surrogate": "\ud800",
    }[kind]


def test_killed_workers_lose_only_their_own_tasks(
    tmp_path: Path, processes: Callable[[int], Executor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CHECKS row 36. Oracle: the serial run."""
    task, calls = logged(tmp_path)
    # Spawned workers must be able to import the task; they inherit sys.path, not test modules.
    imports = (
        "import os, signal\nimport numpy as np\nfrom typing import Any\nfrom pathlib import Path\n"
    )
    source = imports + inspect.getsource(walk) + inspect.getsource(log_and_walk)
    (tmp_path / "ensemble_tasks.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("ensemble_tasks")
    monkeypatch.delitem(sys.modules, "ensemble_tasks")
    monkeypatch.setitem(sys.modules, "ensemble_tasks", module)
    task = functools.partial(module.log_and_walk, *task.args)
    inputs = make_inputs(10)
    for seed in (2, 5, 7):
        inputs[seed]["kill"] = str(tmp_path / f"killed-{seed}")
    run = tmp_path / "run"
    kept = 0
    attempts = 0
    while attempts < 5:
        attempts += 1
        options: Any = {"directory": run, "executor": processes(2)}
        results = run_ensemble(task, inputs, **options, on_error="return")
        lost = [result for result in results if isinstance(result, TaskFailure)]
        if not lost:
            break
        assert all(failure.lost for failure in lost)
        assert len(results) - len(lost) >= kept
        kept = len(results) - len(lost)
        with pytest.raises(EnsembleError, match=r"worker died before the task was finished"):
            run_ensemble(task, inputs, **options)  # the same, broken executor
    assert 2 <= attempts <= 4
    assert all((tmp_path / f"killed-{seed}").exists() for seed in (2, 5, 7))
    assert_same(results, [walk(value) for value in inputs])
    total = len(calls())
    run_ensemble(task, inputs, directory=run)
    assert len(calls()) == total


INTERRUPTED = """
import signal, sys, time
from pathlib import Path
from kakehashi_core.ensembles import run_ensemble
# A shell that started the tests in the background made them ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv[2])
from slow_task import slow
run_ensemble(slow, list(range(40)), directory=sys.argv[1])
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_interrupted_run_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    (tmp_path / "slow_task.py").write_text(
        "import time\ndef slow(value):\n    time.sleep(0.02)\n    return value ** 2\n"
    )
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, run, tmp_path], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while len(list(run.glob("?" * 64 + ".json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    with pytest.raises(LockedError, match=f"in use by process {process.pid}"):
        run_ensemble(walk, [], directory=run)
    process.send_signal(how)
    stderr = process.communicate()[1]
    assert process.returncode != 0
    assert ("KeyboardInterrupt" in stderr) == (how == signal.SIGINT)
    finished = {file: file.stat().st_mtime_ns for file in run.glob("?" * 64 + ".json")}
    assert 3 <= len(finished) < 40
    monkeypatch.syspath_prepend(tmp_path)
    import slow_task  # type: ignore[import-not-found]

    monkeypatch.delitem(sys.modules, "slow_task")
    assert run_ensemble(slow_task.slow, list(range(40)), directory=run) == [
        value**2 for value in range(40)
    ]
    assert all(file.stat().st_mtime_ns == time_ns for file, time_ns in finished.items())
    assert not list(run.glob(".*.tmp"))


def test_ctrl_c_stops_what_has_not_started(tmp_path: Path) -> None:
    started = []

    def task(value: int) -> int:
        started.append(value)
        if value == 1:
            raise KeyboardInterrupt
        time.sleep(0.01)
        return value

    with ThreadPoolExecutor(1) as executor, pytest.raises(KeyboardInterrupt):
        run_ensemble(task, range(200), executor=executor)
    assert len(started) < 200
    with pytest.raises(KeyboardInterrupt):
        run_ensemble(task, range(3))
    with directory_lock(tmp_path):
        pass


def test_keys_are_canonical_and_pinned() -> None:
    """The literal guards against a change that would orphan all stored results."""
    value = {"b": [1, 2.5, None, True], "a": np.arange(6, dtype=np.int32).reshape(2, 3)}
    key = input_key(identity, "", value)
    same = {"a": np.asfortranarray(value["a"]).astype(">i4"), "b": (np.int64(1), 2.5, None, True)}
    assert input_key(identity, "", same) == key
    code = (
        "import numpy as np; from kakehashi_core._ensemble_store import input_key\n"
        "def identity(x): pass\n"
        f"identity.__module__ = {identity.__module__!r}\n"
        "print(input_key(identity, '', {'a': np.arange(6, dtype=np.int32).reshape(2, 3),"
        " 'b': [1, 2.5, None, True]}))"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment
        )
        assert done.stdout.strip() == key, done.stderr

    def pinned(_: object) -> None: ...

    pinned.__module__, pinned.__qualname__ = "m", "f"
    assert input_key(pinned, "1", {"x": [1, 0.5]}) == PINNED_KEY


PINNED_KEY = "74394c0f8a8c17cd2f3579fe2a84796b40fe65896eb1b35b72751a6f90868c91"


def test_different_inputs_have_different_keys() -> None:
    zeros = np.zeros(4)
    values: list[Any] = [
        None, True, False, 0, 1, 0.0, -0.0, 1.0, float("nan"), "", "1", "None", [], [0], [[0]],
        [0, 0], {}, {"a": 0}, {"a": [0]}, ["a", 0], zeros, zeros.reshape(2, 2),
        zeros.astype(np.float32), zeros.astype(np.int64), np.zeros(5), np.float32(0), "ab",
        ["ab", "c"], ["a", "bc"], [["a"], "b"], [["a", "b"]],
    ]  # fmt: skip
    keys = [input_key(identity, "", value) for value in values]
    assert len(set(keys)) == len(values)
    others = [
        input_key(walk, "", 0),
        input_key(identity, "1", 0),
        input_key(functools.partial(identity, value=2), "", 0),
        input_key(functools.partial(identity, 2), "", 0),
    ]
    assert len({*keys, *others}) == len(values) + len(others)


def test_unstable_tasks_and_inputs_are_refused_before_anything_runs(tmp_path: Path) -> None:
    def local(value: object) -> object:
        return value

    run = tmp_path / "run"
    for task in (local, lambda value: value, [].append, functools.partial(local, 1)):
        with pytest.raises(InvalidInputError, match="no name that stays the same"):
            run_ensemble(task, [1], directory=run)
    with pytest.raises(InvalidInputError, match=r"input\[3\]\['a'\]\[1\] is a object"):
        run_ensemble(identity, [{"a": [1, object()]}], directory=run)
    with pytest.raises(InvalidInputError, match="on_error must be"):
        run_ensemble(identity, [1], on_error="ignore")  # type: ignore[arg-type]
    assert not run.exists()


def test_results_round_trip_exactly(tmp_path: Path) -> None:
    """Oracle: the result itself."""
    result = {
        "z": [1, 2.5, float("inf"), -0.0, None, True, "text µ", 10**30],
        "a": (np.float64(0.1), np.int8(3), np.bool_(True), np.complex64(1j)),
        "empty": np.zeros((0, 3)),
        "zero-dimensional": np.array(1.5),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "text": np.array(["a", "µ"]),
        "big-endian": np.arange(3, dtype=">i4"),
        "__tuple__": {"__array__": "array0"},
        "nested": {"t": ((1,), [(), {}])},
        "nan": [float("nan")],
    }
    write_result(tmp_path, "0" * 64, result, {})
    assert_same(read_result(tmp_path, "0" * 64), result)
