"""Exact conditions of the exchange-correlation energy, checked on a mesh for any functional.

Functionals return exchange and correlation together. Exchange is recovered as the high-density limit under
uniform scaling, correlation as the rest, so functionals without that limit fail it once, by name, and what
would need the two parts separately is not tested. The conditions on energies per electron are sufficient for
those on energies of all densities, not necessary: a violated one is a warning, no proof.

Source:
    Conditions on r_s: M. Levy, J. P. Perdew, Phys. Rev. A 32, 2010 (1985), in the local form of
    A. Pederson, K. Burke, J. Chem. Phys. 159, 214113 (2023). Lieb-Oxford bound: constant 2.273 of
    M. Levy, J. P. Perdew, Phys. Rev. B 48, 11638 (1993).
    Second-order gradient expansion: own derivation, see ``_gradient_coefficient``; tested with PBE, TPSS and
    r2SCAN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.contracts import XCFunctional
from kakehashi_core.errors import InvalidInputError, unknown_name
from kakehashi_nnxc import r2scan
from kakehashi_nnxc.pointwise_energy import (
    EMPTY_CHANNEL,
    HIGH_DENSITY,
    FloatArray,
    PointwiseEnergy,
    local_exchange,
)

LIEB_OXFORD = 2.273
EXCHANGE_BOUND = 1.804
EXCHANGE_GRADIENT = 10.0 / 81.0
CORRELATION_GRADIENT = 0.066725
HYDROGEN_ENERGY = -5.0 / 16.0

Points = Mapping[str, FloatArray]
Violation = Callable[[PointwiseEnergy, "Mesh"], tuple[FloatArray, Points]]


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """The points on which conditions are checked: the product of five lists.

    Attributes:
        seitz_radii: r_s, bohr; neighbors serve no finite differences, so any spacing will do.
        polarizations: (n_a - n_b)/n.
        gradients: s.
        alphas: (tau - tau_W)/tau_unif.
        near: Convolved over local density; read by functionals of family NONLOCAL.
        path_steps: Coarsest number of intervals of the paths on which jumps are looked for.
    """

    seitz_radii: tuple[float, ...] = tuple(float(x) for x in np.geomspace(0.05, 50.0, 13))
    polarizations: tuple[float, ...] = (0.0, 0.3, 0.6, 0.9, 1.0)
    gradients: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
    alphas: tuple[float, ...] = (0.0, 0.2, 0.5, 0.8, 1.0, 1.3, 2.0, 3.0, 6.0)
    near: tuple[float, ...] = (0.5, 1.0, 2.0)
    path_steps: int = 800

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seitz_radii", 1e-3, 1e3),
            ("polarizations", -1.0, 1.0),
            ("gradients", 0.0, 100.0),
            ("alphas", 0.0, 100.0),
            ("near", 1e-3, 1e3),
        ):
            values = getattr(self, name)
            if not values or not all(low <= x <= high for x in values):
                raise InvalidInputError(
                    f"{name} of a mesh must be numbers from {low:g} to {high:g}, at least one, got {values}"
                )
        if self.path_steps < 200:
            raise InvalidInputError(f"path_steps must be at least 200, got {self.path_steps}")

    def points(self, energy: PointwiseEnergy, **fixed: float | Sequence[float]) -> Points:
        """Return the flattened product; ``fixed`` replaces lists.

        Variables that the family does not read keep one value only.
        """
        reads = {"LDA": 0, "GGA": 1, "MGGA": 2, "NONLOCAL": 3}[energy.family]
        lists: dict[str, Sequence[float]] = {
            "seitz_radius": self.seitz_radii,
            "polarization": self.polarizations,
            "gradient": self.gradients if reads >= 1 else (0.0,),
            "alpha": self.alphas if reads >= 2 else (1.0,),
            "near": self.near if reads >= 3 else (1.0,),
        }
        for name, value in fixed.items():
            lists[name] = (value,) if isinstance(value, float) else value
        grids = np.meshgrid(*lists.values(), indexing="ij")
        return {name: grid.ravel() for name, grid in zip(lists, grids, strict=True)}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What is checked.

    Attributes:
        name: Stable name.
        title: The condition in words.
        unit: Unit of violation and tolerance; empty when dimensionless.
        tolerance: Largest violation that counts as satisfied.
        violation: Function of a functional and a mesh that returns the violations and where they are.
        needs_exchange: Whether exchange must be separable.
    """

    name: str
    title: str
    unit: str
    tolerance: float
    violation: Violation
    needs_exchange: bool = False


