"""Fit the two networks of the constrained form to reaction energies on fixed densities.

At self-consistency the total energy is stationary, so its change with the functional is the change of the
exchange-correlation energy at a fixed density. There are far fewer reactions than weights, so steps of
Levenberg-Marquardt are solved in the space of residuals. Residuals besides the reactions make the fit a sound
one: values and second differences of N on a mesh of its inputs, differences between integration grids, and
violations of ``soft_conditions``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.contracts import XCFamily
from kakehashi_nnxc._units import HARTREE_IN_KCAL_PER_MOL
from kakehashi_nnxc.constrained_form import N_INPUTS, network, parameter_shapes
from kakehashi_nnxc.training.flagship_data import TrainingReaction
from kakehashi_nnxc.training.network_densities import (
    NETS,
    Species,
    network_energy,
    predicted_energy,
)
from kakehashi_nnxc.training.soft_conditions import ExchangeSlopes, ScalingCurves

GRID_TOLERANCE = 0.001
"""Difference between two grids (kcal/mol) that counts as one residual."""

MAX_TRIALS = 7
NEGLIGIBLE_GAIN = 1e-4


@dataclass(frozen=True, kw_only=True)
class Smoothness:
    """How strongly the networks are held near zero and near linear, as tolerances.

    Attributes:
        value: Value of N that counts as one residual.
        bend: Second difference of N (step ``step`` in every input) that counts as one.
        step: Step of the second differences.
        n_mesh: Random mesh points per net.
    """

    value: float = 1.0
    bend: float = 0.05
    step: float = 0.1
    n_mesh: int = 300


def initial_parameters(
    family: XCFamily, seed: int, *, first_layer_scale: float = 2.0
) -> dict[str, torch.Tensor]:
    """Draw weights; the last layer is zero, so that N = 0 and the fit starts at r2SCAN exactly.

    Args:
        family: "MGGA" or "NONLOCAL".
        seed: Seed.
        first_layer_scale: Standard deviation of first-layer weights; sets the length on which N varies.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters: dict[str, torch.Tensor] = {}
    for name, shape in parameter_shapes(family).items():
        net, layer, kind = name.split(".")
        n_in = parameter_shapes(family)[f"{net}.{layer}.weight"][1]
        draw = torch.randn(shape, generator=generator)
        if layer == "0":
            scale = first_layer_scale if kind == "weight" else 1.0
        elif kind == "weight" and shape[0] > 1:
            scale = 1.4 / n_in**0.5
        else:
            scale = 0.0 if kind == "weight" else 0.1 if shape[0] > 1 else 0.0
        parameters[name] = scale * draw
    return parameters


def random_inputs(
    rng: np.random.Generator, n_points: int, n_inputs: int
) -> npt.NDArray[np.float64]:
    """Draw inputs of a network evenly, (n_points, n_inputs)."""
    points = rng.uniform(-1.0, 1.0, (n_points, n_inputs))
    # a_1, r_s/(1+r_s) and f_2 live between 0 and 1; a_2 and q between -1 and 1.
    positive = [0] if n_inputs == 2 else [0, 1, 2]
    points[:, positive] = np.abs(points[:, positive])
    return points


