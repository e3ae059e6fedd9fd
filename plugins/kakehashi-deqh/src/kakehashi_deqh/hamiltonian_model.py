"""A trained network with its fixed point, and everything that belongs to its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.checkpoints import (
    load_checkpoint,
    load_packaged_checkpoint,
    read_manifest,
    read_packaged_manifest,
    save_checkpoint,
)
from kakehashi_core.errors import CheckpointError, InvalidInputError
from kakehashi_core.model_card import ModelCard
from kakehashi_deqh.block_batches import BlockBatch, Blocks, Molecule, StateRows
from kakehashi_deqh.equilibrium import DeepEquilibrium
from kakehashi_deqh.fixed_points import FixedPoint, SolverSettings
from kakehashi_deqh.hamiltonian_network import HamiltonianNetwork, Prepared
from kakehashi_deqh.orbital_layout import ShellCounts
from kakehashi_deqh.paper_network import PaperNetwork
from kakehashi_deqh.training_domain import TrainingDomain

FloatArray = npt.NDArray[np.float64]
FORM = "block-deq"
VARIANTS = ("deq", "paper")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Shape of a model, and how its fixed point is found.

    Attributes:
        variant: "deq", or "paper" for the inputs of the published network.
        start: Name of the start Hamiltonian, see ``kakehashi_core.contracts.GuessRequest``; "none" begins at
            zero.
        n_channels: Channels of every kind of feature.
        n_layers: Layers before the present Hamiltonian comes in.
        feedback: Whether it comes in: False gives a plain network.
        method: "anderson", "broyden" or "picard".
        tolerance: Of the root mean square change of matrix elements, hartree.
        max_evaluations: Of the network, for one molecule.
    """

    variant: str = "deq"
    start: str = "sap"
    n_channels: int = 24
    n_layers: int = 2
    feedback: bool = True
    method: str = "anderson"
    tolerance: float = 1e-7
    max_evaluations: int = 30

    def __post_init__(self) -> None:
        """Check what is not a number."""
        if self.variant not in VARIANTS:
            raise InvalidInputError(
                f"variant is {self.variant!r}; {' or '.join(map(repr, VARIANTS))} is needed"
            )

    @property
    def solver(self) -> SolverSettings:
        """How to look for the fixed point."""
        return SolverSettings(
            method=self.method,  # type: ignore[arg-type]
            tolerance=self.tolerance,
            max_evaluations=self.max_evaluations,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """What a model says about one molecule.

    Attributes:
        hamiltonian: In the order of the layout, hartree.
        residuals: Root mean square change of matrix elements by evaluation, hartree.
        atom_residuals: The same at the end, of the rows of each atom.
        converged: Whether the last one is below the tolerance.
        evaluations: Of the network.
        reason: "converged", "diverged" or "evaluations".
    """

    hamiltonian: FloatArray = field(repr=False)
    residuals: FloatArray
    atom_residuals: FloatArray
    converged: bool
    evaluations: int
    reason: str


class HamiltonianModel:
    """Predicts Hamiltonians of molecules.

    Args:
        settings: Shape.
        counts: Shells of each element by angular momentum.
        domain: What it was trained on.
        card: Where the weights come from.
        sha256: Of the weights.
        seed: Of the weights, until others are loaded.
    """

    def __init__(
        self,
        settings: ModelSettings,
        counts: Mapping[int, ShellCounts],
        *,
        domain: TrainingDomain | None = None,
        card: ModelCard | None = None,
        sha256: str = "",
        seed: int | None = None,
    ) -> None:
        self.settings = settings
        self.counts = {int(z): tuple(c) for z, c in counts.items()}
        self.domain = domain or TrainingDomain()
        self.card = card or ModelCard(name="deqh", version="", summary="")
        self.sha256 = sha256
        shape = {"n_channels": settings.n_channels, "n_layers": settings.n_layers}
        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.default_generator.manual_seed(seed)
            self.network = (
                PaperNetwork(self.counts, **shape)
                if settings.variant == "paper"
                else HamiltonianNetwork(self.counts, **shape, feedback=settings.feedback)
            )
        self.equilibrium = DeepEquilibrium(forward=settings.solver)

    def solve(
        self,
        batch: BlockBatch,
        start: Blocks | None = None,
        *,
        equilibrium: DeepEquilibrium | None = None,
        prepared: Prepared | None = None,
    ) -> tuple[Blocks, FixedPoint | None]:
        """Return the state at the fixed point, differentiable by the weights, and how it was found.

        Args:
            batch: Molecules with the matrices "overlap" and "start".
            start: State to begin with; None for what the network says without feedback.
            equilibrium: How to solve and differentiate; None for the settings of the model.
            prepared: Of this batch, if it is there already.
        """
        network = self.network
        prepared = network.prepare(batch) if prepared is None else prepared
        first = network.first(prepared, batch)
        if not network.feedback:
            return first, None
        rows = StateRows(batch, {t: first[t].shape[1] for t in batch.types})
        sizes = rows.joined(
            {t: network.output_scales.size(t).to(v).expand_as(v) for t, v in first.items()}
        )
        n_orbitals = torch.tensor(batch.sizes).to(sizes)

        def function(state: torch.Tensor) -> torch.Tensor:
            return rows.joined(network.step(prepared, batch, rows.split(state)))

        def measure(step: torch.Tensor) -> torch.Tensor:
            size: torch.Tensor = torch.linalg.vector_norm(step * sizes, dim=1)
            return size / n_orbitals

        state, found = (equilibrium or self.equilibrium)(
            function, rows.joined(first if start is None else start).detach(), measure=measure
        )
        return rows.split(state), found

    def predict(
        self,
        molecules: Sequence[Molecule],
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> list[Prediction]:
        """Predict Hamiltonians; no exception is raised where no fixed point is found.

        Args:
            molecules: With the matrices "overlap" and "start"; each gets the result that it gets alone.
            dtype: Of the network.
            device: Where it runs.
        """
        network = self.network.to(dtype=dtype, device=device).eval()
        batch = BlockBatch.join(molecules, dtype=dtype, device=device)
        with torch.no_grad():
            prepared = network.prepare(batch)
            state, found = self.solve(batch, prepared=prepared)
            changes = batch.packed(network.changes(batch, state), network.irreps)
            residual = None
            if found is not None:
                after = network.step(prepared, batch, state)
                moved = {t: after[t] - state[t] for t in batch.types}
                residual = batch.packed(
                    {t: v * network.output_scales.size(t).to(v) for t, v in moved.items()},
                    network.irreps,
                )
        predictions = []
        for k, change in enumerate(batch.matrices_of(changes)):
            m = molecules[k]
            total = m.matrices["start"] + change.to(torch.float64).cpu().numpy()
            history, at_atoms = np.zeros(0), np.zeros(len(m.numbers))
            if found is not None and residual is not None:
                history = found.residuals[:, k].cpu().to(torch.float64).numpy()
                history = history[np.isfinite(history)]
                error = batch.matrices_of(residual)[k].cpu().to(torch.float64).numpy()
                edges = m.layout.first
                at_atoms = np.array(
                    [float(np.sqrt((error[a:b] ** 2).mean())) for a, b in pairwise(edges)]
                )
            predictions.append(
                Prediction(
                    hamiltonian=0.5 * (total + total.T),
                    residuals=history,
                    atom_residuals=at_atoms,
                    converged=found is None or bool(found.converged[k]),
                    evaluations=1 if found is None else int(found.evaluations[k]),
                    reason="converged" if found is None else found.reasons[k],
                )
            )
        return predictions

    def save(self, path: Path) -> None:
        """Write weights and manifest."""
        save_checkpoint(
            path,
            {
                k: v.detach().float().cpu().contiguous()
                for k, v in self.network.state_dict().items()
            },
            manifest={
                **self.card.to_manifest(),
                "form": FORM,
                "settings": asdict(self.settings),
                "shells": {str(z): list(c) for z, c in self.counts.items()},
                "training domain": self.domain.to_json(),
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model from a file.

        Raises:
            CheckpointError: If it is damaged or of another form.
        """
        path = Path(path)
        model = cls._of(read_manifest(path), path.name)
        shapes = {k: tuple(v.shape) for k, v in model.network.state_dict().items()}
        found = load_checkpoint(path, shapes=shapes)
        model.network.load_state_dict(dict(found.tensors))
        model.sha256 = found.sha256
        return model

    @classmethod
    def packaged(cls, name: str) -> Self:
        """Read a model that is part of this package."""
        package, resource = "kakehashi_deqh", f"weights/{name}.safetensors"
        model = cls._of(read_packaged_manifest(package, resource), resource)
        shapes = {k: tuple(v.shape) for k, v in model.network.state_dict().items()}
        found = load_packaged_checkpoint(package, resource, shapes=shapes)
        model.network.load_state_dict(dict(found.tensors))
        model.sha256 = found.sha256
        return model

    @classmethod
    def _of(cls, manifest: Mapping[str, Any], name: str) -> Self:
        if manifest.get("form") != FORM:
            raise CheckpointError(f"{name} is of the form {manifest.get('form')!r}, not {FORM!r}")
        return cls(
            ModelSettings(**manifest["settings"]),
            {int(z): tuple(c) for z, c in manifest["shells"].items()},
            domain=TrainingDomain.from_json(manifest["training domain"]),
            card=ModelCard.from_manifest(manifest),
        )
