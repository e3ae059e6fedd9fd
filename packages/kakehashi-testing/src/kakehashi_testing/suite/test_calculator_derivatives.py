"""Calculators: forces and stress are derivatives of the energy."""

from __future__ import annotations

from typing import Any

import pytest

from kakehashi_testing.calculator_derivatives import check_forces, check_stress
from kakehashi_testing.calculator_samples import has_volume

MOST_COMPONENTS = 90


@pytest.mark.kakehashi_check("forces")
def test_forces(calculator: Any, samples: list[Any], scf: bool) -> None:
    """Oracle: five-point differences of the energy, every component in small systems."""
    if "forces" not in calculator.implemented_properties:
        pytest.skip("the calculator offers no forces")
    for atoms in samples:
        if scf:
            # Steps long enough for the noise of an SCF threshold.
            check_forces(calculator, atoms, n_directions=2, step=2e-3, row="scf_calculator_forces")
        else:
            many = 3 * len(atoms) > MOST_COMPONENTS
            check_forces(calculator, atoms, n_directions=20 if many else None)


@pytest.mark.kakehashi_check("stress")
def test_stress(calculator: Any, samples: list[Any]) -> None:
    """Oracle: five-point differences over strains; Voigt order and sign come out of it."""
    if "stress" not in calculator.implemented_properties:
        pytest.skip("the calculator offers no stress")
    periodic = [atoms for atoms in samples if has_volume(atoms)]
    assert periodic, "the calculator offers a stress, but no sample of its spec is periodic"
    for atoms in periodic:
        check_stress(calculator, atoms)
