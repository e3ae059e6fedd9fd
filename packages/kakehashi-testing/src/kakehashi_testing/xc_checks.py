"""Checks of a functional at single points; no host code, no grid, no SCF. Hartree atomic units.

Every check draws its own physical points (see ``density_points``) from a fixed seed unless told
otherwise, first makes sure that what it compares is not trivially zero, and raises
``ConformanceError`` that says what is wrong at which point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_testing import density_points as dp
from kakehashi_testing.errors import ConformanceError, require
from kakehashi_testing.finite_differences import Difference, directional_difference
from kakehashi_testing.functional_derivatives import (
    FAST_PATHS,
    energy,
    fast_path,
    gradient,
    hessian,
    hessian_change,
)
from kakehashi_testing.tolerances import tolerance

if TYPE_CHECKING:
    from kakehashi_core.contracts import XCFunctional
    from kakehashi_testing.density_points import Spin

Array = npt.NDArray[np.float64]

SEED = 20_240_229
"""Default seed of the random points."""

RESOLVED_SHARE = 0.9
"""Share of the points at which differences must be sharp enough to judge the derivative.

A network with kinks (ELU: the second derivative jumps) defeats differences across a kink, which at the
smallest step concerns about one point in a hundred. A functional that is noisy everywhere fails.
"""


def random_points(functional: XCFunctional, spin: Spin, n_points: int, seed: int = SEED) -> Array:
    """Draw generic physical points for the family of ``functional``, (n_var, n_points)."""
    return dp.density_points(
        functional.family, spin, n_points, rng=np.random.default_rng(seed + spin)
    )


def natural_scale(functional: XCFunctional, points: Array, spin: Spin) -> Array:
    """Return the size on which each variable matters, same shape as ``points``, positive.

    That is the variable itself, except for s_ab, which may be close to zero: the geometric mean of s_aa
    and s_bb takes its place.
    """
    names = dp.ROWS[functional.family, spin]
    scale = np.abs(points)
    if "s_ab" in names:
        scale[names.index("s_ab")] = np.sqrt(
            points[names.index("s_aa")] * points[names.index("s_bb")]
        )
    return scale


def check_energy_density(functional: XCFunctional, spin: Spin) -> None:
    """Check type, shape, dtype, finiteness and that the functional does something."""
    for n_points in (40, 1):
        points = random_points(functional, spin, n_points)
        values = energy(functional, points, spin)
        _require_finite(values, points, functional, spin, "the energy density")
        _require_nontrivial(values, "the energy density")
    _check_no_points(functional, spin)


def check_variables_matter(functional: XCFunctional, spin: Spin) -> None:
    """Check that every quantity which the family announces is really read."""
    points = random_points(functional, spin, 40)
    value, first = gradient(functional, points, spin)
    effect = np.abs(first * natural_scale(functional, points, spin)) / np.abs(value)
    names = dp.ROWS[functional.family, spin]
    for quantity in dict.fromkeys(dp.CLASSES[name] for name in names):
        largest = max(
            effect[row].max() for row, name in enumerate(names) if dp.CLASSES[name] == quantity
        )
        require(
            largest > 1e-6,
            f"family is {functional.family!r}, but no {quantity} derivative exceeds "
            f"{largest:.1e} of the energy density (spin={spin}); declare the family that is read",
        )


def check_vxc(functional: XCFunctional, spin: Spin, *, points: Array | None = None) -> None:
    """Check first derivatives against differences of the energy density, variable by variable."""
    points = random_points(functional, spin, 150) if points is None else points
    value, first = gradient(functional, points, spin)
    _require_nontrivial(first, "v_xc")
    scale = natural_scale(functional, points, spin)
    for row, name in enumerate(dp.ROWS[functional.family, spin]):
        direction = np.zeros_like(points)
        direction[row] = scale[row]
        numeric = directional_difference(lambda x: energy(functional, x, spin), points, direction)
        analytic = first[row] * scale[row]
        _require_derivative(
            analytic,
            numeric,
            np.maximum(np.abs(value), np.abs(analytic)),
            tolerance("xc_potential"),
            f"derivative with respect to {name} (spin={spin})",
            points,
        )


def check_fxc(functional: XCFunctional, spin: Spin, *, points: Array | None = None) -> None:
    """Check second derivatives against differences of v_xc, and that they are symmetric."""
    points = random_points(functional, spin, 100) if points is None else points
    _, first = gradient(functional, points, spin)
    second = hessian(functional, points, spin)
    _require_nontrivial(second, "f_xc")
    scale = natural_scale(functional, points, spin)
    scaled = second * scale[:, np.newaxis] * scale
    size = np.abs(first * scale)
    names = dp.ROWS[functional.family, spin]
    asymmetry = np.abs(scaled - scaled.swapaxes(0, 1))
    allowed = tolerance("xc_kernel") * np.maximum(size.max(0), np.abs(scaled).max((0, 1)))
    require(
        bool((asymmetry <= allowed).all()),
        f"f_xc is not symmetric (spin={spin}): the largest difference is {asymmetry.max():.1e} "
        "hartree bohr^-3, so the first derivative is not the gradient of one energy",
    )
    for column, name in enumerate(names):
        direction = np.zeros_like(points)
        direction[column] = scale[column]
        numeric = directional_difference(
            lambda x: gradient(functional, x, spin)[1], points, direction
        )
        for row, other in enumerate(names):
            _require_derivative(
                scaled[row, column],
                Difference(numeric.value[row] * scale[row], numeric.error[row] * scale[row]),
                np.maximum(size.max(0), np.abs(scaled[row, column])),
                tolerance("xc_kernel"),
                f"second derivative with respect to {other} and {name} (spin={spin})",
                points,
            )


def check_third_derivative(functional: XCFunctional, spin: Spin) -> None:
    """Check third derivatives along a random direction against differences of f_xc."""
    points = random_points(functional, spin, 60)
    rng = np.random.default_rng(SEED)
    direction = rng.uniform(-1.0, 1.0, points.shape) * natural_scale(functional, points, spin)
    analytic = hessian_change(functional, points, spin, direction)
    _require_nontrivial(analytic, "the third derivative")

    def projected(x: Array) -> Array:
        along = np.tile(direction, x.shape[1] // direction.shape[1])
        return np.asarray(np.einsum("ig,ijg,jg->g", along, hessian(functional, x, spin), along))

    numeric = directional_difference(projected, points, direction)
    _require_derivative(
        analytic,
        numeric,
        np.maximum(np.abs(projected(points)), np.abs(analytic)),
        tolerance("xc_third_derivative"),
        f"third derivative (spin={spin})",
        points,
    )


def check_fast_path(functional: XCFunctional, spin: Spin) -> None:
    """Check ``exc_vxc`` against automatic differentiation of ``energy_density``."""
    points = random_points(functional, spin, 150)
    _check_fast_first(functional, points, spin, fast_path(functional, points, spin), "exc_vxc")
    _check_fast_tail(functional, spin, order=1)


def check_second_fast_path(functional: XCFunctional, spin: Spin) -> None:
    """Check ``exc_vxc_fxc`` against automatic differentiation of ``energy_density``."""
    points = random_points(functional, spin, 150)
    value, first, second = fast_path(functional, points, spin, order=2)
    size = _check_fast_first(functional, points, spin, (value, first), "exc_vxc_fxc")
    expected = hessian(functional, points, spin)
    _require_nontrivial(expected, "f_xc")
    scale = natural_scale(functional, points, spin)
    pairs = scale[:, np.newaxis] * scale
    size = np.maximum(size, np.abs(expected * pairs).max((0, 1)))
    names = dp.ROWS[functional.family, spin]
    for row, column in np.ndindex(len(names), len(names)):
        _require_equal(
            (second * pairs)[row, column],
            (expected * pairs)[row, column],
            size,
            tolerance("xc_fast_path"),
            f"exc_vxc_fxc second derivative with respect to {names[row]} and {names[column]} "
            f"(spin={spin})",
            points,
        )
    _check_fast_tail(functional, spin, order=2)


def _check_fast_first(
    functional: XCFunctional, points: Array, spin: Spin, found: tuple[Array, ...], method: str
) -> Array:
    """Compare energy and first derivatives; return the size that errors are measured by."""
    scale = natural_scale(functional, points, spin)
    value, first = gradient(functional, points, spin)
    _require_nontrivial(first, "v_xc")
    size: Array = np.maximum(np.abs(value), np.abs(first * scale).max(0))
    allowed = tolerance("xc_fast_path")
    _require_equal(found[0], value, size, allowed, f"{method} energy (spin={spin})", points)
    for row, name in enumerate(dp.ROWS[functional.family, spin]):
        _require_equal(
            found[1][row] * scale[row],
            first[row] * scale[row],
            size,
            allowed,
            f"{method} derivative with respect to {name} (spin={spin})",
            points,
        )
    return size


def _check_fast_tail(functional: XCFunctional, spin: Spin, *, order: Literal[1, 2]) -> None:
    tail = dp.vanishing_points(functional.family, spin, 40, rng=np.random.default_rng(SEED))
    for part in fast_path(functional, tail, spin, order=order):
        _require_finite(part, tail, functional, spin, f"{FAST_PATHS[order]} in the tail")


def check_spin_flip(functional: XCFunctional) -> None:
    """Check that exchanging the spin channels exchanges derivatives and keeps the energy."""
    points = random_points(functional, 1, 100)
    flipped = dp.swap_spins(points)
    value, first = gradient(functional, points, 1)
    other_value, other_first = gradient(functional, flipped, 1)
    _require_nontrivial(first[0] - first[1], "the difference of the two spin potentials")
    scale = natural_scale(functional, points, 1)
    allowed = tolerance("xc_symmetry")
    _require_equal(other_value, value, np.abs(value), allowed, "energy after a spin flip", points)
    back = dp.swap_spins(other_first)
    for row, name in enumerate(dp.ROWS[functional.family, 1]):
        analytic = first[row] * scale[row]
        _require_equal(
            back[row] * scale[row],
            analytic,
            np.maximum(np.abs(value), np.abs(analytic)),
            allowed,
            f"derivative with respect to {name} after a spin flip",
            points,
        )


def check_closed_shell(functional: XCFunctional) -> None:
    """Check spin 0 against spin 1 at zero polarization, with the factors of the chain rule."""
    points = random_points(functional, 0, 100)
    value, first = gradient(functional, points, 0)
    resolved_value, resolved = gradient(functional, dp.closed_shell_as_spin_resolved(points), 1)
    _require_nontrivial(first, "v_xc")
    allowed = tolerance("xc_symmetry")
    _require_equal(
        resolved_value, value, np.abs(value), allowed, "energy with spin=1 and zeta=0", points
    )
    rows = dp.ROWS[functional.family, 1]
    for row, name in enumerate(dp.ROWS[functional.family, 0]):
        members, factor = dp.CLOSED_SHELL_CHAIN[name]
        chained = factor * sum(resolved[rows.index(member)] for member in members)
        analytic = first[row] * points[row]
        _require_equal(
            chained * points[row],
            analytic,
            np.maximum(np.abs(value), np.abs(analytic)),
            allowed,
            f"derivative with respect to {name}: {factor} * ({' + '.join(members)}) of spin=1",
            points,
        )


def check_polarized(functional: XCFunctional) -> None:
    """Check that fully polarized and one-electron points have finite energy and derivatives."""
    for occupied in ("a", "b"):
        points = dp.polarized_points(
            functional.family, 60, rng=np.random.default_rng(SEED), occupied=occupied
        )
        value, first = gradient(functional, points, 1)
        _require_nontrivial(value, "the energy density of fully polarized points")
        _require_finite(value, points, functional, 1, "the energy density")
        _require_finite(first, points, functional, 1, "the first derivative")
        if functional.max_deriv >= 2:
            second = hessian(functional, points, 1)
            _require_finite(second, points, functional, 1, "the second derivative")


def check_vanishing_density(functional: XCFunctional, spin: Spin) -> None:
    """Check zero and tiny densities: finite energy and potential, no energy without electrons."""
    points = dp.vanishing_points(functional.family, spin, 120, rng=np.random.default_rng(SEED))
    value, first = gradient(functional, points, spin)
    _require_finite(value, points, functional, spin, "the energy density")
    _require_finite(first, points, functional, spin, "the first derivative")
    require(
        abs(value[0]) <= tolerance("xc_zero_density"),
        f"the energy density at zero density is {value[0]:.3e} hartree bohr^-3 (spin={spin}); "
        "it must vanish",
    )
    # Control: the functional is not simply zero for everything.
    _require_nontrivial(
        energy(functional, random_points(functional, spin, 20), spin), "the energy density"
    )


def check_points_independent(functional: XCFunctional, spin: Spin) -> None:
    """Check that a point gives the same alone, in chunks, permuted and beside empty points."""
    points = random_points(functional, spin, 33)
    whole = energy(functional, points, spin)
    _require_nontrivial(whole, "the energy density")
    order = np.random.default_rng(SEED).permutation(points.shape[1])
    beside_empty = np.concatenate([np.zeros_like(points), points], axis=1)
    variants = {
        "in chunks of 7": np.concatenate(
            [energy(functional, points[:, i : i + 7], spin) for i in range(0, 33, 7)]
        ),
        "one by one": np.concatenate([energy(functional, points[:, [i]], spin) for i in range(33)]),
        "in another order": energy(functional, points[:, order], spin)[np.argsort(order)],
        "beside empty points": energy(functional, beside_empty, spin)[33:],
    }
    for name, values in variants.items():
        _require_equal(
            values,
            whole,
            np.abs(whole),
            tolerance("xc_independence"),
            f"energy density {name} (spin={spin}); points must not see each other",
            points,
        )


def check_input_untouched(functional: XCFunctional, spin: Spin) -> None:
    """Check that evaluation does not modify the tensor that it was given."""
    points = random_points(functional, spin, 40)
    points[:, 0] = 0.0  # where clamps and masks act
    x = torch.tensor(points, dtype=torch.float64)
    functional.energy_density(x, spin)
    calls = ["energy_density"]
    for method in FAST_PATHS.values():
        if hasattr(functional, method):
            getattr(functional, method)(x, spin)
            calls.append(method)
    changed = np.flatnonzero((x.numpy() != points).any(axis=1))
    names = [dp.ROWS[functional.family, spin][row] for row in changed]
    require(
        not names,
        f"{' or '.join(calls)} changed its input rows {', '.join(names)} (spin={spin}); "
        "work on a copy instead",
    )


def check_strided_input(functional: XCFunctional, spin: Spin) -> None:
    """Check that transposed and strided memory gives what contiguous memory gives."""
    points = random_points(functional, spin, 40)
    whole = energy(functional, points, spin)
    _require_nontrivial(whole, "the energy density")
    contiguous = torch.tensor(points, dtype=torch.float64)
    every_second = torch.zeros(len(points), 80, dtype=torch.float64)
    every_second[:, ::2] = contiguous
    variants = {
        "transposed": contiguous.T.contiguous().T,
        "strided": every_second[:, ::2],
    }
    for name, variant in variants.items():
        with torch.no_grad():
            values = functional.energy_density(variant, spin).numpy()
        _require_equal(
            values,
            whole,
            np.abs(whole),
            tolerance("strided_input"),
            f"energy density of {name} input (spin={spin})",
            points,
        )


def _check_no_points(functional: XCFunctional, spin: Spin) -> None:
    empty = torch.zeros(len(dp.ROWS[functional.family, spin]), 0, dtype=torch.float64)
    try:
        shape = tuple(functional.energy_density(empty, spin).shape)
    except Exception as error:
        raise ConformanceError(
            f"energy_density fails without any point (shape {tuple(empty.shape)}): {error!r}; "
            "a screened block of a grid may be empty"
        ) from error
    require(shape == (0,), f"no points must give shape (0,), not {shape}")


def _column(points: Array, index: int) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in points[:, index]) + ")"


def _require_nontrivial(values: Array, what: str) -> None:
    finite = np.abs(values[np.isfinite(values)])
    largest = finite.max() if finite.size else 0.0
    require(
        largest > 1e-10,
        f"nothing to test: {what} is at most {largest:.1e}; the functional looks empty",
    )


def _require_finite(
    values: Array, points: Array, functional: XCFunctional, spin: Spin, what: str
) -> None:
    bad = np.flatnonzero(~np.isfinite(values).reshape(-1, points.shape[1]).all(axis=0))
    if bad.size:
        rows = ", ".join(dp.ROWS[functional.family, spin])
        raise ConformanceError(
            f"{what} is not finite at {bad.size} of {points.shape[1]} points, first at point "
            f"{bad[0]}: ({rows}) = {_column(points, bad[0])} (spin={spin}). Guard roots, logarithms "
            "and divisions, in both branches of torch.where"
        )


def _require_equal(
    values: Array, expected: Array, size: Array, allowed: float, what: str, points: Array
) -> None:
    error = np.abs(values - expected)
    # ``not <=`` rather than ``>``: NaN must fail.
    bad = np.flatnonzero(~(error <= allowed * size))
    if bad.size:
        worst = bad[np.argmax(np.nan_to_num(error[bad] / size[bad], nan=np.inf))]
        raise ConformanceError(
            f"{what}: {values[worst]:.12g} instead of {expected[worst]:.12g} (relative error "
            f"{error[worst] / size[worst]:.1e}, allowed {allowed:.0e}) at {bad.size} of "
            f"{points.shape[1]} points, worst at {_column(points, int(worst))}"
        )


def _require_derivative(
    analytic: Array, numeric: Difference, size: Array, allowed: float, what: str, points: Array
) -> None:
    sharp = numeric.error <= allowed * size
    require(
        sharp.mean() >= RESOLVED_SHARE,
        f"{what}: differences converge at only {sharp.mean():.0%} of {sharp.size} points "
        f"({RESOLVED_SHARE:.0%} needed). The function below is not smooth or not computed in "
        "float64 throughout",
    )
    error = np.abs(analytic - numeric.value)
    bad = np.flatnonzero(sharp & ~(error <= allowed * size + numeric.error))
    if bad.size:
        worst = bad[np.argmax(np.nan_to_num(error[bad] / size[bad], nan=np.inf))]
        raise ConformanceError(
            f"{what} does not match the finite difference: {analytic[worst]:.12g} against "
            f"{numeric.value[worst]:.12g} ± {numeric.error[worst]:.1e} (scaled by the variable, "
            f"relative error {error[worst] / size[worst]:.1e}, allowed {allowed:.0e}) at {bad.size} "
            f"of {points.shape[1]} points, worst at {_column(points, int(worst))}"
        )
