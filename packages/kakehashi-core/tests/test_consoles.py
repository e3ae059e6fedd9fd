"""Tables in files are not cut short."""

from __future__ import annotations

from rich.table import Table

from kakehashi_core.consoles import FILE_WIDTH, result_console


def test_a_file_gets_wide_tables(capsys):
    """Oracle: a cell longer than the 80 characters that a console without a terminal has by default."""
    table = Table()
    table.add_column("quantity")
    table.add_row("x" * (FILE_WIDTH - 10))
    result_console().print(table)
    assert "x" * (FILE_WIDTH - 10) in capsys.readouterr().out
