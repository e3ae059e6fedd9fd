"""Turn a typed function into a command line of its own, at the moment it is called."""

from __future__ import annotations

import collections.abc
import inspect
import re
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin

import typer
from typer.main import get_command

from kakehashi_core.errors import PluginLoadError


def run_function(
    function: Callable[..., Any],
    arguments: Sequence[str],
    *,
    program: str,
    summary: str,
    takes_model: bool,
) -> NoReturn:
    """Parse ``arguments`` by the signature of ``function``, call it, and exit.

    Keyword-only parameters become options; so do others with a default. Parameters without a
    default become arguments. An ``int`` that the function returns is the exit code.

    Args:
        function: What to call. Its Google docstring gives the help of the options.
        arguments: Words of the command line.
        program: How the command is called, for usage lines.
        summary: First line of the help.
        takes_model: Whether the first parameter is the name of a model, thus an argument.

    Raises:
        PluginLoadError: If the signature cannot become a command line.
        SystemExit: With the exit code, also after wrong usage and ``--help``.
    """
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, TypeError, ValueError) as error:
        raise PluginLoadError(
            f"the signature of '{program}' cannot be read ({error}); "
            "its author must use annotations that exist at run time"
        ) from error
    help_texts = documented_arguments(inspect.getdoc(function) or "")
    parameters, sequences = [], set()
    for position, parameter in enumerate(signature.parameters.values()):
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise PluginLoadError(
                f"'{program}' takes {parameter}; every parameter must be callable by name"
            )
        is_argument = parameter.kind is not parameter.KEYWORD_ONLY and (
            parameter.default is parameter.empty or (takes_model and position == 0)
        )
        parameters.append(_typer_parameter(parameter, help_texts, is_argument=is_argument))
        if _element_type(_without_none(parameter.annotation)) is not None:
            sequences.add(parameter.name)

    def call(**values: Any) -> None:
        for name in sequences:
            values[name] = None if values[name] is None else tuple(values[name])
        result = function(**values)
        if isinstance(result, int) and result:
            raise typer.Exit(int(result))

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {}
    application = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    application.command(name=program.rpartition(" ")[2], help=summary)(call)
    get_command(application)(args=list(arguments), prog_name=program)
    raise SystemExit(0)


def documented_arguments(docstring: str) -> dict[str, str]:
    """Return the text of each entry in the ``Args`` section of a Google docstring."""
    texts: dict[str, str] = {}
    name = ""
    inside = False
    for line in docstring.splitlines():
        if not line.startswith(" "):
            inside = line.strip() == "Args:" or (inside and not line.strip())
            continue
        if not inside:
            continue
        entry = re.match(r" {4}(\w+)(?: \([^)]*\))?: (.*)", line)
        if entry:
            name, texts[entry[1]] = entry[1], entry[2].strip()
        elif name:
            texts[name] += f" {line.strip()}"
    return texts


def _typer_parameter(
    parameter: inspect.Parameter, help_texts: dict[str, str], *, is_argument: bool
) -> inspect.Parameter:
    text = help_texts.get(parameter.name, "")
    # The one short option that everybody tries.
    flags = ("--output", "-o") if parameter.name == "output" else ()
    marker = typer.Argument(help=text) if is_argument else typer.Option(*flags, help=text)
    annotation, default = parameter.annotation, parameter.default
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if annotation is parameter.empty:
        annotation = str
    element = _element_type(_without_none(annotation))
    if element is not None:
        optional = annotation is not _without_none(annotation)
        annotation = list[element] | None if optional else list[element]  # type: ignore[valid-type]
        default = list(default) if isinstance(default, (tuple, list)) else default
    # Keyword-only throughout: then a parameter without a default may follow one that has one.
    return parameter.replace(
        kind=inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[annotation, marker],
        default=default,
    )


def _element_type(annotation: Any) -> Any | None:
    """Return X of tuple[X, ...] and Sequence[X], which typer knows only as list[X]."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return arguments[0]
    if origin is collections.abc.Sequence:
        return arguments[0]
    return None


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) not in {Union, types.UnionType}:
        return annotation
    rest = [one for one in get_args(annotation) if one is not types.NoneType]
    return rest[0] if len(rest) == 1 else annotation
