"""Bend a network so that atomization energies on fixed densities agree with experiment.

At self-consistency the total energy is stationary, so its change with the functional is the change of the
exchange-correlation energy at a fixed density: no derivative through the SCF is needed. With fewer
reactions than weights, Levenberg-Marquardt steps are solved in the space of reactions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kakehashi_nnxc._units import HARTREE_IN_KCAL_PER_MOL
from kakehashi_nnxc.descriptors import log_descriptors
from kakehashi_nnxc.four_layer_form import network

logger = logging.getLogger(__name__)

LOWEST_DENSITY = 1e-7
CHUNK_POINTS = 16_384


@dataclass(frozen=True, kw_only=True)
class Species:
    """A fixed density in the form that the network reads.

    Attributes:
        inputs: (n_points, 4) logarithms of the descriptors, float32.
        factors: (n_points,) quadrature weight times n^(4/3) phi, float64.
        energy_rest: Energy (hartree) to which the network's exchange-correlation energy is added.
    """

    inputs: torch.Tensor
    factors: torch.Tensor
    energy_rest: float

    @classmethod
    def from_density(cls, density: Mapping[str, Any]) -> Species:
        """Build from an entry of ``densities.load_densities``."""
        spin = int(density["spin"])
        variables = torch.from_numpy(np.ascontiguousarray(density["variables"]))
        total = variables[0] if spin == 0 else variables[0] + variables[1]
        keep = total > LOWEST_DENSITY
        inputs, prefactor = log_descriptors(variables[:, keep], 1 if spin else 0, "MGGA")
        return cls(
            inputs=inputs.to(torch.float32),
            factors=torch.from_numpy(np.asarray(density["weights"]))[keep] * prefactor,
            energy_rest=float(density["total_energy"]) - float(density["xc_energy"]),
        )


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """A linear combination of total energies with a reference.

    Attributes:
        name: What it is called in logs.
        coefficients: Species to coefficient.
        reference: Value, kcal/mol.
        tolerance: Size of an error that counts as one, kcal/mol.
    """

    name: str
    coefficients: Mapping[str, float]
    reference: float
    tolerance: float

    def error(self, energies: Mapping[str, float]) -> float:
        """Return calculated minus reference value, kcal/mol, from energies in hartree."""
        value = sum(c * energies[name] for name, c in self.coefficients.items())
        return HARTREE_IN_KCAL_PER_MOL * value - self.reference


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Points at which the network should stay what it was.

    A few dozen reactions leave most of the network free: without anchors the fit of energies spoils the
    uniform gas and large gradients by tens of percent, and with them the potential and the SCF.

    Attributes:
        inputs: (n_anchors, 4) logarithms of the descriptors.
        outputs: (n_anchors,) y before the fit.
        tolerance: Size of a change of y that counts as one.
    """

    inputs: torch.Tensor
    outputs: torch.Tensor
    tolerance: float


def mean_absolute_error(reactions: Sequence[Reaction], energies: Mapping[str, float]) -> float:
    """Return the mean absolute error in kcal/mol."""
    return float(np.mean([abs(reaction.error(energies)) for reaction in reactions]))


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """The step of a fit that did best on the validation reactions."""

    parameters: dict[str, torch.Tensor]
    step: int
    training_error: float
    validation_error: float


