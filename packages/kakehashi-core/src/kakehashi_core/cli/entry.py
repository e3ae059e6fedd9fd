"""Entry of the command line: exit codes, and how errors are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from kakehashi_core.cli.listing import run_list
from kakehashi_core.cli.output import echo_remark
from kakehashi_core.errors import InvalidInputError, KakehashiError, UnknownNameError

DEBUG_VARIABLE = "KAKEHASHI_DEBUG"
"""Environment variable: when set to anything but 0, errors are shown with their traceback."""


@dataclass(slots=True)
class Settings:
    """Options that hold for every subcommand; the command line fills them in."""

    debug: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Words after ``kakehashi``; None for those of this process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    settings = Settings(debug=os.environ.get(DEBUG_VARIABLE, "") not in {"", "0"})
    try:
        _run(words, settings)
        sys.stdout.flush()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  Python flushes it at exit
        return 1
    except KakehashiError as error:
        _show(error, settings)
        return 2 if isinstance(error, (UnknownNameError, InvalidInputError)) else 1
    return 0


def _run(words: Sequence[str], settings: Settings) -> None:
    quick = _list_options(words)
    if quick is not None:
        # Importing typer takes longer than finding every plugin, and shells call this often.
        run_list(kind=quick[0], as_json=quick[1])
        return
    from typer.core import TyperGroup
    from typer.main import get_command

    from kakehashi_core.cli.application import app, contributed_subcommand

    group = get_command(app)
    assert isinstance(group, TyperGroup)  # noqa: S101  an application with several commands is one
    if not any(word in group.commands for word in words):
        # A verb of a package, or a question about all of them.
        from kakehashi_core.cli.contributed import contributed_verbs

        for verb, labels in contributed_verbs().items():
            group.add_command(get_command(contributed_subcommand(verb, labels)), verb)
    group(args=list(words), prog_name="kakehashi", obj=settings)


def _list_options(words: Sequence[str]) -> tuple[str | None, bool] | None:
    """Return kind and JSON flag of a well-formed ``list``; None for everything else."""
    if not words or words[0] != "list":
        return None
    kind, as_json = None, False
    rest = iter(words[1:])
    for word in rest:
        if word == "--json":
            as_json = True
        elif word == "--kind" and (value := next(rest, "")) and not value.startswith("-"):
            kind = value
        elif word.startswith("--kind="):
            kind = word.removeprefix("--kind=")
        else:
            return None
    return kind, as_json


def _show(error: KakehashiError, settings: Settings) -> None:
    if settings.debug:
        import traceback

        echo_remark("".join(traceback.format_exception(error)).rstrip())
    else:
        echo_remark(f"error: {' '.join(str(error).split())}")
