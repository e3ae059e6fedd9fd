"""Calculators: databases, trajectories and files."""

from __future__ import annotations

from typing import Any

from kakehashi_core.registry import Plugin
from kakehashi_testing.calculator_storage import check_storage, check_todict


def test_options_are_json(calculator: Any, kakehashi_calculator: Plugin) -> None:
    """Oracle: the options after a round trip through JSON; the registry name."""
    check_todict(calculator, kakehashi_calculator.name)


def test_round_trip(calculator: Any, samples: list[Any]) -> None:
    """Oracle: the results that were written to ase.db, traj and extxyz."""
    for atoms in samples:
        check_storage(calculator, atoms)
