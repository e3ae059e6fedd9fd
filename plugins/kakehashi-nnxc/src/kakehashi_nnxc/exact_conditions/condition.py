"""What is checked, and what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from kakehashi_nnxc.exact_conditions.mesh import Mesh, Points
from kakehashi_nnxc.exact_conditions.sample import Sample
from kakehashi_nnxc.pointwise_energy import FloatArray, PointwiseEnergy

Violation = Callable[[PointwiseEnergy, Mesh], tuple[FloatArray, Points]]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What is checked.

    Attributes:
        name: Stable name.
        title: The condition in words.
        tolerance: Largest violation that counts as satisfied.
        violation: Function of a functional and a mesh that returns the violations and where they are.
        unit: Unit of violation and tolerance; empty when dimensionless.
        needs_exchange: Whether exchange must be separable.
    """

    name: str
    title: str
    tolerance: float
    violation: Violation
    unit: str = ""
    needs_exchange: bool = False

    def result(self, energy: PointwiseEnergy, mesh: Mesh) -> ConditionResult:
        """Check a functional; what is not finite violates the condition."""
        violation, points = self.violation(energy, mesh)
        violation = np.where(np.isfinite(violation), violation, np.inf)
        index = int(violation.argmax())
        worst = max(float(violation[index]), 0.0)
        return ConditionResult(
            name=self.name,
            title=self.title,
            passed=worst <= self.tolerance,
            worst=worst,
            tolerance=self.tolerance,
            unit=self.unit,
            where={name: float(values[index]) for name, values in points.items()},
            share=float(np.mean(violation > self.tolerance)),
        )

    def not_tested(self, remark: str) -> ConditionResult:
        """Return the outcome for a functional with which the condition cannot be tested."""
        return ConditionResult(
            name=self.name,
            title=self.title,
            passed=None,
            worst=math.nan,
            tolerance=self.tolerance,
            unit=self.unit,
            remark=remark,
        )


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


def condition_on_mesh(
    name: str,
    title: str,
    *,
    tolerance: float,
    unit: str = "",
    needs_exchange: bool = False,
    **fixed: float,
) -> Callable[[Callable[[Sample], FloatArray]], Condition]:
    """Turn a function that returns the violations at the points of a sample into a condition.

    Args:
        name: See ``Condition``, like the others.
        title: In words.
        tolerance: Largest violation that counts as satisfied.
        unit: Of both.
        needs_exchange: Whether exchange must be separable.
        fixed: Variables that keep one value instead of those of the mesh.
    """

    def decorate(violation_at: Callable[[Sample], FloatArray]) -> Condition:
        def violation(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
            points = mesh.points(energy.family, **fixed)
            return violation_at(Sample(energy, points)), points

        return Condition(
            name=name,
            title=title,
            tolerance=tolerance,
            violation=violation,
            unit=unit,
            needs_exchange=needs_exchange,
        )

    return decorate
