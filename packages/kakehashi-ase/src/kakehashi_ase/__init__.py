"""Bridge from kakehashi models to ASE. Units: eV, Å and their combinations, elementary charges.

Attributes are imported when they are first used: ``import ase.io`` imports this package when it
looks for plugins, so importing it must neither be slow nor import ``ase.io`` in turn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kakehashi_ase.base_calculator import Calculator, CalculatorOptions
    from kakehashi_ase.errors import (
        CalculatorInputError,
        NonFiniteResultError,
        UnsupportedElementError,
    )
    from kakehashi_ase.lookup import calculator
    from kakehashi_ase.structure_checks import check_overlap, check_structure

_HOMES = {
    "Calculator": "base_calculator",
    "CalculatorInputError": "errors",
    "CalculatorOptions": "base_calculator",
    "NonFiniteResultError": "errors",
    "UnsupportedElementError": "errors",
    "calculator": "lookup",
    "check_overlap": "structure_checks",
    "check_structure": "structure_checks",
}

__all__ = [
    "Calculator",
    "CalculatorInputError",
    "CalculatorOptions",
    "NonFiniteResultError",
    "UnsupportedElementError",
    "calculator",
    "check_overlap",
    "check_structure",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
