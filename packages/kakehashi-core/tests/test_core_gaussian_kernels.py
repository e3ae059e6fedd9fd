"""Gaussian kernels: the expansion of the exponential, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kakehashi_core import GaussianKernel, InvalidInputError, NonlocalXCFunctional, XCFunctional


@pytest.mark.parametrize("length", [0.2, 1.7])
def test_exponential_is_expanded_to_the_documented_accuracy(length: float) -> None:
    """Oracle: exp(-r/length) and its integral 8 pi length^3."""
    kernel = GaussianKernel.exponential(length)
    distances = length * np.linspace(0.05, 20.0, 4000)
    assert np.abs(kernel(distances) - np.exp(-distances / length)).max() < 2e-5
    assert abs(float(kernel(0.0)) - 1.0) < 5e-4
    assert kernel.integral() == pytest.approx(8 * math.pi * length**3, rel=5e-4)
    assert len(kernel.exponents) == 23
    assert min(kernel.coefficients) > 0.0
    assert kernel.length == length


def test_value_and_integral_of_one_gaussian() -> None:
    """Oracle: closed form."""
    kernel = GaussianKernel(exponents=(2.0,), coefficients=(3.0,))
    assert kernel.integral() == pytest.approx(3.0 * (math.pi / 2.0) ** 1.5, rel=1e-14)
    values = kernel([[0.0, 0.5]])
    assert values.shape == (1, 2)
    assert values[0, 1] == pytest.approx(3.0 * math.exp(-0.5), rel=1e-14)


@pytest.mark.parametrize(
    ("exponents", "coefficients", "length", "message"),
    [
        ((), (), None, "0 exponents and 0 coefficients"),
        ((1.0, 2.0), (1.0,), None, "2 exponents and 1 coefficients"),
        ((1.0, -2.0), (1.0, 1.0), None, "finite and positive"),
        ((1.0,), (math.nan,), None, "coefficients of a Gaussian kernel must be finite"),
        ((1.0,), (1.0,), 0.2, "is off by"),
        ((1.0,), (1.0,), -0.2, "must be positive"),
    ],
)
def test_nonsense_is_refused(
    exponents: tuple[float, ...],
    coefficients: tuple[float, ...],
    length: float | None,
    message: str,
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        GaussianKernel(exponents=exponents, coefficients=coefficients, length=length)


@pytest.mark.parametrize("length", [0.0, -1.0, math.inf, math.nan])
def test_impossible_lengths_are_refused(length: float) -> None:
    with pytest.raises(InvalidInputError, match="must be positive, in bohr"):
        GaussianKernel.exponential(length)


def test_only_functionals_with_a_kernel_count_as_nonlocal() -> None:
    class Local:
        family, hybrid, max_deriv = "LDA", 0.0, 2

        def energy_density(self, variables: object, spin: int) -> object:
            return variables

    class Nonlocal(Local):
        family = "NONLOCAL"
        convolution = GaussianKernel.exponential(0.2)

    assert isinstance(Local(), XCFunctional)
    assert not isinstance(Local(), NonlocalXCFunctional)
    assert isinstance(Nonlocal(), NonlocalXCFunctional)
