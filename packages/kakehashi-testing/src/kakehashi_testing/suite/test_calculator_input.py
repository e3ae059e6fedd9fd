"""Calculators: bad input is refused in words, unusual input is not."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from kakehashi_core.registry import Plugin
from kakehashi_testing import calculator_input as checks


def test_bad_structures_are_refused(calculator: Any, samples: list[Any]) -> None:
    """Oracle: ASE's InputError, naming atom or cause, before the model runs."""
    for atoms in samples:
        checks.check_bad_input(calculator, atoms)


def test_a_refused_structure_leaves_results_alone(calculator: Any, samples: list[Any]) -> None:
    """Oracle: the energy of the structure before."""
    checks.check_exception_safety(calculator, samples[0])


def test_unknown_options_are_refused(calculator: Any, kakehashi_calculator: Plugin) -> None:
    """Oracle: an error that names the option, and the closest one for a typo."""
    from kakehashi_ase import calculator as by_name

    known = max(calculator.parameters, key=len, default="")
    checks.check_unknown_option(partial(by_name, kakehashi_calculator.qualified_name), known)


@pytest.mark.kakehashi_check("unusual-input")
def test_unusual_structures_are_handled(calculator: Any, samples: list[Any], scf: bool) -> None:
    """Oracle: the same structure near the origin, in a right-handed cell."""
    for atoms in samples[: 1 if scf else None]:
        checks.check_unusual_input(calculator, atoms, scf=scf)
