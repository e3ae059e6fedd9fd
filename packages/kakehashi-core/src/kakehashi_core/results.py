"""Result types that look the same whichever plugin produced them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from kakehashi_core.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A Monte Carlo average with its error bar.

    Attributes:
        mean: The average, in the unit of what was measured.
        stderr: Standard error of the mean with autocorrelation included, same unit.
        tau_int: Integrated autocorrelation time in sweeps; 0.5 for independent samples.
        n_samples: Number of measurements behind the average.
    """

    mean: float
    stderr: float
    tau_int: float = 0.5
    n_samples: int = 0

    def __post_init__(self) -> None:
        if self.stderr < 0 or math.isnan(self.stderr):
            raise InvalidInputError(f"standard error must be >= 0, got {self.stderr}")

    def z_score(self, reference: float, reference_stderr: float = 0.0) -> float:
        """Return (mean - reference) in units of the combined standard error."""
        sigma = math.hypot(self.stderr, reference_stderr)
        difference = self.mean - reference
        if sigma == 0.0:
            return 0.0 if difference == 0.0 else math.copysign(math.inf, difference)
        return difference / sigma

    def __format__(self, format_spec: str) -> str:
        spec = format_spec or ".6g"
        return f"{self.mean:{spec}} ± {self.stderr:{spec}}"

    def __str__(self) -> str:
        return format(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvergenceStage:
    """One attempt of an iterative solver: a rung of a ladder, a solver, a restart."""

    name: str
    converged: bool
    n_iterations: int
    residual: float = math.nan
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvergenceReport:
    """How an iteration reached its fixed point, or why it did not.

    Attributes:
        converged: Whether the last stage met its criterion.
        method: Name of the stage that produced the result.
        n_iterations: Iterations over all stages.
        residual: Last residual, in the unit named by ``residual_name``.
        residual_name: What the residual measures, with its unit.
        stages: Every attempt in order.
        warnings: Remarks the user should see, such as elements outside the training domain.
        fallback: True when a conventional method answered in place of the model.
    """

    converged: bool
    method: str
    n_iterations: int
    residual: float = math.nan
    residual_name: str = ""
    stages: tuple[ConvergenceStage, ...] = ()
    warnings: tuple[str, ...] = ()
    fallback: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        state = "converged" if self.converged else "NOT converged"
        lines = [f"{state} by {self.method} after {self.n_iterations} iterations"]
        if not math.isnan(self.residual):
            lines[0] += f" ({self.residual_name or 'residual'} {self.residual:.2e})"
        lines += [
            f"  {stage.name}: {'ok' if stage.converged else 'failed'}, {stage.n_iterations} iterations"
            + (f", {stage.message}" if stage.message else "")
            for stage in self.stages
        ]
        lines += [f"  warning: {text}" for text in self.warnings]
        return "\n".join(lines)
