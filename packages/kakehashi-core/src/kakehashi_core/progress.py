"""Progress bars on stderr that stay silent when nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""Called with the number of steps that were finished since the last call."""


@contextmanager
def progress_bar(description: str, *, total: int | None = None) -> Iterator[Advance]:
    """Show a bar on stderr while a block runs; off a terminal nothing is written.

    Args:
        description: What is going on, a few words.
        total: Number of steps; None for unknown.

    Yields:
        A function to call with the number of steps just finished.
    """
    if not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        # Text taken as it is: descriptions may hold square brackets.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        redirect_stdout=False,  # stdout may be a file while stderr is a terminal
    )
    with bar:
        task = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(task, steps)


def _ignore(steps: int) -> None:
    del steps