class EnergyFit:
    """Levenberg-Marquardt on reaction energies, stopped early by validation reactions.

    Args:
        species: Name to density; every name that a reaction uses.
        training: Reactions that are fitted.
        validation: Reactions that choose the step; none of them is fitted.
        anchors: Points that hold the network in place.
        activation: Activation of the form.
    """

    def __init__(
        self,
        species: Mapping[str, Species],
        training: Sequence[Reaction],
        validation: Sequence[Reaction],
        anchors: Anchors | None = None,
        *,
        activation: str = "silu",
    ) -> None:
        self._species = species
        self._training = list(training)
        self._validation = list(validation)
        self._anchors = anchors
        self._activation = activation
        self._fitted = sorted({name for r in training for name in r.coefficients})
        self._tolerances = torch.tensor([r.tolerance for r in training], dtype=torch.float64)

    def run(
        self,
        parameters: Mapping[str, torch.Tensor],
        *,
        n_steps: int,
        damping: float = 1e4,
    ) -> FitResult:
        """Fit and return the best step.

        Args:
            parameters: Start, float32.
            n_steps: Number of accepted steps at most.
            damping: First Levenberg-Marquardt parameter; adapts by the ratio of actual to predicted gain.
        """
        shapes = {name: tensor.shape for name, tensor in parameters.items()}
        theta = _flatten(parameters)
        best: FitResult | None = None
        for step in range(n_steps + 1):
            energies, gradients = self._energies_with_gradients(_unflatten(theta, shapes))
            others = [name for name in self._species if name not in energies]
            energies.update(self._energies(_unflatten(theta, shapes), others))
            result = FitResult(
                parameters=_unflatten(theta, shapes),
                step=step,
                training_error=mean_absolute_error(
                    [r for r in self._training if len(r.coefficients) > 1], energies
                ),
                validation_error=mean_absolute_error(self._validation, energies),
            )
            logger.info(
                "step %d: training %.2f, validation %.2f kcal/mol",
                step,
                result.training_error,
                result.validation_error,
            )
            if best is None or result.validation_error < best.validation_error:
                best = result
            if step == n_steps:
                break
            moved = self._accepted_step(theta, shapes, energies, gradients, damping)
            if moved is None:
                break
            theta, damping = moved
        assert best is not None  # noqa: S101 - the loop runs at least once
        return best

    def _accepted_step(
        self,
        theta: torch.Tensor,
        shapes: Mapping[str, torch.Size],
        energies: Mapping[str, float],
        gradients: Mapping[str, torch.Tensor],
        damping: float,
    ) -> tuple[torch.Tensor, float] | None:
        parameters = _unflatten(theta, shapes)
        residual = self._residual(energies, parameters)
        objective = float((residual**2).sum())
        jacobian = torch.stack(
            [
                torch.stack([c * gradients[n] for n, c in r.coefficients.items()]).sum(0)
                for r in self._training
            ]
        )
        jacobian *= HARTREE_IN_KCAL_PER_MOL / self._tolerances[:, None]
        if self._anchors is not None:
            jacobian = torch.cat([jacobian, self._anchor_jacobian(parameters, self._anchors)])
        gram = jacobian @ jacobian.T
        identity = torch.eye(len(residual), dtype=torch.float64)
        for _ in range(8):
            step = -jacobian.T @ torch.linalg.solve(gram + damping * identity, residual)
            trial = _unflatten(theta + step, shapes)
            trial_residual = self._residual(self._energies(trial, self._fitted), trial)
            gained = objective - float((trial_residual**2).sum())
            if gained > 0:
                predicted = objective - float(((residual + jacobian @ step) ** 2).sum())
                ratio = gained / predicted
                factor = 0.25 if ratio > 0.7 else 2.0 if ratio < 0.3 else 1.0
                return theta + step, damping * factor
            damping *= 5.0
        return None

    def _residual(
        self, energies: Mapping[str, float], parameters: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        errors = torch.tensor([r.error(energies) for r in self._training], dtype=torch.float64)
        reactions = errors / self._tolerances
        if self._anchors is None:
            return reactions
        with torch.no_grad():
            y = network(parameters, self._anchors.inputs, self._activation)
        moved = (y - self._anchors.outputs).to(torch.float64) / self._anchors.tolerance
        return torch.cat([reactions, moved])

    def _anchor_jacobian(
        self, parameters: Mapping[str, torch.Tensor], anchors: Anchors
    ) -> torch.Tensor:
        """Return (n_anchors, n_parameters)."""

        def y_of_point(leaves: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
            return network(leaves, x[None], self._activation)[0]

        rows = torch.func.vmap(torch.func.grad(y_of_point), in_dims=(None, 0))(
            dict(parameters), anchors.inputs
        )
        flat = torch.cat(
            [rows[name].reshape(len(anchors.inputs), -1) for name in parameters], dim=1
        )
        return flat.to(torch.float64) / anchors.tolerance

    def _energies(
        self, parameters: Mapping[str, torch.Tensor], names: Sequence[str]
    ) -> dict[str, float]:
        with torch.no_grad():
            return {
                name: self._species[name].energy_rest
                + sum(
                    _xc_energy(parameters, x, f, self._activation).item()
                    for x, f in _chunks(self._species[name])
                )
                for name in names
            }

    def _energies_with_gradients(
        self, parameters: Mapping[str, torch.Tensor]
    ) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        energies: dict[str, float] = {}
        gradients: dict[str, torch.Tensor] = {}
        for name in self._fitted:
            leaves = {k: v.clone().requires_grad_(True) for k, v in parameters.items()}
            total = self._species[name].energy_rest
            for x, f in _chunks(self._species[name]):
                energy = _xc_energy(leaves, x, f, self._activation)
                energy.backward()  # type: ignore[no-untyped-call]
                total += energy.item()
            energies[name] = total
            gradients[name] = _flatten(
                {
                    k: v.grad if v.grad is not None else torch.zeros_like(v)
                    for k, v in leaves.items()
                }
            )
        return energies, gradients


def _xc_energy(
    parameters: Mapping[str, torch.Tensor], x: torch.Tensor, factors: torch.Tensor, activation: str
) -> torch.Tensor:
    # float32 network, float64 sum: the error of a total energy stays below 1e-6 hartree.
    return -(network(parameters, x, activation).to(torch.float64) * factors).sum()


def _chunks(species: Species) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(
        zip(
            torch.split(species.inputs, CHUNK_POINTS),
            torch.split(species.factors, CHUNK_POINTS),
            strict=True,
        )
    )


def _flatten(parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([t.detach().to(torch.float64).reshape(-1) for t in parameters.values()])


def _unflatten(theta: torch.Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    parts = torch.split(theta, [shape.numel() for shape in shapes.values()])
    return {
        name: part.reshape(shape).to(torch.float32)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
