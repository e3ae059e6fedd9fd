"""Calculators: shapes, sums, cache, ownership, batches."""

from __future__ import annotations

from typing import Any

import pytest

from kakehashi_core.registry import Plugin
from kakehashi_core.specs import CalculatorSpec
from kakehashi_testing import calculator_results as checks


def test_calculator_is_what_its_spec_announces(
    calculator: Any, kakehashi_calculator: Plugin
) -> None:
    """Oracle: implemented_properties and units of the spec."""
    assert isinstance(kakehashi_calculator.spec, CalculatorSpec)
    checks.check_matches_spec(calculator, kakehashi_calculator.spec)


def test_results_have_shape_and_add_up(calculator: Any, samples: list[Any]) -> None:
    """Oracle: the shapes of ASE; energy = free_energy = sum of energies; no stress without volume."""
    for atoms in samples:
        checks.check_results(calculator, atoms)


@pytest.mark.kakehashi_check("caching")
def test_cache(calculator: Any, samples: list[Any], scf: bool) -> None:
    """Oracle: a copy that remembers nothing, after each kind of change."""
    checks.check_caching(calculator, samples[0], scf=scf)


def test_results_are_owned(calculator: Any, samples: list[Any]) -> None:
    """Oracle: the same results after somebody wrote into them."""
    checks.check_results_owned(calculator, samples[0])


def test_structure_is_untouched(calculator: Any, samples: list[Any]) -> None:
    """Oracle: a copy of the structure taken before."""
    for atoms in samples:
        checks.check_atoms_untouched(calculator, atoms)


def test_batch_equals_single(calculator: Any, samples: list[Any], scf: bool, dtype: str) -> None:
    """Oracle: every structure alone, one-atom structures included."""
    checks.check_batch(calculator, samples, scf=scf, dtype=dtype)
