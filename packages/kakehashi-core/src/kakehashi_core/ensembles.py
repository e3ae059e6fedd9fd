"""Run many independent tasks, on any executor, resumable after a crash.

Every task gets one input. Its result is kept under the hash of task name, version and input, so a
second run computes only what is missing, in whatever order and on however many machines.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from kakehashi_core._ensemble_store import (
    DamagedResultError,
    input_key,
    read_result,
    summary,
    task_name,
    write_result,
)
from kakehashi_core.errors import EnsembleError, InvalidInputError
from kakehashi_core.files import directory_lock
from kakehashi_core.progress import progress_bar

Input = TypeVar("Input")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailure:
    """What stands in place of the result of a failed task with ``on_error="return"``.

    Attributes:
        index: Position of the input.
        input: The input in short.
        error: Type and message of the error.
        traceback: Traceback where there is one.
        lost: True when the worker died (killed, out of memory) and the task itself is not to blame.
    """

    index: int
    input: str
    error: str
    traceback: str = ""
    lost: bool = False

    def __str__(self) -> str:
        return f"input {self.index} ({self.input}): {self.error}"


def run_ensemble(
    task: Callable[[Input], Result],
    inputs: Iterable[Input],
    *,
    directory: str | Path | None = None,
    executor: Executor | None = None,
    description: str = "",
    version: str = "",
    on_error: Literal["raise", "return"] = "raise",
) -> list[Result]:
    """Apply ``task`` to every input and return the results in the order of the inputs.

    A failing task disturbs no other. With a directory, equal inputs are computed once, and each
    result is on disk as soon as it is there: after a crash, Ctrl-C or ``kill -9`` the same call
    goes on where it stopped, and returns the same bits as one that was not interrupted.

    Args:
        task: Function of one input. With a directory it must be defined at the top of a module (or
            be a ``functools.partial`` of such a function). Executors with processes need that too.
        inputs: JSON-able data and NumPy arrays, nested; also seeds, so that results are repeatable.
        directory: Where results are kept; None keeps them in memory. It is locked while this runs.
        executor: Any ``concurrent.futures.Executor``, also of dask; it stays open. None computes
            here, one task after the other.
        description: What the progress bar on stderr says; the name of the task by default.
        version: Part of the key: change it when the task computes something else.
        on_error: "raise" raises after all other tasks are finished; "return" puts a
            ``TaskFailure`` in place of each missing result.

    Raises:
        EnsembleError: If tasks failed or workers died; the message lists inputs and errors.
        InvalidInputError: If task or inputs have no stable key.
        LockedError: If another process works in the directory.
    """
    if on_error not in {"raise", "return"}:
        raise InvalidInputError(f"on_error must be 'raise' or 'return', got {on_error!r}")
    listed = list(inputs)
    keys = _keys(task, version, listed, stored=directory is not None)
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    results: dict[str, Any] = {}
    failures: dict[str, TaskFailure] = {}
    with ExitStack() as stack:
        folder = None if directory is None else stack.enter_context(directory_lock(directory))
        if folder is not None:
            results = _finished(folder, first)
        label = description or getattr(task, "__name__", "tasks")
        advance = stack.enter_context(progress_bar(label, total=len(first)))
        advance(len(results))
        missing = [(i, listed[i]) for key, i in first.items() if key not in results]
        for index, outcome in _outcomes(task, sorted(missing, key=lambda pair: pair[0]), executor):
            if folder is not None and not isinstance(outcome, TaskFailure):
                about = {"task": task_name(task), "version": version}
                stored = _kept(folder, keys[index], outcome, index, listed[index], about)
            else:
                stored = outcome
            (failures if isinstance(stored, TaskFailure) else results)[keys[index]] = stored
            advance(1)
    if failures and on_error == "raise":
        raise EnsembleError(_report(list(failures.values()), len(first), directory))
    ordered = [
        results[key] if key in results else replace(failures[key], index=index)
        for index, key in enumerate(keys)
    ]
    return cast("list[Result]", ordered)


def _keys(
    task: Callable[..., Any], version: str, inputs: Sequence[object], *, stored: bool
) -> list[str]:
    if not stored:  # anything goes that the executor can carry
        return [str(index) for index in range(len(inputs))]
    return [input_key(task, version, value) for value in inputs]


def _finished(folder: Path, keys: Iterable[str]) -> dict[str, Any]:
    results = {}
    for key in keys:
        try:
            results[key] = read_result(folder, key)
        except FileNotFoundError:
            continue
        except DamagedResultError as error:
            warnings.warn(
                f"a stored result in {folder} is damaged and will be computed again: {error}",
                UserWarning,
                stacklevel=3,
            )
    return results


def _kept(
    folder: Path, key: str, outcome: object, index: int, value: object, about: dict[str, str]
) -> Any:
    try:
        write_result(folder, key, outcome, {**about, "input": summary(value)})
    except InvalidInputError as error:
        return _failure(index, value, error)
    # Read back, so that first and resumed runs return the same objects.
    return read_result(folder, key)


def _outcomes(
    task: Callable[[Any], Any], inputs: list[tuple[int, Any]], executor: Executor | None
) -> Iterator[tuple[int, Any]]:
    """Yield index and result or failure, in the order in which tasks finish."""
    if executor is None:
        for index, value in inputs:
            try:
                outcome = task(value)
            except Exception as error:  # noqa: BLE001  one failure must not lose the other results
                outcome = _failure(index, value, error)
            yield index, outcome
        return
    futures: dict[Future[Any], tuple[int, Any]] = {}
    try:
        for index, value in inputs:
            try:
                futures[executor.submit(task, value)] = (index, value)
            except BrokenExecutor as error:
                yield index, _failure(index, value, error)
        for future in as_completed(futures):
            index, value = futures[future]
            problem = future.exception()
            if isinstance(problem, KeyboardInterrupt):  # Ctrl-C reaches the workers too
                raise KeyboardInterrupt
            yield index, future.result() if problem is None else _failure(index, value, problem)
    finally:
        # Reached early by Ctrl-C: what has not started must not start.
        for future in futures:
            future.cancel()


def _failure(index: int, value: object, error: BaseException) -> TaskFailure:
    lost = isinstance(error, BrokenExecutor)
    text = f"{type(error).__name__}: {error}"
    return TaskFailure(
        index=index,
        input=summary(value),
        error=f"worker died before the task was finished ({text})" if lost else text,
        traceback="".join(traceback.format_exception(error)),
        lost=lost,
    )


def _report(failures: list[TaskFailure], total: int, directory: str | Path | None) -> str:
    failures = sorted(failures, key=lambda failure: failure.index)
    shown = "; ".join(str(failure) for failure in failures[:10])
    more = f"; and {len(failures) - 10} more" if len(failures) > 10 else ""
    if directory is None:
        advice = "Finished results are lost; give a directory to keep them."
    else:
        advice = (
            f"The other {total - len(failures)} results are kept in {directory}: the same call "
            "repeats only what failed."
        )
    return f"{len(failures)} of {total} tasks failed: {shown}{more}. {advice}"