@dataclass(frozen=True, kw_only=True)
class ConditionResult:
    """The outcome of one condition.

    Attributes:
        name: As in ``Condition``.
        title: As in ``Condition``.
        passed: None when it could not be tested.
        worst: Largest violation; NaN when not tested, infinity when the functional was not finite there.
        tolerance: As in ``Condition``.
        unit: Of both.
        where: Variables of the worst point.
        share: Share of the points that violate the condition.
        remark: Why it was not tested.
    """

    name: str
    title: str
    passed: bool | None
    worst: float
    tolerance: float
    unit: str
    where: Mapping[str, float] = field(default_factory=dict)
    share: float = 0.0
    remark: str = ""


def check_conditions(
    functional: str | XCFunctional | PointwiseEnergy,
    *,
    mesh: Mesh | None = None,
    names: Sequence[str] = (),
) -> tuple[ConditionResult, ...]:
    """Check a functional.

    Args:
        functional: Registered name, libxc name or functional object.
        mesh: Points; the default has 5,265 for a meta-GGA.
        names: Conditions to check, all of ``CONDITIONS`` by default.

    Raises:
        UnknownNameError: If a condition or the functional is unknown.
        InvalidInputError: If the functional is a hybrid or otherwise no function of the point.
    """
    known = {condition.name: condition for condition in CONDITIONS}
    for name in names:
        if name not in known:
            raise unknown_name("exact condition", name, known)
    energy = functional if isinstance(functional, PointwiseEnergy) else PointwiseEnergy(functional)
    mesh = mesh or Mesh()
    limit = _result(EXCHANGE_LIMIT, energy, mesh)
    results = []
    for condition in [known[name] for name in names] or CONDITIONS:
        if condition is EXCHANGE_LIMIT:
            results.append(limit)
        elif condition.needs_exchange and not limit.passed:
            results.append(_not_tested(condition))
        else:
            results.append(_result(condition, energy, mesh))
    return tuple(results)


def _result(condition: Condition, energy: PointwiseEnergy, mesh: Mesh) -> ConditionResult:
    violation, points = condition.violation(energy, mesh)
    violation = np.where(np.isfinite(violation), violation, np.inf)
    index = int(violation.argmax())
    worst = max(float(violation[index]), 0.0)
    return ConditionResult(
        name=condition.name,
        title=condition.title,
        passed=worst <= condition.tolerance,
        worst=worst,
        tolerance=condition.tolerance,
        unit=condition.unit,
        where={name: float(values[index]) for name, values in points.items()},
        share=float(np.mean(violation > condition.tolerance)),
    )


def _not_tested(condition: Condition) -> ConditionResult:
    return ConditionResult(
        name=condition.name,
        title=condition.title,
        passed=None,
        worst=math.nan,
        tolerance=condition.tolerance,
        unit=condition.unit,
        remark="not tested: exchange cannot be told from correlation without a high-density limit",
    )


def _energy(energy: PointwiseEnergy, points: Points, *, spin: Literal[0, 1] = 1) -> FloatArray:
    return energy(*_columns(points), spin=spin)


def _exchange(
    energy: PointwiseEnergy, points: Points, *, scaling: float = HIGH_DENSITY
) -> FloatArray:
    return energy.exchange(*_columns(points), scaling=scaling)


def _columns(points: Points) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    return (
        points["seitz_radius"],
        points["polarization"],
        points["gradient"],
        points["alpha"],
        points["near"],
    )


