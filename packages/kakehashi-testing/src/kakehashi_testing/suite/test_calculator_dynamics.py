"""Calculators: what molecular dynamics needs."""

from __future__ import annotations

from typing import Any

import pytest

from kakehashi_core.registry import Plugin
from kakehashi_core.specs import CalculatorSpec
from kakehashi_testing.calculator_dynamics import check_cutoff, check_drift


def _smoothness(plugin: Plugin) -> int:
    assert isinstance(plugin.spec, CalculatorSpec)
    return plugin.spec.smooth_derivatives


@pytest.mark.kakehashi_check("cutoff")
def test_no_jump_at_the_cutoff(
    calculator: Any, samples: list[Any], scf: bool, kakehashi_calculator: Plugin
) -> None:
    """Oracle: jumps stay when the steps of a walk are refined, everything smooth shrinks."""
    if scf:
        pytest.skip("a self-consistent field has no cutoff")
    for atoms in samples:
        check_cutoff(calculator, atoms, smooth_derivatives=_smoothness(kakehashi_calculator))


@pytest.mark.kakehashi_check("drift")
def test_energy_is_conserved(
    calculator: Any, samples: list[Any], scf: bool, kakehashi_calculator: Plugin
) -> None:
    """Oracle: the conserved energy; half the time step quarters the fluctuation of Verlet's rule."""
    if _smoothness(kakehashi_calculator) < 1:
        pytest.skip("the spec declares forces that jump at the cutoff: no energy is conserved")
    if scf:
        check_drift(calculator, samples[0], n_steps=10, scf=True)
    else:
        check_drift(calculator, samples[0])
