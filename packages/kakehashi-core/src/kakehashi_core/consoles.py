"""Where tables of results go: the terminal, or a file that is as wide as they need."""

from __future__ import annotations

from rich.console import Console

FILE_WIDTH = 150
"""Characters in a line where stdout is no terminal: a column cut short in a file is lost."""


def result_console() -> Console:
    """Return a console on stdout, as wide as the terminal, or wide enough for tables in a file."""
    console = Console()
    return console if console.is_terminal else Console(width=FILE_WIDTH)