def _uniform_gas(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    points = mesh.points(energy, gradient=0.0, alpha=1.0, near=1.0)
    exact = uniform_gas_energy(points["seitz_radius"], points["polarization"])
    return np.abs(_energy(energy, points) / exact - 1.0), points


def uniform_gas_energy(seitz_radius: npt.ArrayLike, polarization: npt.ArrayLike) -> FloatArray:
    """Return exchange and correlation per electron of the uniform gas, hartree (Slater and PW92)."""
    rs, zeta = np.broadcast_arrays(
        np.asarray(seitz_radius, dtype=np.float64), np.asarray(polarization, dtype=np.float64)
    )
    phi = 0.5 * ((1.0 + zeta) ** (4.0 / 3.0) + (1.0 - zeta) ** (4.0 / 3.0))
    correlation, _ = r2scan.uniform_gas_correlation(
        *(torch.from_numpy(np.array(x)) for x in (rs, zeta, phi))
    )
    return np.asarray(local_exchange(rs) * phi + correlation.numpy())


def _exchange_limit(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    points = mesh.points(energy)
    limit = _exchange(energy, points)
    before = _exchange(energy, points, scaling=0.1 * HIGH_DENSITY)
    return np.abs(before - limit) / np.abs(local_exchange(points["seitz_radius"])), points


def _spin_scaling(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    points = mesh.points(energy)
    zeta = points["polarization"]
    scaled = np.zeros_like(zeta)
    for z in (zeta, -zeta):
        # The density 2 n_s has the same relative gradient: s grows as the density falls.
        share = np.maximum(1.0 + z, 2.0 * EMPTY_CHANNEL)
        channel = {
            **points,
            "polarization": np.zeros_like(zeta),
            "seitz_radius": points["seitz_radius"] * share ** (-1.0 / 3.0),
            "gradient": points["gradient"] * share ** (-1.0 / 3.0),
        }
        scaled += 0.5 * share * _exchange(energy, channel)
    error = _exchange(energy, points) - scaled
    return np.abs(error) / np.abs(local_exchange(points["seitz_radius"])), points


def _exchange_bound(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    points = mesh.points(energy, polarization=0.0)
    return _enhancement(energy, points) - EXCHANGE_BOUND, points


def _enhancement(energy: PointwiseEnergy, points: Points) -> FloatArray:
    return _exchange(energy, points) / local_exchange(points["seitz_radius"])


def _large_gradient(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    """F_x must fall like s^(-1/2) at least: by half a decade from s = 1e5 to 1e6."""
    points = mesh.points(energy, polarization=0.0)
    points = {**points, "gradient": np.full_like(points["gradient"], 1e5)}
    far = {**points, "gradient": 10.0 * points["gradient"]}
    decay = _enhancement(energy, far) / _enhancement(energy, points)
    return decay * math.sqrt(10.0) - 1.0, points


def _exchange_gradient(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    del mesh
    rs = np.array([0.5, 1.0, 2.0])
    coefficient = _gradient_coefficient(
        lambda r, s, a: energy.exchange(r, 0.0, s, a), rs, step=1e-3
    )
    expected = EXCHANGE_GRADIENT * local_exchange(rs)
    return np.abs(coefficient / expected - 1.0), {"seitz_radius": rs}


def _correlation_gradient(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    del mesh
    rs = np.array([0.01, 0.02, 0.04])
    coefficient = _gradient_coefficient(
        lambda r, s, a: energy(r, 0.0, s, a) - energy.exchange(r, 0.0, s, a), rs, step=1e-5
    )
    # t^2 = (3 pi^2/16)^(2/3) p/r_s
    expected = CORRELATION_GRADIENT * (3.0 * np.pi**2 / 16.0) ** (2.0 / 3.0) / rs
    return np.abs(coefficient / expected - 1.0), {"seitz_radius": rs}


def _gradient_coefficient(
    energy: Callable[[FloatArray, FloatArray, FloatArray], FloatArray],
    rs: FloatArray,
    *,
    step: float,
) -> FloatArray:
    """Return c in e = e_uniform + c p for slowly varying densities, for e(r_s, s, alpha).

    There alpha - 1 = -(40/27) p + (20/9) q, with q the reduced Laplacian, since
    tau = tau_unif + tau_W/9 + (Laplacian of n)/6. Integration by parts of the term in q, weight
    A(r_s) = de/dalpha, gives p (2 A + r_s A')/3, so that c = de/dp + (20/27) r_s dA/dr_s.

    Args:
        energy: Energy per electron.
        rs: (n_points,), bohr.
        step: Step of p.
    """

    def by_p(h: float) -> FloatArray:
        one = np.ones_like(rs)
        return (energy(rs, math.sqrt(h) * one, one) - energy(rs, 0.0 * one, one)) / h

    def by_alpha(r: FloatArray, h: float = 1e-3) -> FloatArray:
        one = np.ones_like(r)
        return (energy(r, 0.0 * one, (1.0 + h) * one) - energy(r, 0.0 * one, (1.0 - h) * one)) / (
            2 * h
        )

    slope = 2.0 * by_p(0.5 * step) - by_p(step)
    ratio = math.exp(1e-2)
    return slope + (20.0 / 27.0) * (by_alpha(rs * ratio) - by_alpha(rs / ratio)) / 2e-2


def _negative(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    points = mesh.points(energy)
    return _energy(energy, points) / np.abs(local_exchange(points["seitz_radius"])), points


def _correlation(energy: PointwiseEnergy, points: Points) -> FloatArray:
    return _energy(energy, points) - _exchange(energy, points)


def _negative_correlation(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    points = mesh.points(energy)
    return _correlation(energy, points), points


def _lieb_oxford(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    points = mesh.points(energy)
    local = local_exchange(points["seitz_radius"])
    return _energy(energy, points) / local - LIEB_OXFORD, points


def _one_electron(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    # Without a gradient there is no one-electron density, and TPSS has no limit there.
    points = mesh.points(
        energy, polarization=1.0, alpha=0.0, gradient=tuple(s for s in mesh.gradients if s) or 1.0
    )
    return np.abs(_correlation(energy, points)), points


def _hydrogen(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    del mesh
    nodes, weights = np.polynomial.legendre.leggauss(200)
    r = 7.0 * (nodes + 1.0)
    density = np.exp(-2.0 * r) / np.pi
    rs = (3.0 / (4.0 * np.pi * density)) ** (1.0 / 3.0)
    gradient = density ** (-1.0 / 3.0) / (3.0 * np.pi**2) ** (1.0 / 3.0)
    electrons = 7.0 * weights * 4.0 * np.pi * r**2 * density
    total = float(electrons @ energy(rs, 1.0, gradient, 0.0))
    return np.array([abs(total - HYDROGEN_ENERGY)]), {}


def _scaling_inequality(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    """d(r_s |e_c|)/d r_s >= 0; r_s e_x does not depend on r_s, so no separation is needed."""
    points = mesh.points(energy)
    slope = -_by_logarithm(lambda p: p["seitz_radius"] * _energy(energy, p), points)
    return -slope / points["seitz_radius"], points


def _monotonic_correlation(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    points = mesh.points(energy)
    return -_by_logarithm(lambda p: _correlation(energy, p), points), points


def _by_logarithm(function: Callable[[Points], FloatArray], points: Points) -> FloatArray:
    """Differentiate by ln r_s."""
    step = 1e-3
    ends = [
        function({**points, "seitz_radius": points["seitz_radius"] * math.exp(h)})
        for h in (step, -step)
    ]
    return (ends[0] - ends[1]) / (2.0 * step)


def _spin_flip(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    points = mesh.points(energy)
    flipped = {**points, "polarization": -points["polarization"]}
    return np.abs(_energy(energy, flipped) / _energy(energy, points) - 1.0), points


def _closed_shell(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    points = mesh.points(energy, polarization=0.0)
    return np.abs(_energy(energy, points, spin=0) / _energy(energy, points) - 1.0), points


_PATHS: Mapping[str, tuple[float, float]] = {
    "seitz_radius": (0.5, 4.5),
    "polarization": (-0.9, 0.9),
    "gradient": (0.4, 3.4),
    "alpha": (0.05, 4.05),
    "near": (0.3, 3.3),
}
_CENTERS: tuple[Mapping[str, float], ...] = tuple(
    {"seitz_radius": rs, "polarization": z, "gradient": s, "alpha": a, "near": 1.0}
    for rs, z in ((0.7, 0.0), (2.0, 0.4))
    for s, a in ((0.3, 1.0), (1.0, 0.4), (1.5, 2.2))
)
_READ_FROM = {"seitz_radius": 0, "polarization": 0, "gradient": 1, "alpha": 2, "near": 3}


def _jumps(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    """Look for jumps of the second derivative on straight paths.

    The largest change of the second difference over three intervals, which hold any jump completely, is
    J + c h + d h^2 for the step h; three steps eliminate c and d. Of two such triples the smaller counts:
    steepness fades with the step, a jump stays, and rounding only grows.
    """
    reads = {"LDA": 0, "GGA": 1, "MGGA": 2, "NONLOCAL": 3}[energy.family]
    violations, points = [], []
    for variable, (start, end) in _PATHS.items():
        if _READ_FROM[variable] > reads:
            continue
        for center in _CENTERS:
            jump, position = _jump_on(energy, center, variable, start, end, mesh.path_steps)
            violations.append(jump)
            points.append({**center, variable: position})
    return np.array(violations), {
        name: np.array([point[name] for point in points]) for name in points[0]
    }


def _jump_on(
    energy: PointwiseEnergy,
    center: Mapping[str, float],
    variable: str,
    start: float,
    end: float,
    n_steps: int,
) -> tuple[float, float]:
    changes, position = [], start
    scale = 0.0
    for factor in (1, 2, 4, 8):
        x = np.linspace(start, end, factor * n_steps + 1)
        ones = np.ones_like(x)
        along = {name: value * ones for name, value in center.items()}
        e = _energy(energy, {**along, variable: x})
        second = np.diff(e, 2) * (factor * n_steps / (end - start)) ** 2
        scale = scale or float(np.abs(second).max()) + 1e-3
        change = np.abs(second[3:] - second[:-3])
        changes.append(float(change.max()))
        position = float(x[int(change.argmax()) + 2])
    jumps = [
        (8.0 * fine - 6.0 * middle + coarse) / 3.0
        for coarse, middle, fine in (changes[:3], changes[1:])
    ]
    return min(jumps) / scale, position


EXCHANGE_LIMIT = Condition(
    name="exchange-limit",
    title="high density: e_xc scales like exchange, correlation is negligible",
    unit="",
    tolerance=1e-4,
    violation=_exchange_limit,
)

CONDITIONS: tuple[Condition, ...] = (
    Condition(
        name="uniform-gas",
        title="uniform gas: Slater and Perdew-Wang 92, any polarization",
        unit="",
        tolerance=1e-3,  # parametrizations of the same data differ by this
        violation=_uniform_gas,
    ),
    EXCHANGE_LIMIT,
    Condition(
        name="spin-scaling",
        title="E_x[n_a, n_b] = (E_x[2 n_a] + E_x[2 n_b])/2",
        unit="",
        tolerance=1e-5,
        violation=_spin_scaling,
        needs_exchange=True,
    ),
    Condition(
        name="exchange-gradient",
        title="second-order gradient expansion of exchange, 10/81",
        unit="",
        tolerance=1e-2,
        violation=_exchange_gradient,
        needs_exchange=True,
    ),
    Condition(
        name="correlation-gradient",
        title="second-order gradient expansion of correlation at high density, 0.0667",
        unit="",
        tolerance=2e-2,
        violation=_correlation_gradient,
        needs_exchange=True,
    ),
    Condition(
        name="exchange-bound",
        title="F_x <= 1.804 for closed shells, sufficient for the Lieb-Oxford bound",
        unit="",
        tolerance=1e-6,
        violation=_exchange_bound,
        needs_exchange=True,
    ),
    Condition(
        name="large-gradient",
        title="F_x falls like s^(-1/2) or faster",
        unit="",
        tolerance=5e-2,
        violation=_large_gradient,
        needs_exchange=True,
    ),
    Condition(
        name="negative",
        title="e_xc <= 0",
        unit="",
        tolerance=1e-12,
        violation=_negative,
    ),
    Condition(
        name="negative-correlation",
        title="e_c <= 0",
        unit="hartree",
        tolerance=1e-6,
        violation=_negative_correlation,
        needs_exchange=True,
    ),
    Condition(
        name="lieb-oxford",
        title="e_xc >= 2.273 e_x of the unpolarized uniform gas",
        unit="",
        tolerance=1e-6,
        violation=_lieb_oxford,
    ),
    Condition(
        name="one-electron",
        title="no correlation in one-electron densities (full polarization, alpha = 0)",
        unit="hartree",
        tolerance=1e-6,
        violation=_one_electron,
        needs_exchange=True,
    ),
    Condition(
        name="hydrogen",
        title="E_xc of the hydrogen atom is -5/16",
        unit="hartree",
        tolerance=2e-3,
        violation=_hydrogen,
    ),
    Condition(
        name="scaling-inequality",
        title="d(r_s |e_c|)/d r_s >= 0: E_c[n_g] >= g E_c[n] for g >= 1",
        unit="hartree",
        tolerance=1e-5,
        violation=_scaling_inequality,
    ),
    Condition(
        name="monotonic-correlation",
        title="d|e_c|/d ln r_s <= 0: correlation grows with the density (conjecture T_c <= -E_c)",
        unit="hartree",
        tolerance=1e-5,
        violation=_monotonic_correlation,
        needs_exchange=True,
    ),
    Condition(
        name="spin-flip",
        title="both spins are equal",
        unit="",
        tolerance=1e-10,
        violation=_spin_flip,
    ),
    Condition(
        name="closed-shell",
        title="the closed-shell form is the spin-resolved one with equal spins",
        unit="",
        tolerance=1e-9,
        violation=_closed_shell,
    ),
    Condition(
        name="smooth",
        title="no jump of a second derivative, relative to the largest on the path",
        unit="",
        tolerance=5e-3,  # r2SCAN's own coefficients leave a jump of 3e-10 in its value at alpha = 2.5
        violation=_jumps,
    ),
)
