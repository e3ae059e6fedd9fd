"""The paper's training with gradients: energies and densities of three molecules, SCF in the loop.

Every round converges the species with the present network, compares with experiment (energies) and CCSD
(densities), and bends the network on the densities found. At self-consistency the total energy is stationary,
so its change with the functional is that of the exchange-correlation energy at fixed density.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.contracts import XCFamily
from kakehashi_nnxc._units import HARTREE_IN_KCAL_PER_MOL
from kakehashi_nnxc.four_layer_form import FourLayerFunctional, network
from kakehashi_nnxc.molecular_calculations import BASIS
from kakehashi_nnxc.reaction_sets.g2 import molecule
from kakehashi_nnxc.training import distillation
from kakehashi_nnxc.training.paper_densities import State, converged_state
from kakehashi_nnxc.training.paper_fit import Anchors, Condition, fit
from kakehashi_nnxc.training.paper_reference import (
    MOLECULES,
    SPECIES,
    atomizations,
    reference_densities,
)
from kakehashi_nnxc.training.paper_start import start_network, teacher_densities

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

UNIFORM_KERNEL_INTEGRAL = 8 * np.pi * 0.2**3
"""R over n of a uniform density, bohr^3."""


@dataclass(frozen=True, kw_only=True)
class GradientSettings:
    """What decides the result, besides the data.

    Attributes:
        energy_tolerance: Error of an atomization energy that counts as one, kcal/mol.
        density_tolerance: Error of a density that counts as one, as a share of the error before training.
        n_anchors: Points that hold the network in place.
        anchor_tolerance: Change of y at an anchor that counts as one; y is about 0.85.
        fit_steps: Levenberg-Marquardt steps in a round.
    """

    energy_tolerance: float = 0.5
    density_tolerance: float = 0.5
    n_anchors: int = 900
    anchor_tolerance: float = 0.003
    fit_steps: int = 6


class GradientRounds:
    """A ``kakehashi_core.training.Trainable``: each step is a fit and a self-consistent calculation.

    Args:
        family: Rung.
        directory: Where densities and the start network are kept.
        seed: Seed of the start network and of the anchors.
        basis: Orbital basis.
        settings: What decides the result.
    """

    def __init__(
        self,
        family: XCFamily,
        directory: Path,
        *,
        seed: int,
        basis: str = BASIS,
        settings: GradientSettings | None = None,
    ) -> None:
        self._settings = settings or GradientSettings()
        self._family: XCFamily = family
        self._basis = basis
        start = start_network(family, directory, seed=seed)
        self._references = reference_densities(directory / "ccsd", basis=basis)
        self._anchors = anchors_of(family, directory, start, self._settings, seed=seed)
        self.parameters: dict[str, torch.Tensor] = start
        self._states: dict[str, State] | None = None
        self._starts: dict[str, FloatArray] = dict(self._references)
        self._before = self._starts
        self._responses: dict[str, FloatArray] = {}
        self._first_errors: dict[str, float] = {}

    def states(self) -> dict[str, State]:
        """Return the species at self-consistency with the present network."""
        if self._states is None:
            self._states = converged_states(
                self.parameters,
                self._family,
                self._references,
                basis=self._basis,
                starts=self._starts,
                responses=self._responses,
            )
            self._before = self._starts
            self._starts = {name: s.density_matrix for name, s in self._states.items()}
            self._responses = {
                n: s.response for n, s in self._states.items() if s.response is not None
            }
        return self._states

    def step(self) -> dict[str, float]:
        """Fit on the present densities, converge again, and return the new errors."""
        states = self.states()
        if not self._first_errors:
            self._first_errors = {name: s.density_error for name, s in states.items()}
            logger.info("before training: %s", json.dumps(errors_of(states)))
        self.parameters = _fitted(
            self.parameters, states, self._anchors, self._first_errors, self._settings
        )
        self._states = None
        errors = errors_of(self.states())
        logger.info("after a round: %s", json.dumps(errors))
        return errors

    def validate(self) -> dict[str, float]:
        """Return the errors of the present network."""
        return errors_of(self.states())

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later steps depend on."""
        return {
            "parameters": self.parameters,
            "first_errors": self._first_errors,
            # Where the calculation of the states began, so that a resumed run repeats it bit for bit.
            "starts": self._before,
            "responses": self._responses,
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take over a state."""
        self.parameters = dict(state["parameters"])
        self._first_errors = dict(state["first_errors"])
        self._starts = {n: np.asarray(m) for n, m in state["starts"].items()}
        self._responses = {n: np.asarray(m) for n, m in state["responses"].items()}
        self._states = None


def errors_of(states: Mapping[str, State]) -> dict[str, float]:
    """Return errors by name with unit, and the largest number of SCF cycles."""
    energies = {name: state.total_energy for name, state in states.items()}
    errors = {f"energy error of {r.name}, kcal/mol": r.error(energies) for r in atomizations()}
    for name, state in states.items():
        errors[f"density error of {name}, bohr^-1.5"] = state.density_error
    return {**errors, "SCF cycles": float(max(state.cycles for state in states.values()))}


def converged_states(
    parameters: Mapping[str, torch.Tensor],
    family: XCFamily,
    references: Mapping[str, Any],
    *,
    basis: str,
    starts: Mapping[str, FloatArray],
    responses: Mapping[str, FloatArray],
) -> dict[str, State]:
    """Converge every species of the training with a network, and find how the molecules respond.

    Args:
        parameters: Network.
        family: Rung.
        references: Species to CCSD density matrix.
        basis: Orbital basis.
        starts: Species to start density matrix.
        responses: Molecule to response found before; those that are missing are solved for.
    """
    functional = FourLayerFunctional(
        name="in-training", family=family, parameters=parameters, activation="silu"
    )
    return {
        name: converged_state(
            molecule(name),
            functional,
            references[name],
            family=family,
            basis=basis,
            start=starts[name],
            response=responses.get(name, "solve") if name in MOLECULES else "none",
        )
        for name in SPECIES
    }


def _fitted(
    parameters: Mapping[str, torch.Tensor],
    states: Mapping[str, State],
    anchors: Anchors,
    initial: Mapping[str, float],
    settings: GradientSettings,
) -> dict[str, torch.Tensor]:
    densities = {name: state.points for name, state in states.items()}
    for name in MOLECULES:
        densities[f"{name}+"], densities[f"{name}-"] = states[name].displaced
    now = {name: points.energy(parameters) for name, points in densities.items()}
    totals = {name: state.total_energy for name, state in states.items()}
    conditions: list[Condition] = []
    for reaction in atomizations():
        coefficients = {n: HARTREE_IN_KCAL_PER_MOL * c for n, c in reaction.coefficients.items()}
        conditions.append(
            Condition(
                name=reaction.name,
                coefficients=coefficients,
                constant=reaction.energy(totals) - sum(c * now[n] for n, c in coefficients.items()),
                target=reaction.reference,
                tolerance=settings.energy_tolerance,
            )
        )
    for name in MOLECULES:
        state = states[name]
        slope = 1.0 / (2.0 * state.step)
        coefficients = {f"{name}+": slope, f"{name}-": -slope}
        conditions.append(
            Condition(
                name=f"density of {name}",
                coefficients=coefficients,
                constant=state.density_error - sum(c * now[n] for n, c in coefficients.items()),
                target=0.0,
                tolerance=settings.density_tolerance * initial[name],
            )
        )
    return fit(parameters, densities, conditions, anchors, n_steps=settings.fit_steps)


def anchors_of(
    family: XCFamily,
    directory: Path,
    start: Mapping[str, torch.Tensor],
    settings: GradientSettings,
    *,
    seed: int,
) -> Anchors:
    """Draw the points that hold the network in place.

    Two thirds lie around the points of atoms and of the three molecules, one third comes from the mesh.
    """
    rng = np.random.default_rng([seed, 1])
    taught: XCFamily = "MGGA" if family == "NONLOCAL" else family
    share = settings.n_anchors // 3
    scattered = distillation.scattered_targets(teacher_densities(directory), taught, rng, 3 * share)
    mesh = distillation.mesh_targets(taught, rng, 2 * share)
    inputs = np.concatenate([scattered.inputs[: 2 * share], mesh.inputs[:share]])
    if family == "NONLOCAL":
        # Between the uniform gas and the neighborhood of a nucleus R/n varies by a factor of a few.
        around = 0.5 * rng.standard_normal(len(inputs)) + np.log(UNIFORM_KERNEL_INTEGRAL)
        inputs = np.column_stack([inputs, 3 * inputs[:, 0] + around])
    points = torch.from_numpy(inputs)
    with torch.no_grad():
        outputs = network(start, points, "silu")
    return Anchors(inputs=points, outputs=outputs, tolerance=settings.anchor_tolerance)
