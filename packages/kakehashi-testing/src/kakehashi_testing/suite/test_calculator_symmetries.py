"""Calculators: what must not change when a structure is moved, turned, renumbered or doubled."""

from __future__ import annotations

from typing import Any

import pytest

from kakehashi_testing import calculator_symmetries as checks


def _operations(scf: bool) -> int:
    return 1 if scf else 20


def _some(samples: list[Any], scf: bool) -> list[Any]:
    return samples[:1] if scf else samples


@pytest.mark.kakehashi_check("translation")
def test_translation(calculator: Any, samples: list[Any], scf: bool, dtype: str) -> None:
    """Oracle: the structure before; shifted, and unwrapped along periodic directions."""
    for atoms in _some(samples, scf):
        checks.check_translation(
            calculator, atoms, n_operations=_operations(scf), scf=scf, dtype=dtype
        )


@pytest.mark.kakehashi_check("rotation")
def test_rotation(calculator: Any, samples: list[Any], scf: bool, dtype: str) -> None:
    """Oracle: the structure before, its vectors and tensors rotated."""
    for atoms in samples:
        checks.check_rotation(
            calculator, atoms, n_operations=_operations(scf), scf=scf, dtype=dtype
        )


@pytest.mark.kakehashi_check("inversion")
def test_inversion(calculator: Any, samples: list[Any], scf: bool, dtype: str) -> None:
    """Oracle: the structure before, its vectors reversed."""
    for atoms in _some(samples, scf):
        checks.check_inversion(calculator, atoms, scf=scf, dtype=dtype)


@pytest.mark.kakehashi_check("permutation")
def test_permutation(calculator: Any, samples: list[Any], scf: bool, dtype: str) -> None:
    """Oracle: the structure before, its per-atom results renumbered."""
    for atoms in _some(samples, scf):
        checks.check_permutation(
            calculator, atoms, n_operations=_operations(scf), scf=scf, dtype=dtype
        )


@pytest.mark.kakehashi_check("extensivity")
def test_two_copies(calculator: Any, samples: list[Any], scf: bool, dtype: str) -> None:
    """Oracle: twice the energy of one."""
    closed = [a for a in samples if not a.get_initial_magnetic_moments().any()] or samples
    for atoms in closed[: 1 if scf else None]:
        checks.check_extensivity(calculator, atoms, scf=scf, dtype=dtype)


@pytest.mark.kakehashi_check("locality")
def test_locality(calculator: Any, samples: list[Any], scf: bool) -> None:
    """Oracle: forces and energies of far atoms before another one moved."""
    if scf:
        pytest.skip("a self-consistent field reaches everywhere: no interaction range")
    for atoms in samples:
        checks.check_locality(calculator, atoms)
