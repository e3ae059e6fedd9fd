"""Fit a model to converged Hamiltonians: first without feedback, then at its fixed point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from kakehashi_core.errors import unknown_name
from kakehashi_core.random_streams import spawn, torch_generator
from kakehashi_core.training import GradientTraining, ShuffledBatches, create_fabric, train
from kakehashi_deqh.block_batches import BlockBatch, Blocks, Molecule
from kakehashi_deqh.equilibrium import DeepEquilibrium
from kakehashi_deqh.fixed_points import SolverSettings
from kakehashi_deqh.hamiltonian_model import HamiltonianModel, ModelSettings
from kakehashi_deqh.orbital_layout import ShellCounts
from kakehashi_deqh.predictor import molecule_of
from kakehashi_deqh.training.eigenbasis_optimizer import Soap
from kakehashi_deqh.training.losses import EigenFrame, LossWeights, hamiltonian_loss
from kakehashi_deqh.training.scf_data import Calculation

Target = Literal["direct", "refine", "scf-map"]
OptimizerName = Literal["adam", "soap"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How a model is fitted.

    Attributes:
        steps: Optimizer steps without feedback.
        feedback_steps: Steps with it, after these.
        target: What the network is to make of a Hamiltonian on the way to self-consistency, besides having
            its fixed point at the converged one: "refine", the converged one; "scf-map", the Kohn-Sham matrix
            of its density; "direct", nothing.
        optimizer: "adam", or "soap" for many steps on large models.
        batch_size: Molecules of a step.
        learning_rate: Largest one.
        feedback_rate: Largest one of the steps with feedback.
        clip_norm: Largest norm of the gradient.
        tolerance: Of the fixed point while it is trained, hartree.
        gradient: See ``DeepEquilibrium``.
        gradient_tolerance: Of its gradient, relative.
        iterates: Weight of the errors of what is made of Hamiltonians on the way.
        weights: Of the parts of the loss.
    """

    steps: int = 6000
    feedback_steps: int = 0
    target: Target = "refine"
    optimizer: OptimizerName = "adam"
    batch_size: int = 10
    learning_rate: float = 5e-3
    feedback_rate: float = 1e-3
    clip_norm: float = 5.0
    tolerance: float = 1e-6
    gradient: str = "ift"
    gradient_tolerance: float = 1e-3
    iterates: float = 0.3
    weights: LossWeights = field(default_factory=LossWeights)


class TrainingSet:
    """Molecules with start, overlap and converged Hamiltonian, and their orbitals.

    Args:
        calculations: At least one.
        start: Name of the start Hamiltonian.
        dtype: Of the network.
    """

    def __init__(
        self, calculations: Sequence[Calculation], start: str, dtype: torch.dtype = torch.float32
    ) -> None:
        self.calculations = list(calculations)
        self.dtype = dtype
        self.molecules = [
            molecule_of(c.request, start, {"final": c.hamiltonian}) for c in self.calculations
        ]
        self.frames = [EigenFrame.of(m, "final", dtype) for m in self.molecules]

    def __len__(self) -> int:
        return len(self.molecules)

    @property
    def counts(self) -> dict[int, ShellCounts]:
        """Shells of each element."""
        return {
            int(z): c
            for m in self.molecules
            for z, c in zip(m.numbers, m.layout.counts, strict=True)
        }

    def with_iterates(self, k: int, rng: np.random.Generator) -> Molecule:
        """Return a molecule with a Hamiltonian "present" on the way, and its Kohn-Sham matrix "image"."""
        c, m = self.calculations[k], self.molecules[k]
        i = int(rng.integers(len(c.iterates)))
        present, image = (m.layout.taken(x[i]) for x in (c.iterates, c.images))
        return Molecule(
            numbers=m.numbers,
            positions=m.positions,
            layout=m.layout,
            matrices={**m.matrices, "present": present, "image": image},
        )


def fit(
    model: HamiltonianModel,
    data: TrainingSet,
    settings: FitSettings,
    directory: Path,
    *,
    seed: int,
    identity: Mapping[str, Any],
    device: str = "cpu",
    keep_scales: bool = False,
    description: str = "Hamiltonians",
) -> None:
    """Fit a model in place; the same call goes on after an interruption.

    Args:
        model: With weights to start from.
        data: Molecules to learn from.
        settings: How.
        directory: Run directories of the two stages go there.
        seed: Of the order of molecules.
        identity: What the data are, JSON-able: a run with others is refused.
        device: "cpu", "cuda[:i]" or "auto".
        keep_scales: Do not take sizes of inputs and outputs from these data: the model was trained before.
        description: For the progress bar.
    """
    if not keep_scales:
        set_scales(model, data)
    fabric = create_fabric(device=device)
    model.network.to(dtype=data.dtype, device=fabric.device)
    config = {
        "model": asdict(model.settings),
        "fit": asdict(settings),
        "seed": seed,
        "data": dict(identity),
    }
    stages = [("base", settings.steps, settings.learning_rate)] if settings.steps else []
    if model.settings.feedback and settings.feedback_steps:
        stages.append(("feedback", settings.feedback_steps, settings.feedback_rate))
    streams, _ = spawn(seed, 4)
    for k, (stage, steps, rate) in enumerate(stages):
        order, draws = streams[2 * k : 2 * k + 2]
        if stage == "feedback" and settings.steps and not keep_scales:
            # What was learned without feedback is where this stage begins.
            model.network.silence_feedback()
        optimizer = _optimizer(settings.optimizer, model.network, rate)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, _cycle(steps))
        trainable = GradientTraining(
            model.network,
            optimizer,
            loss=_BaseLoss(model, data, settings)
            if stage == "base"
            else _FeedbackLoss(model, data, settings, draws),
            batches=ShuffledBatches(len(data), min(settings.batch_size, len(data)), rng=order),
            scheduler=scheduler,
            streams={"iterates": draws},
            fabric=fabric,
            clip_norm=settings.clip_norm,
            seed=seed,
        )
        train(
            trainable,
            directory / stage,
            config={**config, "stage": stage},
            steps=steps,
            description=f"{description}, {stage}",
        )
    model.network.cpu().eval()


