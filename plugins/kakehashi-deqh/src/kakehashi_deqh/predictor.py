"""Predictions for one molecule at a time, in the order of the host: what an initial guess is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kakehashi_core.contracts import GuessRequest, GuessResult
from kakehashi_core.devices import resolve_device
from kakehashi_core.errors import UnsupportedError
from kakehashi_core.results import ConvergenceReport, ConvergenceStage
from kakehashi_deqh.block_batches import Molecule
from kakehashi_deqh.hamiltonian_model import HamiltonianModel, Prediction
from kakehashi_deqh.orbital_layout import OrbitalLayout
from kakehashi_deqh.orbitals import orbitals_of


@dataclass(frozen=True, slots=True, kw_only=True)
class HamiltonianReport(ConvergenceReport):
    """How a Hamiltonian was predicted.

    Attributes:
        residuals: Root mean square change of matrix elements by evaluation of the network, hartree.
        atom_residuals: The last one, of the rows of each atom.
        outside: In which ways the molecule is not like the training set.
    """

    residuals: tuple[float, ...] = ()
    atom_residuals: tuple[float, ...] = ()
    outside: tuple[str, ...] = ()


class HamiltonianPredictor:
    """Satisfies ``kakehashi_core.contracts.InitialGuess``.

    Args:
        model: What predicts.
        device: "cpu", "cuda[:i]" or "auto".
        tensor_products: "standard" or "cuequivariance", see ``kakehashi_deqh.tensor_products``.
    """

    def __init__(
        self, model: HamiltonianModel, *, device: str = "cpu", tensor_products: str = "standard"
    ) -> None:
        self.model = model
        model.network.use_tensor_products(tensor_products)
        self._device = resolve_device(device)

    def __call__(self, request: GuessRequest) -> GuessResult:
        """Predict Hamiltonian and density; ``report.warnings`` says what is doubtful.

        Raises:
            UnsupportedError: If nothing can be predicted: charge, spin, elements, functional, basis set;
                or if the molecule is unlike the training set and the request is for what is inside only.
        """
        refusals = self.model.domain.refusals(request)
        if refusals:
            domain = self.model.card.domain
            raise UnsupportedError(
                f"nothing can be predicted: {'; '.join(refusals)}; trained with {domain.xc}/{domain.basis}"
            )
        outside = self.model.domain.outside(request)
        if outside and request.inside_only:
            raise UnsupportedError("; ".join(outside))
        molecule = molecule_of(request, self.model.settings.start)
        (found,) = self.model.predict([molecule], dtype=torch.float64, device=self._device)
        hamiltonian = molecule.layout.given_back(found.hamiltonian)
        n_electrons = int(request.numbers.sum()) - request.charge
        orbitals = orbitals_of(hamiltonian, request.overlap, n_electrons)
        return GuessResult(
            hamiltonian=hamiltonian,
            density_matrix=orbitals.density_matrix,
            report=report_of(found, outside),
            rejection_threshold=self.model.domain.reference_error(request.numbers),
        )


def molecule_of(
    request: GuessRequest, start: str, others: Mapping[str, np.ndarray[Any, Any]] | None = None
) -> Molecule:
    """Return a request as the network reads it.

    Args:
        request: From the host.
        start: Name of the start Hamiltonian, or "none" for zero.
        others: Further matrices by name, in the order of the host.

    Raises:
        UnsupportedError: If the host did not give this start Hamiltonian.
    """
    if start != "none" and start not in request.start_hamiltonians:
        raise UnsupportedError(
            f"the model starts from {start!r}; the host gave {', '.join(request.start_hamiltonians)}"
        )
    layout = OrbitalLayout.of(request.shells, len(request.numbers))
    matrices = {
        "overlap": request.overlap,
        "start": np.zeros_like(request.overlap)
        if start == "none"
        else request.start_hamiltonians[start],
        **(others or {}),
    }
    return Molecule(
        numbers=request.numbers,
        positions=request.positions,
        layout=layout,
        matrices={name: layout.taken(matrix) for name, matrix in matrices.items()},
    )


def report_of(found: Prediction, outside: tuple[str, ...]) -> HamiltonianReport:
    """Return the report of one prediction."""
    doubts = outside
    if not found.converged:
        doubts = (*doubts, f"the network found no fixed point ({found.reason})")
    return HamiltonianReport(
        converged=found.converged,
        method="deep equilibrium" if len(found.residuals) else "network",
        n_iterations=found.evaluations,
        residual=float(found.residuals[-1]) if len(found.residuals) else float("nan"),
        residual_name="change of the Hamiltonian, hartree",
        stages=(
            ConvergenceStage(
                name="prediction",
                converged=found.converged,
                n_iterations=found.evaluations,
                message=found.reason,
            ),
        ),
        warnings=doubts,
        residuals=tuple(found.residuals.tolist()),
        atom_residuals=tuple(found.atom_residuals.tolist()),
        outside=outside,
    )


def load_predictor(checkpoint: str | Path, *, device: str = "cpu") -> HamiltonianPredictor:
    """Read a predictor from a file."""
    return HamiltonianPredictor(HamiltonianModel.load(checkpoint), device=device)
