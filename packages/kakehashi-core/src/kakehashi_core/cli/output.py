"""How results reach stdout: JSON, aligned fields, tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

_STATE_STYLES = {"ok": "green", "disabled": "dim", "note": "dim", "warning": "yellow"}


def echo(text: str) -> None:
    """Print a line of the result."""
    _write_line(sys.stdout, text)


def echo_remark(text: str) -> None:
    """Print something that is not part of the result: progress, hints, errors."""
    _write_line(sys.stderr, text)


def echo_json(data: object) -> None:
    """Print ``data`` as JSON; objects that JSON does not know appear as their string."""
    echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def echo_title(text: str) -> None:
    """Print the title of a section."""
    echo(f"\n== {text} ==")


def echo_fields(fields: Mapping[str, str], *, indent: int = 0) -> None:
    """Print one line per field with the values aligned; fields without a value are left out."""
    shown = {label: value for label, value in fields.items() if value}
    width = max((len(label) for label in shown), default=0)
    for label, value in shown.items():
        first, *rest = value.splitlines()
        echo(f"{'':{indent}}{label:{width}}  {first}")
        for line in rest:
            echo(f"{'':{indent + width + 2}}{line}")


def echo_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, state_column: int) -> None:
    """Print a table: wrapped and colored on a terminal, plain aligned columns elsewhere.

    Args:
        header: Column titles.
        rows: Cells, one row per line.
        state_column: Index of the column that is colored by what it says.
    """
    if sys.stdout.isatty():
        _echo_rich_table(header, rows, state_column)
        return
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = (f"{cell:{width}}" for cell, width in zip(line, widths, strict=True))
        echo("  ".join(cells).rstrip())


def _write_line(stream: TextIO, text: str) -> None:
    try:
        stream.write(f"{text}\n")
    except UnicodeEncodeError:  # an "Å" must not end the program where the locale has none
        encoding = stream.encoding
        stream.write(f"{text}\n".encode(encoding, "backslashreplace").decode(encoding))


def _echo_rich_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], state_column: int
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from kakehashi_core.consoles import result_console

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in header:
        table.add_column(title, overflow="fold")
    for row in rows:
        style = _STATE_STYLES.get(row[state_column], "red")
        # Text objects: a reason such as "needs x[extra]" must not be read as rich markup.
        cells = [Text(cell, style=style if i == state_column else "") for i, cell in enumerate(row)]
        table.add_row(*cells)
    result_console().print(table)
