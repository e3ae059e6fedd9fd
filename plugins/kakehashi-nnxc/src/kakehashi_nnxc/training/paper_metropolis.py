"""The paper's own way to train: random moves of the weights, SCF in the loop, Metropolis acceptance.

Every step moves all weights by Gaussian random numbers, converges the three molecules and their atoms again,
and accepts or rejects by the change of the loss, at a temperature that falls from step to step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.contracts import XCFamily
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.training import load_random_state, random_state
from kakehashi_nnxc.four_layer_form import FourLayerFunctional
from kakehashi_nnxc.molecular_calculations import BASIS
from kakehashi_nnxc.reaction_sets.g2 import molecule
from kakehashi_nnxc.training.paper_densities import State, converged_state
from kakehashi_nnxc.training.paper_reference import (
    MOLECULES,
    SPECIES,
    atomizations,
    reference_densities,
)
from kakehashi_nnxc.training.paper_start import start_network

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MetropolisSettings:
    """What decides the course of a chain.

    Attributes:
        move: Standard deviation of a move of a weight, times the root-mean-square weight of its layer.
        first_temperature: Temperature of the first step, in units of the loss.
        cooling: Factor on the temperature from step to step.
        energy_scale: Error of an atomization energy that adds one to the loss, kcal/mol.
        density_scale: Error of a molecule's density that adds one to the loss, bohr^(-3/2) per electron.
    """

    move: float = 3e-4
    first_temperature: float = 0.1
    cooling: float = 0.98
    energy_scale: float = 1.0
    density_scale: float = 1e-2

    def __post_init__(self) -> None:
        if not (self.move > 0 and self.first_temperature > 0 and 0 < self.cooling <= 1):
            raise InvalidInputError(
                f"move and first_temperature must be positive and cooling in (0, 1], got {self.move}, "
                f"{self.first_temperature}, {self.cooling}"
            )


class MetropolisChain:
    """A ``kakehashi_core.training.Trainable``: each step is one move with its SCF calculations.

    Args:
        family: Rung.
        directory: Where densities and the start network are kept.
        seed: Seed of the start network.
        chain: Number of the chain; chains of one seed start from the same network and move differently.
        basis: Orbital basis.
        settings: What decides the course of the chain.
        parameters: Start network; that of ``start_network`` by default.
    """

    def __init__(
        self,
        family: XCFamily,
        directory: Path,
        *,
        seed: int,
        chain: int = 0,
        basis: str = BASIS,
        settings: MetropolisSettings | None = None,
        parameters: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self._settings = settings or MetropolisSettings()
        self._family: XCFamily = family
        self._basis = basis
        self._references = reference_densities(directory / "ccsd", basis=basis)
        start = parameters or start_network(family, directory, seed=seed)
        self._rng = np.random.default_rng([seed, 2, chain])
        self.parameters = {n: t.detach().to(torch.float64).clone() for n, t in start.items()}
        self._starts: dict[str, FloatArray] = dict(self._references)
        self._loss: float | None = None
        self._n_steps = self._n_accepted = 0
        self.best_parameters = self.parameters
        self.best_loss = float("inf")

    @property
    def temperature(self) -> float:
        """Temperature of the next step."""
        return self._settings.first_temperature * self._settings.cooling**self._n_steps

    def step(self) -> dict[str, float]:
        """Propose a move and accept or reject it; a move whose SCF fails is rejected."""
        if self._loss is None:
            states = self._converged(self.parameters)
            if states is None:
                raise InvalidInputError(
                    "the start network of a Metropolis chain does not converge on all of "
                    f"{', '.join(SPECIES)}; start from another seed"
                )
            self._take(self.parameters, states)
        assert self._loss is not None  # noqa: S101 - set by _take
        proposed = self._proposal()
        # Exp(1) variate rather than log(uniform): no log(0), no overflow for downhill moves.
        threshold = self.temperature * self._rng.standard_exponential()
        states = self._converged(proposed)
        loss = float("inf") if states is None else self._loss_of(states)
        accepted = states is not None and loss - self._loss < threshold
        self._n_steps += 1
        if accepted and states is not None:
            self._n_accepted += 1
            self._take(proposed, states)
        return {
            "loss": self._loss,
            "best loss": self.best_loss,
            "accepted": float(accepted),
            "acceptance rate": self._n_accepted / self._n_steps,
            "SCF failed": float(states is None),
            "temperature": self.temperature,
        }

    def validate(self) -> dict[str, float]:
        """Return the best loss."""
        return {"loss": self.best_loss}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later steps depend on."""
        return {
            "parameters": self.parameters,
            "best_parameters": self.best_parameters,
            "best_loss": self.best_loss,
            "loss": self._loss,
            "n_steps": self._n_steps,
            "n_accepted": self._n_accepted,
            "starts": self._starts,
            "rng": random_state(self._rng),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take over a state."""
        self.parameters = dict(state["parameters"])
        self.best_parameters = dict(state["best_parameters"])
        self.best_loss, self._loss = state["best_loss"], state["loss"]
        self._n_steps, self._n_accepted = state["n_steps"], state["n_accepted"]
        self._starts = {name: np.asarray(matrix) for name, matrix in state["starts"].items()}
        load_random_state(self._rng, state["rng"])

    def _proposal(self) -> dict[str, torch.Tensor]:
        proposed: dict[str, torch.Tensor] = {}
        for name, tensor in self.parameters.items():
            scale = self._settings.move * float(tensor.square().mean().sqrt())
            noise = torch.from_numpy(self._rng.standard_normal(tuple(tensor.shape)))
            proposed[name] = tensor + scale * noise
        return proposed

    def _converged(self, parameters: Mapping[str, torch.Tensor]) -> dict[str, State] | None:
        from kakehashi_pyscf.scf_driver import SCFConvergenceError

        functional = FourLayerFunctional(
            name="in-training", family=self._family, parameters=parameters, activation="silu"
        )
        try:
            return {
                name: converged_state(
                    molecule(name),
                    functional,
                    self._references[name],
                    family=self._family,
                    basis=self._basis,
                    start=self._starts[name],
                    robust=False,
                )
                for name in SPECIES
            }
        except SCFConvergenceError:
            return None

    def _loss_of(self, states: Mapping[str, State]) -> float:
        energies = {name: state.total_energy for name, state in states.items()}
        loss = sum(abs(r.error(energies)) / self._settings.energy_scale for r in atomizations())
        for name in MOLECULES:
            n_electrons = sum(molecule_electrons(name))
            loss += states[name].density_error / n_electrons / self._settings.density_scale
        return loss / (2 * len(MOLECULES))

    def _take(self, parameters: dict[str, torch.Tensor], states: Mapping[str, State]) -> None:
        self.parameters, self._loss = parameters, self._loss_of(states)
        self._starts = {name: state.density_matrix for name, state in states.items()}
        if self._loss < self.best_loss:
            self.best_loss, self.best_parameters = self._loss, parameters


def molecule_electrons(name: str) -> tuple[int, ...]:
    """Return the electrons that each atom of a neutral G2 molecule brings."""
    from ase.data import atomic_numbers

    return tuple(int(atomic_numbers[symbol]) for symbol in molecule(name).symbols)
