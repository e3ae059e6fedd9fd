"""Fixed points z = f(z) of a batch of molecules, each with its own convergence.

The state of a molecule is a row of a matrix; rows are padded with zeros that stay zero. A molecule that has
converged, or cannot converge, stays where it is: its result does not depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from kakehashi_core.errors import InvalidInputError

Map = Callable[[torch.Tensor], torch.Tensor]
Method = Literal["anderson", "broyden", "picard"]
METHODS: tuple[Method, ...] = ("anderson", "broyden", "picard")

GROWTH = 2.0
"""A residual that grows by more than this factor sends Anderson's method back to a damped step."""
REGULARIZATION = 1e-8
DIVERGED = 1e6
"""A residual this many times the first one will not come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverSettings:
    """How to look for a fixed point.

    Attributes:
        method: "anderson", "broyden" or "picard".
        tolerance: Residual below which a molecule is converged, in the unit of ``solve``'s measure.
        max_evaluations: Of the map.
        memory: Residuals that Anderson's and Broyden's methods remember.
        damping: Share of the residual that a plain step takes, 0 to 1.
    """

    method: Method = "anderson"
    tolerance: float = 1e-7
    max_evaluations: int = 30
    memory: int = 5
    damping: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.method not in METHODS:
            raise InvalidInputError(f"method is {self.method!r}; {', '.join(METHODS)} are known")
        if self.max_evaluations < 1 or self.memory < 1:
            raise InvalidInputError(
                f"max_evaluations and memory must be at least 1, got {self.max_evaluations} and "
                f"{self.memory}"
            )
        if not (0.0 < self.damping <= 1.0 and self.tolerance > 0.0):
            raise InvalidInputError(
                f"damping must be between 0 and 1 and tolerance positive, got {self.damping!r} and "
                f"{self.tolerance!r}"
            )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FixedPoint:
    """What was found.

    Attributes:
        state: (n_molecules, n_numbers).
        residuals: By evaluation, (n_evaluations, n_molecules); NaN after a molecule was finished.
        converged: (n_molecules,).
        evaluations: Of the map, by molecule, (n_molecules,).
        reasons: Why each molecule stopped: "converged", "diverged" or "evaluations".
    """

    state: torch.Tensor = field(repr=False)
    residuals: torch.Tensor = field(repr=False)
    converged: torch.Tensor
    evaluations: torch.Tensor
    reasons: tuple[str, ...]


def solve(
    function: Map,
    start: torch.Tensor,
    settings: SolverSettings | None = None,
    *,
    measure: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> FixedPoint:
    """Look for fixed points of a batch.

    No exception is raised where there is none: a molecule whose residual is not finite, or grows beyond all
    bounds, is "diverged" and keeps the last finite state.

    Args:
        function: States to states, (n_molecules, n_numbers); rows do not mix.
        start: Where to begin, the same shape.
        settings: How; None for Anderson's method.
        measure: f(z) - z to a residual of each molecule, (n_molecules,); the root mean square by default.

    Source:
        D. G. Anderson, J. ACM 12, 547 (1965); C. G. Broyden, Math. Comput. 19, 577 (1965).
    """
    settings = settings or SolverSettings()
    size = measure or _root_mean_square
    n = len(start)
    state = start.clone()
    history = _History(settings, start)
    active = torch.ones(n, dtype=torch.bool, device=start.device)
    converged = torch.zeros_like(active)
    diverged = torch.zeros_like(active)
    evaluations = torch.zeros(n, dtype=torch.int64, device=start.device)
    residuals = []
    first: torch.Tensor | None = None
    for _ in range(settings.max_evaluations):
        step = function(state) - state
        norms = size(step)
        evaluations += active
        finite = torch.isfinite(step).all(dim=1) & torch.isfinite(norms)
        residuals.append(torch.where(active, norms, torch.nan))
        first = norms if first is None else first
        good = active & finite & (norms < settings.tolerance)
        bad = active & (~finite | (norms > DIVERGED * first.clamp(min=settings.tolerance)))
        # The state after one more evaluation is the better one.
        state = torch.where(good[:, None], state + step, state)
        converged |= good
        diverged |= bad
        active &= ~(good | bad)
        if not active.any():
            break
        proposed = history.next(state, torch.where(finite[:, None], step, 0.0), norms)
        state = torch.where(active[:, None], proposed, state)
    reasons = tuple(
        "converged" if c else "diverged" if d else "evaluations"
        for c, d in zip(converged.tolist(), diverged.tolist(), strict=True)
    )
    return FixedPoint(
        state=state,
        residuals=torch.stack(residuals),
        converged=converged,
        evaluations=evaluations,
        reasons=reasons,
    )


class _History:
    """States and residuals of all molecules, and the next state that they suggest."""

    def __init__(self, settings: SolverSettings, start: torch.Tensor) -> None:
        self._settings = settings
        self._states: list[torch.Tensor] = []
        self._steps: list[torch.Tensor] = []
        self._last = torch.full((len(start),), torch.inf, dtype=start.dtype, device=start.device)

    def next(self, state: torch.Tensor, step: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
        """Return the next states."""
        s = self._settings
        plain = state + s.damping * step
        if s.method == "picard":
            return plain
        self._states = [*self._states, state][-s.memory - (s.method == "broyden") :]
        self._steps = [*self._steps, step][-s.memory - (s.method == "broyden") :]
        grown = norms > GROWTH * self._last
        self._last = torch.where(torch.isfinite(norms), norms, self._last)
        if len(self._states) < 2:
            return plain
        found = self._anderson() if s.method == "anderson" else self._broyden()
        usable = torch.isfinite(found).all(dim=1) & ~grown
        careful = state + 0.5 * s.damping * step
        return torch.where(usable[:, None], found, torch.where(grown[:, None], careful, plain))

    def _anderson(self) -> torch.Tensor:
        """Return the combination of earlier states whose residual is smallest."""
        states, steps = torch.stack(self._states, dim=1), torch.stack(self._steps, dim=1)
        gram = steps @ steps.transpose(1, 2)
        n = gram.shape[1]
        scale = gram.diagonal(dim1=1, dim2=2).sum(dim=1)
        eye = torch.eye(n, dtype=gram.dtype, device=gram.device)
        matrix = gram + (REGULARIZATION * scale + 1e-300)[:, None, None] * eye
        weights: torch.Tensor = torch.linalg.solve_ex(matrix, torch.ones_like(gram[:, :, :1]))[0]
        weights = weights / weights.sum(dim=1, keepdim=True)
        return ((states + self._settings.damping * steps) * weights).sum(dim=1)

    def _broyden(self) -> torch.Tensor:
        """Return the step of Broyden's second method with the secants that are remembered."""
        step, state = self._steps[-1], self._states[-1]
        # Residuals g = f - z; secants dz = B dg, with B = -damping where nothing is known.
        found = self._settings.damping * step
        rest = step
        for k in range(len(self._states) - 1, 0, -1):
            dz = self._states[k] - self._states[k - 1]
            dg = self._steps[k] - self._steps[k - 1]
            square = (dg * dg).sum(dim=1, keepdim=True)
            share = (dg * rest).sum(dim=1, keepdim=True) / square.clamp(min=1e-300)
            share = torch.where(square > 0.0, share, torch.zeros_like(share))
            found = found - share * (dz + self._settings.damping * dg)
            rest = rest - share * dg
        return state + found


def _root_mean_square(step: torch.Tensor) -> torch.Tensor:
    return step.square().mean(dim=1).sqrt()