class ReactionFit:
    """Levenberg-Marquardt on reaction energies, a ``kakehashi_core.training.Trainable``.

    Args:
        species: Name to density.
        reactions: What is fitted.
        parameters: Start.
        validation: Reactions that are watched, never fitted.
        grid_sets: One density on several grids each, built with ``refinement=FINE``, the finest first: the
            networks should not tell the grids apart.
        family: Form.
        smoothness: Regularization.
        huber: Error, in tolerances, above which a reaction counts linearly.
        damping: First Levenberg-Marquardt parameter; adapts by the ratio of actual to predicted gain.
        seed: Seed of the mesh.
    """

    def __init__(
        self,
        species: Mapping[str, Species],
        reactions: Sequence[TrainingReaction],
        parameters: Mapping[str, torch.Tensor],
        *,
        validation: Sequence[TrainingReaction] = (),
        grid_sets: Sequence[Sequence[Species]] = (),
        family: XCFamily = "MGGA",
        smoothness: Smoothness | None = None,
        huber: float = 3.0,
        damping: float = 10.0,
        seed: int = 0,
    ) -> None:
        self._reactions = list(reactions)
        self._validation = list(validation)
        self._grid_sets = list(grid_sets)
        names = sorted({n for r in reactions for n in r.reaction.coefficients})
        self._all_species = species
        self._species = {n: species[n] for n in names}
        self._shapes = {k: torch.Size(v) for k, v in parameter_shapes(family).items()}
        self._huber = huber
        self._smoothness = smoothness or Smoothness()
        self._mesh = {net: self._mesh_of(N_INPUTS[family][net], seed) for net in NETS}
        self._conditions = (ScalingCurves.random(family, seed=seed), ExchangeSlopes.on_grid())
        self._theta = self._flatten(parameters)
        self._damping = damping
        self._linearized: tuple[dict[str, float], dict[str, torch.Tensor]] | None = None

    @property
    def parameters(self) -> dict[str, torch.Tensor]:
        """The present weights, float32."""
        return self._unflatten(self._theta)

    def _mesh_of(self, n_inputs: int, seed: int) -> torch.Tensor:
        """Return (3, n_mesh, n_inputs): a point between two neighbors in a random direction."""
        rng = np.random.default_rng([seed, n_inputs])
        points = random_inputs(rng, self._smoothness.n_mesh, n_inputs)
        direction = rng.normal(size=points.shape)
        direction *= self._smoothness.step / np.linalg.norm(direction, axis=1, keepdims=True)
        mesh = np.stack([points - direction, points, points + direction])
        return torch.as_tensor(mesh, dtype=torch.float32)

    def step(self) -> dict[str, float]:
        """Do one accepted step.

        Raises:
            StopIteration: If no step lowers the objective any more.
        """
        if self._linearized is None:
            self._linearized = self._energies_with_jacobian(self._theta)
        energies, jacobian = self._linearized
        residual, weights = self._residual(self._theta, energies)
        rows = torch.cat(
            [
                self._reaction_rows(jacobian) * weights[:, None],
                self._grid_rows(self._theta),
                self._mesh_jacobian(self._theta),
                self._condition_rows(self._theta),
            ]
        )
        # Fulfilled conditions have empty rows.
        present = rows.abs().amax(1) > 0.0
        rows, residual = rows[present], residual[present]
        gram = rows @ rows.T
        identity = torch.eye(len(gram), dtype=torch.float64)
        objective = self._objective(self._theta, energies)
        for _ in range(MAX_TRIALS):
            change = -rows.T @ torch.linalg.solve(gram + self._damping * identity, residual)
            trial = self._theta + change
            gained = objective - self._objective(trial, self._energies(trial))
            if gained > NEGLIGIBLE_GAIN * objective:
                predicted = float((residual**2).sum() - ((residual + rows @ change) ** 2).sum())
                ratio = gained / max(predicted, 1e-12)
                self._damping *= 0.3 if ratio > 0.6 else 2.0 if ratio < 0.25 else 1.0
                self._theta = trial
                self._linearized = None
                return {
                    "objective": objective - gained,
                    "damping": self._damping,
                    **self._mean_errors(self._reactions, self._energies(trial)),
                }
            self._damping *= 4.0
        raise StopIteration

    def validate(self) -> dict[str, float]:
        """Return mean absolute errors (kcal/mol) by kind over the validation reactions."""
        names = {n for r in self._validation for n in r.reaction.coefficients}
        energies = {n: predicted_energy(self._all_species[n], self.parameters) for n in names}
        errors = self._mean_errors(self._validation, energies)
        every = [abs(r.reaction.error(energies)) for r in self._validation]
        return {**errors, "loss": float(np.mean(every)) if every else 0.0}

    def state_dict(self) -> dict[str, Any]:
        """Return weights and damping."""
        return {"theta": self._theta, "damping": self._damping}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Go on from saved weights and damping."""
        self._theta = torch.as_tensor(state["theta"], dtype=torch.float64)
        self._damping = float(state["damping"])
        self._linearized = None

    def errors(self) -> dict[str, float]:
        """Return reaction name to calculated minus reference value, kcal/mol, of the fitted reactions."""
        return self._errors(self._energies(self._theta))

    def _mean_errors(
        self, reactions: Sequence[TrainingReaction], energies: Mapping[str, float]
    ) -> dict[str, float]:
        kinds: dict[str, list[float]] = {}
        for r in reactions:
            kinds.setdefault(r.kind, []).append(abs(r.reaction.error(energies)))
        return {kind: float(np.mean(values)) for kind, values in kinds.items()}

    def _errors(self, energies: Mapping[str, float]) -> dict[str, float]:
        return {r.reaction.name: r.reaction.error(energies) for r in self._reactions}

    def _scaled_errors(self, energies: Mapping[str, float]) -> torch.Tensor:
        return torch.tensor(
            [r.reaction.error(energies) / r.tolerance for r in self._reactions], dtype=torch.float64
        )

    def _residual(
        self, theta: torch.Tensor, energies: Mapping[str, float]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        errors = self._scaled_errors(energies)
        weights = (self._huber / errors.abs().clamp_min(self._huber)).sqrt()
        return torch.cat([errors * weights, self._held(theta)]), weights

    def _objective(self, theta: torch.Tensor, energies: Mapping[str, float]) -> float:
        size = self._scaled_errors(energies).abs()
        h = self._huber
        robust = torch.where(size <= h, size**2, 2.0 * h * size - h**2)
        return float(robust.sum() + (self._held(theta) ** 2).sum())

    def _held(self, theta: torch.Tensor) -> torch.Tensor:
        """Return all residuals but those of the reactions."""
        return torch.cat(
            [
                self._grid_residual(theta),
                self._mesh_residual(theta),
                self._condition_residual(theta),
            ]
        )

    def _grid_residual(self, theta: torch.Tensor) -> torch.Tensor:
        parameters = self._unflatten(theta)
        differences = []
        with torch.no_grad():
            for finest, *others in self._grid_sets:
                reference = network_energy(finest, parameters)
                differences += [network_energy(other, parameters) - reference for other in others]
        if not differences:
            return torch.zeros(0, dtype=torch.float64)
        return torch.stack(differences) * (HARTREE_IN_KCAL_PER_MOL / GRID_TOLERANCE)

    def _grid_rows(self, theta: torch.Tensor) -> torch.Tensor:
        rows = [torch.zeros(0, theta.numel(), dtype=torch.float64)]
        for grids in self._grid_sets:
            finest, *others = (self._energy_with_gradient(grid, theta)[1] for grid in grids)
            rows.append(torch.stack(others) - finest)
        return torch.cat(rows) * (HARTREE_IN_KCAL_PER_MOL / GRID_TOLERANCE)

    def _reaction_rows(self, jacobian: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.stack(
            [
                torch.stack([c * jacobian[n] for n, c in r.reaction.coefficients.items()]).sum(0)
                * (HARTREE_IN_KCAL_PER_MOL / r.tolerance)
                for r in self._reactions
            ]
        )

    def _mesh_rows(self, parameters: Mapping[str, torch.Tensor], net: str) -> torch.Tensor:
        left, middle, right = (network(parameters, net, points) for points in self._mesh[net])
        scale = 1.0 / self._smoothness.n_mesh**0.5
        bend = (left - 2.0 * middle + right) * (scale / self._smoothness.bend)
        return torch.cat([middle * (scale / self._smoothness.value), bend])

    def _condition_residual(self, theta: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self._violations(self._unflatten(theta))

    def _violations(self, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([condition.violations(parameters) for condition in self._conditions])

    def _condition_rows(self, theta: torch.Tensor) -> torch.Tensor:
        """Return rows of all conditions; zero where one is fulfilled."""
        leaves = {k: v.requires_grad_(True) for k, v in self._unflatten(theta).items()}
        violations = self._violations(leaves)
        rows = torch.zeros(len(violations), theta.numel(), dtype=torch.float64)
        active = torch.nonzero(violations.detach() > 0.0).squeeze(-1)
        if len(active) == 0:
            return rows
        gradients = torch.autograd.grad(
            violations[active],
            list(leaves.values()),
            torch.eye(len(active), dtype=torch.float64),
            is_grads_batched=True,
            allow_unused=True,
        )
        rows[active] = torch.cat(
            [
                torch.zeros(len(active), leaf.numel(), dtype=torch.float64)
                if gradient is None
                else gradient.reshape(len(active), -1).to(torch.float64)
                for gradient, leaf in zip(gradients, leaves.values(), strict=True)
            ],
            dim=1,
        )
        return rows

    def _mesh_residual(self, theta: torch.Tensor) -> torch.Tensor:
        parameters = self._unflatten(theta)
        with torch.no_grad():
            return torch.cat([self._mesh_rows(parameters, net) for net in NETS]).to(torch.float64)

    def _mesh_jacobian(self, theta: torch.Tensor) -> torch.Tensor:
        leaves = {k: v.requires_grad_(True) for k, v in self._unflatten(theta).items()}
        rows = []
        for net in NETS:
            values = self._mesh_rows(leaves, net)
            names = [k for k in leaves if k.startswith(net)]
            gradients = torch.autograd.grad(
                values,
                [leaves[k] for k in names],
                torch.eye(len(values)),
                is_grads_batched=True,
            )
            by_name = dict(zip(names, gradients, strict=True))
            rows.append(
                torch.cat(
                    [
                        by_name[k].reshape(len(values), -1)
                        if k in by_name
                        else torch.zeros(len(values), leaves[k].numel())
                        for k in leaves
                    ],
                    dim=1,
                )
            )
        return torch.cat(rows).to(torch.float64)

    def _energies(self, theta: torch.Tensor) -> dict[str, float]:
        parameters = self._unflatten(theta)
        with torch.no_grad():
            return {n: predicted_energy(s, parameters) for n, s in self._species.items()}

    def _energies_with_jacobian(
        self, theta: torch.Tensor
    ) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        energies, jacobian = {}, {}
        for name, species in self._species.items():
            energy, jacobian[name] = self._energy_with_gradient(species, theta)
            energies[name] = species.base_energy + energy
        return energies, jacobian

    def _energy_with_gradient(
        self, species: Species, theta: torch.Tensor
    ) -> tuple[float, torch.Tensor]:
        leaves = {k: v.requires_grad_(True) for k, v in self._unflatten(theta).items()}
        energy = network_energy(species, leaves)
        gradients = torch.autograd.grad(energy, list(leaves.values()))
        flat = torch.cat([g.reshape(-1) for g in gradients]).to(torch.float64)
        return float(energy.detach()), flat

    def _flatten(self, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([parameters[k].to(torch.float64).reshape(-1) for k in self._shapes])

    def _unflatten(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = torch.split(theta, [shape.numel() for shape in self._shapes.values()])
        return {
            k: part.reshape(shape).to(torch.float32)
            for (k, shape), part in zip(self._shapes.items(), parts, strict=True)
        }
