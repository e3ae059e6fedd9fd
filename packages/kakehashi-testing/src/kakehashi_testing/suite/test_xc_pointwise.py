"""Functionals at single points of the density; needs no host code."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from kakehashi_core.registry import Plugin
from kakehashi_testing import xc_checks
from kakehashi_testing.evaluation import load_model

both_spins = pytest.mark.parametrize("spin", [0, 1])
Spin = Literal[0, 1]


@pytest.fixture(scope="module")
def functional(kakehashi_xc: Plugin) -> Any:
    """Load the functional under test with default options."""
    return load_model(kakehashi_xc)


@both_spins
def test_energy_density_has_shape_and_dtype(functional: Any, spin: Spin) -> None:
    """Oracle: the contract (float64, one finite value per point, also for one and no point)."""
    xc_checks.check_energy_density(functional, spin)


@both_spins
def test_announced_variables_matter(functional: Any, spin: Spin) -> None:
    """Oracle: the family; a GGA whose gradient derivative is zero is mislabeled."""
    xc_checks.check_variables_matter(functional, spin)


@both_spins
def test_vxc_is_derivative_of_energy_density(functional: Any, spin: Spin) -> None:
    """Oracle: five-point differences with their own error estimate, every variable."""
    xc_checks.check_vxc(functional, spin)


@both_spins
def test_fxc_is_derivative_of_vxc(functional: Any, spin: Spin) -> None:
    """Oracle: five-point differences of v_xc, every pair of variables; symmetry."""
    if functional.max_deriv < 2:
        pytest.skip(f"max_deriv is {functional.max_deriv}: no second derivatives on offer")
    xc_checks.check_fxc(functional, spin)


@both_spins
def test_third_derivative_is_derivative_of_fxc(functional: Any, spin: Spin) -> None:
    """Oracle: five-point differences of f_xc along a random direction."""
    if functional.max_deriv < 3:
        pytest.skip(f"max_deriv is {functional.max_deriv}: no third derivatives on offer")
    xc_checks.check_third_derivative(functional, spin)


@both_spins
def test_fast_path_matches_automatic_differentiation(functional: Any, spin: Spin) -> None:
    """Oracle: torch.autograd on the functional's own energy density."""
    if not hasattr(functional, "exc_vxc"):
        pytest.skip("the functional has no exc_vxc; the bridge differentiates energy_density")
    xc_checks.check_fast_path(functional, spin)


@both_spins
def test_second_fast_path_matches_automatic_differentiation(functional: Any, spin: Spin) -> None:
    """Oracle: two passes of torch.autograd through the functional's own energy density."""
    if not hasattr(functional, "exc_vxc_fxc"):
        pytest.skip("the functional has no exc_vxc_fxc; the bridge differentiates energy_density")
    xc_checks.check_second_fast_path(functional, spin)


def test_spin_flip_symmetry(functional: Any) -> None:
    """Oracle: the same points with the spin channels exchanged."""
    xc_checks.check_spin_flip(functional)


def test_closed_shell_equals_zero_polarization(functional: Any) -> None:
    """Oracle: the spin-resolved form at zeta = 0 with the factors of the chain rule."""
    xc_checks.check_closed_shell(functional)


def test_fully_polarized_points_are_finite(functional: Any) -> None:
    """Oracle: finiteness of energy and derivatives with one empty channel, also at tau = tau_W."""
    xc_checks.check_polarized(functional)


@both_spins
def test_vanishing_density_is_finite(functional: Any, spin: Spin) -> None:
    """Oracle: finiteness from 1e-6 down to zero density, no energy without electrons."""
    xc_checks.check_vanishing_density(functional, spin)


@both_spins
def test_points_are_independent(functional: Any, spin: Spin) -> None:
    """Oracle: the same points alone, in chunks, permuted, beside empty points."""
    xc_checks.check_points_independent(functional, spin)


@both_spins
def test_input_is_untouched(functional: Any, spin: Spin) -> None:
    """Oracle: a copy of the input taken before the call."""
    xc_checks.check_input_untouched(functional, spin)


@both_spins
def test_memory_layout_does_not_matter(functional: Any, spin: Spin) -> None:
    """Oracle: contiguous input."""
    xc_checks.check_strided_input(functional, spin)
