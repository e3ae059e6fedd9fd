"""``kakehashi train deqh NAME``: from nothing to the weights of a shipped model."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.model_card import ModelCard
from kakehashi_core.process_pools import process_pool
from kakehashi_core.specs import Domain
from kakehashi_deqh._entry_points import DEQH
from kakehashi_deqh.hamiltonian_model import HamiltonianModel
from kakehashi_deqh.training.accuracy import measured_accuracy
from kakehashi_deqh.training.hamiltonian_fit import TrainingSet, fit, new_model
from kakehashi_deqh.training.recipes import Recipe, calculations, recipe
from kakehashi_deqh.training.scf_data import Calculation
from kakehashi_deqh.training_domain import TrainingDomain, symbol

logger = logging.getLogger(__name__)


def train_deqh(
    name: str,
    *,
    output: Path | None = None,
    data: Path = Path("kakehashi-train-deqh"),
    seed: int = 1,
    workers: int = 1,
    device: str = "cpu",
    sampling: Literal["modes", "dynamics"] | None = None,
    steps: int | None = None,
    feedback_steps: int | None = None,
) -> int:
    """Train a predictor of Hamiltonians and write its weights with a model card.

    Calculations and the state of the fit are kept in the data folder: the same call goes on after an
    interruption.

    Args:
        name: deqh-water, deqh-ethanol or deqh-hcno.
        output: Weight file to write; NAME.safetensors in the data folder by default.
        data: Folder for calculations and run directories.
        seed: Seed of the initial weights.
        workers: Processes that run SCF calculations.
        device: Where the network is trained, "cpu", "cuda[:i]" or "auto".
        sampling: Geometries from normal modes or from molecular dynamics, instead of what the recipe says.
        steps: Optimizer steps without feedback, instead of those of the recipe.
        feedback_steps: Steps with it.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = recipe(name)
    path = output or data / f"{chosen.name}.safetensors"
    if path.suffix != ".safetensors":
        raise InvalidInputError(f"--output must end in .safetensors, got {str(path)!r}; rename it")
    settings = chosen.fit
    if steps is not None:
        settings = replace(settings, steps=steps)
    if feedback_steps is not None:
        settings = replace(settings, feedback_steps=feedback_steps)
    chosen = replace(chosen, fit=settings, sampling=sampling or chosen.sampling)
    folder = data / chosen.name
    with process_pool(workers) as executor:
        train, test = calculations(chosen, folder, executor=executor)
    began = time.process_time()
    model = trained_model(chosen, train, folder / f"seed{seed}", seed=seed, device=device)
    seconds = time.process_time() - began
    accuracy = measured_accuracy(model, test)
    for quantity, value in accuracy.items():
        logger.info("%s: %.4g", quantity, value)
    logger.info("fit: %.0f s of CPU time in this call", seconds)
    model.card = _card(chosen, model, accuracy, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    logger.info("weights: %s", path)
    return 0


def trained_model(
    chosen: Recipe, train: list[Calculation], directory: Path, *, seed: int, device: str = "cpu"
) -> HamiltonianModel:
    """Fit a model of a recipe to calculations."""
    data = TrainingSet(train, chosen.model.start)
    model = new_model(chosen.model, data, seed)
    fit(
        model,
        data,
        chosen.fit,
        directory,
        seed=seed,
        identity={
            "recipe": chosen.name,
            "level": asdict(chosen.level),
            "molecules": list(chosen.molecules),
            "temperature": chosen.temperature,
            **({"sampling": chosen.sampling} if chosen.sampling != "modes" else {}),
            "n": len(train),
            "seed": chosen.seed,
        },
        device=device,
        description=chosen.name,
    )
    model.domain = TrainingDomain.of(
        [c.request for c in train],
        [c.reference_error for c in train],
        same_compositions=len(chosen.molecules) == 1,
    )
    return model


def _card(
    chosen: Recipe, model: HamiltonianModel, accuracy: dict[str, float], seed: int
) -> ModelCard:
    level = chosen.level
    return ModelCard(
        name=chosen.name,
        version="0.1.0",
        summary=f"Kohn-Sham Hamiltonian of {chosen.summary}, {level.xc}/{level.basis}",
        training_data=(
            f"{chosen.n_train} geometries of {', '.join(chosen.molecules)}: "
            f"{'normal modes' if chosen.sampling == 'modes' else 'molecular dynamics'} at "
            f"{chosen.temperature:g} K, {level.xc}/{level.basis}, grid level {level.grid}, by "
            "kakehashi train deqh"
        ),
        domain=Domain(
            elements=tuple(symbol(z) for z in sorted(model.counts)),
            basis=level.basis,
            xc=level.xc,
            note="neutral closed shells, distances as in training",
        ),
        units={"hamiltonian": "hartree"},
        limits=(
            "Geometries far from the training set are predicted badly; the first Fock matrix tells.",
        ),
        metrics={f"test, {k}": float(f"{v:.4g}") for k, v in accuracy.items()},
        seed=seed,
        script=f"kakehashi train deqh {chosen.name}",
        weights_license="MIT",
        citation=DEQH,
    )
