"""Bend a network until a few linear combinations of its energies on fixed densities take given values.

With far fewer conditions than weights, Levenberg-Marquardt steps are solved in the space of conditions;
anchors decide what happens where the conditions say nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from kakehashi_nnxc.four_layer_form import network
from kakehashi_nnxc.training.points import DensityPoints

logger = logging.getLogger(__name__)

N_TRIALS = 8


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A linear combination of exchange-correlation energies that should take a value.

    Attributes:
        name: What logs call it.
        coefficients: Name of a density to coefficient.
        constant: Added to the combination.
        target: Wanted value, in the unit of the combination.
        tolerance: Size of an error that counts as one.
    """

    name: str
    coefficients: Mapping[str, float]
    constant: float
    target: float
    tolerance: float

    def value(self, energies: Mapping[str, float]) -> float:
        """Return the combination for given energies (hartree)."""
        return self.constant + sum(c * energies[name] for name, c in self.coefficients.items())

    def residual(self, energies: Mapping[str, float]) -> float:
        """Return the error in units of the tolerance."""
        return (self.value(energies) - self.target) / self.tolerance


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Points at which the network should stay what it was.

    A handful of conditions leaves most of the network free: without anchors a fit of energies spoils the
    uniform gas and large gradients by tens of percent, and with them the potential and the SCF.

    Attributes:
        inputs: (n_anchors, n_descriptors) logarithms of the descriptors, float64.
        outputs: (n_anchors,) y before the fit.
        tolerance: Size of a change of y that counts as one.
    """

    inputs: torch.Tensor
    outputs: torch.Tensor
    tolerance: float

    def residual(self, parameters: Mapping[str, torch.Tensor], activation: str) -> torch.Tensor:
        """Return the changes in units of the tolerance."""
        with torch.no_grad():
            return (network(parameters, self.inputs, activation) - self.outputs) / self.tolerance

    def jacobian(self, parameters: Mapping[str, torch.Tensor], activation: str) -> torch.Tensor:
        """Return (n_anchors, n_parameters)."""

        def y_of_point(leaves: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
            return network(leaves, x[None], activation)[0]

        per_point = torch.func.vmap(torch.func.grad(y_of_point), in_dims=(None, 0))
        rows = per_point(dict(parameters), self.inputs)
        flat = [rows[name].reshape(len(self.inputs), -1) for name in parameters]
        return torch.cat(flat, dim=1) / self.tolerance


def fit(
    parameters: Mapping[str, torch.Tensor],
    densities: Mapping[str, DensityPoints],
    conditions: Sequence[Condition],
    anchors: Anchors,
    *,
    n_steps: int,
    damping: float = 10.0,
    activation: str = "silu",
) -> dict[str, torch.Tensor]:
    """Minimize the squared residuals of conditions and anchors.

    Args:
        parameters: Start; not changed.
        densities: Every density that a condition names.
        conditions: What should be reached.
        anchors: What should stay.
        n_steps: Accepted steps at most.
        damping: First Levenberg-Marquardt parameter; adapts by the ratio of actual to predicted gain.
        activation: Activation of the form.

    Returns:
        New parameters, float64.
    """
    current = {name: tensor.detach().to(torch.float64) for name, tensor in parameters.items()}
    used = sorted({name for c in conditions for name in c.coefficients})

    def energies_of(trial: Mapping[str, torch.Tensor]) -> dict[str, float]:
        return {name: densities[name].energy(trial, activation) for name in used}

    energies = energies_of(current)
    for step in range(n_steps):
        errors = _residual(energies, conditions, anchors, current, activation)
        gradients = {name: densities[name].gradient(current, activation) for name in used}
        rows = [
            torch.stack([c * gradients[n] for n, c in condition.coefficients.items()]).sum(0)
            / condition.tolerance
            for condition in conditions
        ]
        jacobian = torch.cat([torch.stack(rows), anchors.jacobian(current, activation)])
        gram = jacobian @ jacobian.T
        objective = float(errors @ errors)
        logger.info("fit step %d: objective %.4f", step, objective)
        for _ in range(N_TRIALS):
            shifted = gram + damping * torch.eye(len(errors), dtype=torch.float64)
            move = -jacobian.T @ torch.linalg.solve(shifted, errors)
            trial = _moved(current, move)
            trial_energies = energies_of(trial)
            trial_errors = _residual(trial_energies, conditions, anchors, trial, activation)
            gained = objective - float(trial_errors @ trial_errors)
            predicted = objective - float(((errors + jacobian @ move) ** 2).sum())
            if gained > 0:
                break
            damping *= 5.0
        else:
            break
        current, energies = trial, trial_energies
        ratio = gained / predicted
        damping *= 0.25 if ratio > 0.7 else 2.0 if ratio < 0.3 else 1.0
        if gained < 1e-4 * objective:
            break
    return current


def _residual(
    energies: Mapping[str, float],
    conditions: Sequence[Condition],
    anchors: Anchors,
    parameters: Mapping[str, torch.Tensor],
    activation: str,
) -> torch.Tensor:
    reached = torch.tensor([c.residual(energies) for c in conditions], dtype=torch.float64)
    return torch.cat([reached, anchors.residual(parameters, activation)])


def _moved(parameters: Mapping[str, torch.Tensor], move: torch.Tensor) -> dict[str, torch.Tensor]:
    parts = torch.split(move, [tensor.numel() for tensor in parameters.values()])
    return {
        name: tensor + part.reshape(tensor.shape)
        for (name, tensor), part in zip(parameters.items(), parts, strict=True)
    }
