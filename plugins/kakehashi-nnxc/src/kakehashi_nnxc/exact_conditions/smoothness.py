"""Jumps of second derivatives."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kakehashi_nnxc.exact_conditions.condition import Condition
from kakehashi_nnxc.exact_conditions.mesh import Mesh, Points, variables_of
from kakehashi_nnxc.exact_conditions.sample import Sample
from kakehashi_nnxc.pointwise_energy import FloatArray, PointwiseEnergy

PATHS: Mapping[str, tuple[float, float]] = {
    "seitz_radius": (0.5, 4.5),
    "polarization": (-0.9, 0.9),
    "gradient": (0.4, 3.4),
    "alpha": (0.05, 4.05),
    "near": (0.3, 3.3),
}
"""Start and end of the straight lines along one variable."""

CENTERS: tuple[Mapping[str, float], ...] = tuple(
    {"seitz_radius": rs, "polarization": z, "gradient": s, "alpha": a, "near": 1.0}
    for rs, z in ((0.7, 0.0), (2.0, 0.4))
    for s, a in ((0.3, 1.0), (1.0, 0.4), (1.5, 2.2))
)
"""Values of the other variables."""

REFINEMENTS = (1, 2, 4, 8)
FLAT = 1e-3
"""Added to the largest second derivative, so that straight lines divide by something."""


def _jumps(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    violations, points = [], []
    for variable in variables_of(energy.family):
        for center in CENTERS:
            jump, position = _jump_along(variable, center, energy, mesh.path_steps)
            violations.append(jump)
            points.append({**center, variable: position})
    return np.array(violations), {name: np.array([p[name] for p in points]) for name in PATHS}


def _jump_along(
    variable: str, center: Mapping[str, float], energy: PointwiseEnergy, n_steps: int
) -> tuple[float, float]:
    """Return the jump relative to the largest second derivative, and where it is.

    The largest change of the second difference over three intervals, which hold any jump completely, is
    J + c h + d h^2 for the step h; three steps eliminate c and d. Of two such triples the smaller counts:
    steepness fades with the step, a jump stays, and rounding only grows.
    """
    start, end = PATHS[variable]
    changes: list[float] = []
    scale, position = 0.0, start
    for refinement in REFINEMENTS:
        n_intervals = refinement * n_steps
        x = np.linspace(start, end, n_intervals + 1)
        fixed = {name: value * np.ones_like(x) for name, value in center.items()}
        e = Sample(energy, {**fixed, variable: x}).energy()
        second = np.diff(e, 2) * (n_intervals / (end - start)) ** 2
        scale = scale or float(np.abs(second).max()) + FLAT
        change = np.abs(second[3:] - second[:-3])
        changes.append(float(change.max()))
        position = float(x[int(change.argmax()) + 2])
    jumps = [
        (8.0 * fine - 6.0 * middle + coarse) / 3.0
        for coarse, middle, fine in (changes[:3], changes[1:])
    ]
    return min(jumps) / scale, position


smooth = Condition(
    name="smooth",
    title="no jump of a second derivative, relative to the largest on the path",
    tolerance=5e-3,  # r2SCAN's own coefficients leave a jump of 3e-10 in its value at alpha = 2.5
    violation=_jumps,
)
