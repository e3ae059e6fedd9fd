"""Find a calculator by its registry name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import BaseCalculator

from kakehashi_ase.base_calculator import Calculator
from kakehashi_ase.errors import CalculatorInputError
from kakehashi_core import registry
from kakehashi_core.errors import PluginLoadError, refuse_unknown_options

if TYPE_CHECKING:
    from kakehashi_core.registry import Plugin


def calculator(name: str, **options: object) -> BaseCalculator:
    """Return the calculator registered under ``name``.

    Args:
        name: Registry name, for instance ``"pyscf"``; ``kakehashi list`` shows what is installed.
        options: Options of that calculator; ``kakehashi info NAME`` lists them.

    Raises:
        UnknownNameError: If nothing is registered under the name; the closest names are listed.
        PluginLoadError: If the plugin is broken, incompatible, disabled or in conflict.
        CalculatorInputError: If an option is unknown or its value is not allowed.
    """
    plugin = registry.find("calculators", name)
    factory = registry.load_factory("calculators", name)
    known = _option_names(factory)
    if known is not None:
        refuse_unknown_options(f"calculator {plugin.name!r}", options, known, CalculatorInputError)
    calc: object = factory(**options)
    if not isinstance(calc, BaseCalculator):
        raise PluginLoadError(_not_a_calculator(plugin, calc))
    if isinstance(calc, Calculator):
        calc.name = plugin.name
    return calc


def _option_names(factory: Callable[..., Any]) -> Iterable[str] | None:
    """Return the option names of a factory; None if it takes any and checks them itself."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # callables written in C may have no signature
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _not_a_calculator(plugin: Plugin, calc: object) -> str:
    return (
        f"calculator {plugin.name!r} of {plugin.distribution} {plugin.version} "
        f"(entry point {plugin.value!r}) gave a {type(calc).__name__}, which is no ASE calculator; "
        "its factory must return a kakehashi_ase.Calculator. Please report it to its author."
    )
