"""Every subcommand with its options; what a subcommand does is in the module that it imports.

Nothing that costs time is imported before a subcommand runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kakehashi_core.cli.entry import DEBUG_VARIABLE
from kakehashi_core.cli.output import echo

# Rich help and tracebacks are switched off: importing them costs more than listing all plugins.
app = typer.Typer(
    name="kakehashi",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
PluginName = Annotated[
    str, typer.Argument(metavar="NAME", help="Registry name, or 'distribution:name'.")
]

# Whatever follows the NAME belongs to the contributed command, its --help included.
CONTRIBUTED = {"allow_interspersed_args": False}
ContributedArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME [OPTIONS]",
        help="What to run, then its options ('NAME --help' lists them). Without NAME: list all.",
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        echo(f"kakehashi-core {version('kakehashi-core')}")
        raise typer.Exit


@app.callback()
def common_options(
    context: typer.Context,
    *,
    debug: Annotated[
        bool, typer.Option("--debug", help=f"Show tracebacks; also {DEBUG_VARIABLE}=1.")
    ] = False,
    version: Annotated[  # noqa: ARG001  its callback does the work
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Machine-learning models for quantum chemistry and lattice models, by name."""
    if debug:
        context.obj.debug = True


@app.command("list")
def list_command(
    *,
    kind: Annotated[
        str | None,
        typer.Option(help="xc, calculators, init_guess, samplers, or commands. Default: models."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List installed models with their state; imports none of them."""
    from kakehashi_core.cli.listing import run_list

    run_list(kind=kind, as_json=as_json)


@app.command("info")
def info_command(name: PluginName, *, as_json: JsonOption = False) -> None:
    """Show what is known about a model: domain, units, citation, licenses, model card."""
    from kakehashi_core.cli.information import run_info

    raise typer.Exit(run_info(name, as_json=as_json))


@app.command("doctor")
def doctor_command(
    *,
    as_json: JsonOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show tracebacks.")] = False,
) -> None:
    """Examine the installation; exit with 1 if something of kakehashi is broken."""
    from kakehashi_core.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json=as_json, verbose=verbose))


@app.command("check")
def check_command(
    name: PluginName,
    pytest_arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- PYTEST_ARGUMENTS", help="Handed on to pytest."),
    ] = None,
) -> None:
    """Run the conformance suite of kakehashi-testing on a model."""
    from kakehashi_core.cli.conformance import run_check

    raise typer.Exit(run_check(name, pytest_arguments or []))


@app.command("cite")
def cite_command(name: PluginName, *, as_json: JsonOption = False) -> None:
    """Print how to cite a model, as text and BibTeX."""
    from kakehashi_core.cli.citing import run_cite

    raise typer.Exit(run_cite(name, as_json=as_json))


@app.command("new")
def new_command(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Of the package and of the model: 'my-functional'."),
    ],
    *,
    folder: Annotated[Path, typer.Option(help="Where the new folder is made.")] = Path(),
) -> None:
    """Make a plugin of your own: a functional that passes its checks, to be changed."""
    from kakehashi_core.cli.new_plugin import run_new

    raise typer.Exit(run_new(name, folder=folder))


@app.command("demo")
def demo_command(
    sections: Annotated[
        list[str] | None, typer.Argument(metavar="SECTION", help="Default: all of them.")
    ] = None,
    *,
    output: Annotated[Path, typer.Option(help="Folder for plots and tables.")] = Path(
        "kakehashi-demo"
    ),
) -> None:
    """Run the demonstrations of all installed packages."""
    from kakehashi_core.cli.demonstration import run_demo

    raise typer.Exit(run_demo(sections or [], output=output))


@app.command("bench", context_settings=CONTRIBUTED)
def bench_command(arguments: ContributedArguments = None) -> None:
    """Measure speed, errors and other qualities of models."""
    from kakehashi_core.cli.contributed import run_contributed

    run_contributed("bench", arguments or [])


@app.command("train", context_settings=CONTRIBUTED)
def train_command(arguments: ContributedArguments = None) -> None:
    """Train a model."""
    from kakehashi_core.cli.contributed import run_contributed

    run_contributed("train", arguments or [])


def contributed_subcommand(verb: str, labels: str) -> typer.Typer:
    """Return a subcommand whose verb a package brings.

    Args:
        verb: Name of the subcommand.
        labels: What it can run, for the help.
    """
    subcommand = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )

    def run(arguments: ContributedArguments = None) -> None:
        from kakehashi_core.cli.contributed import run_contributed

        run_contributed(verb, arguments or [])

    subcommand.command(verb, context_settings=CONTRIBUTED, help=f"Run one of: {labels}.")(run)
    return subcommand
