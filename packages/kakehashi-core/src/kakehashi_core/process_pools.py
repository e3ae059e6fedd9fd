"""Worker processes that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

from kakehashi_core.errors import InvalidInputError


@contextmanager
def process_pool(workers: int) -> Iterator[Executor | None]:
    """Give an executor with this many processes; None for one, which is this process.

    Args:
        workers: Processes, each with the number of threads that the environment sets.

    Raises:
        InvalidInputError: If the number is not positive.
    """
    if workers < 1:
        raise InvalidInputError(f"workers must be at least 1, got {workers}")
    if workers == 1:
        yield None
        return
    # Forked children would inherit the threads of torch and OpenMP in an undefined state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        max_workers=workers, mp_context=context, initializer=_end_with_parent
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Let this worker process end when its parent was killed; it would wait for tasks forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