def new_model(settings: ModelSettings, data: TrainingSet, seed: int) -> HamiltonianModel:
    """Return a model with random weights."""
    (first,), _ = spawn(seed, 1)
    return HamiltonianModel(settings, data.counts, seed=torch_generator(first).initial_seed())


def set_scales(model: HamiltonianModel, data: TrainingSet) -> None:
    """Take means and sizes of inputs and outputs from a training set."""
    network = model.network.to(torch.float64)
    batches = [BlockBatch.join([m]) for m in data.molecules]
    for name, scales in network.inputs.items():
        scales.fit([b.matrices[name] for b in batches])  # type: ignore[operator]
    network.output_scales.fit([network.unscaled(b, "final") for b in batches])


class _BaseLoss:
    """What the network says without a present Hamiltonian, against the converged one."""

    def __init__(self, model: HamiltonianModel, data: TrainingSet, settings: FitSettings) -> None:
        self.model, self.data, self.settings = model, data, settings

    def __call__(self, network: Any, numbers: Any) -> torch.Tensor:
        chosen = [int(k) for k in numbers]
        device = next(network.parameters()).device
        batch = BlockBatch.join(
            [self.data.molecules[k] for k in chosen], dtype=self.data.dtype, device=device
        )
        found = network.first(network.prepare(batch), batch)
        return self.of_state(network, batch, found, "final", chosen)

    def of_state(
        self, network: Any, batch: BlockBatch, state: Blocks, target: str, chosen: list[int]
    ) -> torch.Tensor:
        """Return the loss of a state against a matrix of the batch."""
        wanted = {t: batch.matrices[target][t] - batch.matrices["start"][t] for t in batch.types}
        changes = network.changes(batch, state)
        errors = batch.packed({t: changes[t] - wanted[t] for t in batch.types}, network.irreps)
        frames = [self.data.frames[k] for k in chosen]
        return hamiltonian_loss(errors, batch.matrices_of(errors), frames, self.settings.weights)


class _FeedbackLoss(_BaseLoss):
    """The fixed point against the converged Hamiltonian, and the map on the way to it."""

    def __init__(
        self,
        model: HamiltonianModel,
        data: TrainingSet,
        settings: FitSettings,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(model, data, settings)
        self.rng = rng
        self.equilibrium = DeepEquilibrium(
            gradient=settings.gradient,
            forward=replace(model.settings.solver, tolerance=settings.tolerance),
            backward=SolverSettings(tolerance=settings.gradient_tolerance, max_evaluations=20),
        )

    def __call__(self, network: Any, numbers: Any) -> torch.Tensor:
        chosen = [int(k) for k in numbers]
        device = next(network.parameters()).device
        on_the_way = self.settings.target != "direct" and self.settings.iterates > 0.0
        molecules = [
            self.data.with_iterates(k, self.rng) if on_the_way else self.data.molecules[k]
            for k in chosen
        ]
        batch = BlockBatch.join(molecules, dtype=self.data.dtype, device=device)
        prepared = network.prepare(batch)
        state, _ = self.model.solve(batch, equilibrium=self.equilibrium, prepared=prepared)
        loss = self.of_state(network, batch, state, "final", chosen)
        if on_the_way:
            after = network.step(prepared, batch, network.states(batch, "present"))
            target = "final" if self.settings.target == "refine" else "image"
            loss = loss + self.settings.iterates * self.of_state(
                network, batch, after, target, chosen
            )
        return loss


def _optimizer(name: OptimizerName, network: torch.nn.Module, rate: float) -> torch.optim.Optimizer:
    if name == "soap":
        return Soap(network, lr=rate)
    if name == "adam":
        return torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    raise unknown_name("optimizer", name, ["adam", "soap"])


def _cycle(steps: int) -> Any:
    """Return a schedule: up within two percent of the steps, then down like a cosine."""

    def factor(step: int) -> float:
        share = min(1.0, step / max(steps, 1))
        return min(1.0, (step + 1) / max(0.02 * steps, 1.0)) * (
            0.5 * (1.0 + math.cos(math.pi * share)) + 1e-3
        )

    return factor
