"""SIGTERM during training: stop where the state is on disk, then let the process end as it would."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StoppedError(BaseException):
    """Leaves a step or a validation in the middle; its state is on disk already."""


class Termination:
    """Whether SIGTERM has arrived.

    Attributes:
        requested: True once it has.
    """

    def __init__(self) -> None:
        self.requested = False
        self._abortable = False

    @contextmanager
    def abortable(self, yes: bool) -> Iterator[None]:
        """Let SIGTERM break off a block at once, if nothing would be lost.

        Args:
            yes: True if the state before the block is on disk.
        """
        try:
            self._abortable = yes
            if yes and self.requested:  # it came just before
                raise StoppedError
            yield
        finally:
            self._abortable = False

    def arrived(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        del number, frame
        self.requested = True
        if self._abortable:
            self._abortable = False
            raise StoppedError


@contextmanager
def watch_termination() -> Iterator[Termination]:
    """Catch SIGTERM inside a block; afterwards the handler is the one from before.

    Nothing is caught outside the main thread, where Python allows no handlers, nor where the process
    ignores the signal.
    """
    termination = Termination()
    previous = _install(termination.arrived)
    try:
        yield termination
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def deliver_termination() -> None:
    """Hand SIGTERM on after everything is in order: to the user's handler, else leave the process.

    Raises:
        SystemExit: With the status that shells use, 143, if the user has no handler.
    """
    if callable(signal.getsignal(signal.SIGTERM)):
        signal.raise_signal(signal.SIGTERM)
    else:
        raise SystemExit(128 + signal.SIGTERM)


def _install(handler: Callable[[int, FrameType | None], Any]) -> Any:
    if threading.current_thread() is not threading.main_thread():
        return None
    previous = signal.getsignal(signal.SIGTERM)
    # None: installed by a C library, and could not be put back.
    if previous is None or previous == signal.SIG_IGN:
        return None
    signal.signal(signal.SIGTERM, handler)
    return previous
