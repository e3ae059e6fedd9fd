from __future__ import annotations

import numpy as np

from kakehashi_testing.finite_differences import (
    STEPS,
    directional_difference,
    matrix_difference,
)

rng = np.random.default_rng(5)
POINTS = rng.uniform(0.5, 2.0, (2, 40))
DIRECTION = rng.uniform(-1.0, 1.0, (2, 40))


def smooth(x: np.ndarray) -> np.ndarray:
    return np.sin(3.0 * x[0]) * x[1] ** 3


def test_smooth_function() -> None:
    """Oracle: the closed form; the error estimate bounds the true error."""
    result = directional_difference(smooth, POINTS, DIRECTION)
    x, y = POINTS
    exact = DIRECTION[0] * 3 * np.cos(3 * x) * y**3 + DIRECTION[1] * np.sin(3 * x) * 3 * y**2
    assert np.abs(exact).max() > 1.0
    np.testing.assert_allclose(result.value, exact, atol=1e-9)
    assert (np.abs(result.value - exact) <= result.error + 1e-11).all()
    assert result.error.max() < 1e-8


def test_several_outputs_at_once() -> None:
    """Oracle: the same outputs one by one."""
    both = directional_difference(lambda x: np.stack([smooth(x), x[0]]), POINTS, DIRECTION)
    assert both.value.shape == (2, 40)
    np.testing.assert_array_equal(
        both.value[0], directional_difference(smooth, POINTS, DIRECTION).value
    )
    np.testing.assert_allclose(both.value[1], DIRECTION[0], atol=1e-11)


def test_a_kink_is_never_taken_for_a_sharp_derivative() -> None:
    """Oracle: |x - k| with k at all distances from the point; both one-sided slopes are +-1."""
    distances = np.concatenate([[0.0], np.geomspace(1e-8, 1e-1, 400)])
    points = np.ones((1, distances.size))
    kinks = np.tile(points + distances, 1)

    def kinked(x: np.ndarray) -> np.ndarray:
        return np.abs(x[0] - np.tile(kinks[0], x.shape[1] // distances.size))

    result = directional_difference(kinked, points, np.ones_like(points))
    sharp = result.error < 1e-6
    np.testing.assert_allclose(result.value[sharp], -1.0, atol=1e-6)
    assert not sharp[0]
    assert sharp[distances > 3 * STEPS[-2]].any()


def test_noise_is_reported_as_error() -> None:
    """Oracle: a float32 function has no sharp difference."""
    result = directional_difference(lambda x: np.float64(np.float32(smooth(x))), POINTS, DIRECTION)
    assert np.median(result.error) > 1e-6


def test_matrix_difference_is_exact_for_a_cubic() -> None:
    """Oracle: five points differentiate polynomials up to fourth degree exactly."""
    matrix = rng.standard_normal((3, 3))
    result = matrix_difference(lambda s: s * matrix + s**3, 0.1)
    np.testing.assert_allclose(result, matrix, atol=1e-13)
