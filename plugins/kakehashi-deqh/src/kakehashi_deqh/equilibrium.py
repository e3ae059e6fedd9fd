"""The fixed point of a network as a layer: solved without a graph, differentiated at the solution.

At z* = f(z*; theta), a loss changes by

    dL / dtheta = g^T df / dtheta,  g = J^T g + dL / dz*,  J = df / dz*

whatever way z* was found ("ift"). "phantom:k" instead differentiates k more evaluations at the solution.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import torch

from kakehashi_core.errors import InvalidInputError
from kakehashi_deqh.fixed_points import FixedPoint, SolverSettings, solve

Step = Callable[[torch.Tensor], torch.Tensor]

BACKWARD = SolverSettings(tolerance=1e-10, max_evaluations=60)


class DeepEquilibrium(torch.nn.Module):
    """A layer around any map of states that depends on parameters.

    Args:
        gradient: "ift", or "phantom:k" with k at least 1.
        forward: How to solve for the state.
        backward: How to solve for g.

    Raises:
        InvalidInputError: If the gradient is neither.

    Source:
        S. Bai, J. Z. Kolter, V. Koltun, NeurIPS 2019, arXiv:1909.01377; Z. Geng et al., NeurIPS 2021,
        arXiv:2111.05177, for phantom gradients.
    """

    def __init__(
        self,
        *,
        gradient: str = "ift",
        forward: SolverSettings | None = None,
        backward: SolverSettings | None = None,
    ) -> None:
        super().__init__()
        self._n_phantom = _phantom_steps(gradient)
        self.forward_settings = forward or SolverSettings()
        self.backward_settings = backward or BACKWARD

    def forward(
        self,
        function: Step,
        start: torch.Tensor,
        *,
        measure: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, FixedPoint]:
        """Return the states, differentiable by what the map depends on, and how they were found.

        Args:
            function: States to states, (n_molecules, n_numbers); rows do not mix.
            start: Where to begin.
            measure: See ``solve``.
        """
        with torch.no_grad():
            found = solve(function, start, self.forward_settings, measure=measure)
        if not torch.is_grad_enabled():
            return found.state, found
        # A molecule that diverged must not spoil the gradients of the others.
        kept = torch.isfinite(found.state).all(dim=1, keepdim=True)
        state = torch.where(kept, found.state, 0.0).detach()
        if self._n_phantom:
            for _ in range(self._n_phantom):
                state = function(state)
            return state, found
        after = function(state)
        if not after.requires_grad:
            return after, found
        point = state.clone().requires_grad_()
        image = function(point)

        def implicit(gradient: torch.Tensor) -> torch.Tensor:
            def adjoint(g: torch.Tensor) -> torch.Tensor:
                (pulled,) = torch.autograd.grad(image, point, g, retain_graph=True)
                return pulled + gradient

            return solve(adjoint, gradient, self._scaled(gradient)).state

        cast("Any", after).register_hook(implicit)
        return after, found

    def _scaled(self, gradient: torch.Tensor) -> SolverSettings:
        """Return settings whose tolerance is relative to a gradient."""
        s = self.backward_settings
        size = float(gradient.square().mean().sqrt())
        return SolverSettings(
            method=s.method,
            tolerance=max(s.tolerance * size, 1e-300),
            max_evaluations=s.max_evaluations,
            memory=s.memory,
            damping=s.damping,
        )

    def extra_repr(self) -> str:
        """Say how gradients are made."""
        return f"gradient={'phantom:' + str(self._n_phantom) if self._n_phantom else 'ift'}"


def jacobian_norm(
    function: Step, state: torch.Tensor, n_steps: int = 20, **options: Any
) -> torch.Tensor:
    """Return estimates of the spectral radius of df / dz at a state by power iteration, (n_molecules,).

    Args:
        function: States to states; rows do not mix.
        state: (n_molecules, n_numbers).
        n_steps: Iterations.
        options: For ``torch.randn``, such as ``generator``.
    """
    point = state.detach().requires_grad_()
    with torch.enable_grad():
        image = function(point)
    v = torch.randn(state.shape, dtype=state.dtype, device=state.device, **options)
    radius = torch.zeros(len(state), dtype=state.dtype, device=state.device)
    for _ in range(n_steps):
        v = v / v.norm(dim=1, keepdim=True).clamp(min=1e-300)
        (v,) = torch.autograd.grad(image, point, v, retain_graph=True)
        radius = v.norm(dim=1)
    return radius.detach()


def _phantom_steps(gradient: str) -> int:
    if gradient == "ift":
        return 0
    match = re.fullmatch(r"phantom:([1-9][0-9]*)", gradient)
    if match is None:
        raise InvalidInputError(f"gradient is {gradient!r}; 'ift' or 'phantom:k' is needed")
    return int(match.group(1))
