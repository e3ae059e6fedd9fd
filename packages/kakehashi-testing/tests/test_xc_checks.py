"""Every check passes for a right functional and fails for the mistake it is there for."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from kakehashi_testing import conformance, xc_checks
from kakehashi_testing.conformance import ConformanceError

WITH_SPIN: tuple[Callable[..., None], ...] = (
    conformance.check_energy_density,
    conformance.check_variables_matter,
    conformance.check_vxc,
    conformance.check_fxc,
    conformance.check_third_derivative,
    conformance.check_fast_path,
    conformance.check_second_fast_path,
    conformance.check_vanishing_density,
    conformance.check_points_independent,
    conformance.check_input_untouched,
    conformance.check_strided_input,
)
WITHOUT_SPIN: tuple[Callable[..., None], ...] = (
    conformance.check_spin_flip,
    conformance.check_closed_shell,
    conformance.check_polarized,
)


@pytest.mark.parametrize("check", WITH_SPIN)
@pytest.mark.parametrize("spin", [0, 1])
def test_a_right_functional_passes(faulty: ModuleType, check: Any, spin: int) -> None:
    check(faulty.GoodFastPath(), spin)


@pytest.mark.parametrize("check", WITHOUT_SPIN)
def test_a_right_functional_passes_spin_checks(faulty: ModuleType, check: Any) -> None:
    check(faulty.GoodFastPath())


@pytest.mark.parametrize(
    ("check", "name", "message"),
    [
        (conformance.check_energy_density, "SinglePrecisionOut", "torch.float32.*torch.float64"),
        (conformance.check_energy_density, "WrongShape", r"shape \(40, 1\)"),
        (conformance.check_energy_density, "FailsWithoutPoints", "fails without any point"),
        (conformance.check_energy_density, "Zero", "the functional looks empty"),
        (conformance.check_variables_matter, "NotAMetaGGA", "no tau derivative exceeds"),
        (conformance.check_vxc, "DetachedTau", "with respect to tau.*does not match"),
        (conformance.check_vxc, "NoGraph", "without a graph"),
        (conformance.check_vxc, "SinglePrecisionInside", "not computed in float64 throughout"),
        (conformance.check_fxc, "WrongSecondDerivative", "second derivative with respect to rho"),
        (conformance.check_third_derivative, "WrongThirdDerivative", "third derivative.*not match"),
        (conformance.check_fast_path, "WrongFastPath", "exc_vxc derivative with respect to tau"),
        (
            conformance.check_second_fast_path,
            "WrongSecondFastPath",
            r"exc_vxc_fxc second derivative with respect to tau(_b)? and tau(_b)?",
        ),
        (
            conformance.check_second_fast_path,
            "OneTriangle",
            r"second derivative with respect to \w+ and rho.*instead of",
        ),
        (conformance.check_second_fast_path, "PackedTriangle", r"must return \((3, 3|7, 7), 150\)"),
        (
            conformance.check_second_fast_path,
            "WrongFirstOfSecondFastPath",
            "exc_vxc_fxc derivative with respect to tau",
        ),
        (conformance.check_vanishing_density, "NanAtZero", r"not finite at \d+ of 120 points"),
        (
            conformance.check_vanishing_density,
            "NanGradientAtZero",
            "first derivative is not finite",
        ),
        (conformance.check_vanishing_density, "EnergyOfNothing", "at zero density is -1.000e-06"),
        (conformance.check_points_independent, "PointsTalk", "points must not see each other"),
        (conformance.check_input_untouched, "ClampsItsInput", "changed its input rows rho"),
        (conformance.check_strided_input, "IgnoresStrides", "energy density of transposed input"),
    ],
)
@pytest.mark.parametrize("spin", [0, 1])
def test_each_mistake_is_found(
    faulty: ModuleType, check: Any, name: str, message: str, spin: int
) -> None:
    with pytest.raises(ConformanceError, match=message):
        check(getattr(faulty, name)(), spin)


@pytest.mark.parametrize(
    ("check", "name", "message"),
    [
        (conformance.check_spin_flip, "SpinAsymmetric", "energy after a spin flip"),
        (conformance.check_closed_shell, "ClosedShellDiffers", "spin=1 and zeta=0"),
        (conformance.check_polarized, "NanWhenPolarized", "first derivative is not finite"),
    ],
)
def test_each_spin_mistake_is_found(
    faulty: ModuleType, check: Any, name: str, message: str
) -> None:
    with pytest.raises(ConformanceError, match=message):
        check(getattr(faulty, name)())


@pytest.mark.parametrize("name", ["WrongSecondDerivative", "WrongThirdDerivative"])
def test_mistakes_of_high_order_are_invisible_below(faulty: ModuleType, name: str) -> None:
    """Control: the failures above come from the order they claim."""
    xc_checks.check_vxc(getattr(faulty, name)(), 0)
    if name == "WrongThirdDerivative":
        xc_checks.check_fxc(getattr(faulty, name)(), 0)


def test_the_public_names_are_pinned() -> None:
    assert len(conformance.__all__) == len(set(conformance.__all__)) == 45
    for name in conformance.__all__:
        assert getattr(conformance, name) is not None
