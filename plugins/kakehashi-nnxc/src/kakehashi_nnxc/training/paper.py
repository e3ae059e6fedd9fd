"""Training of nn-lsda, nn-gga, nn-mgga and nn-nra on the three molecules of the paper."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

from kakehashi_core import training as core_training
from kakehashi_core.checkpoints import save_checkpoint
from kakehashi_core.contracts import XCFamily
from kakehashi_core.ensembles import run_ensemble
from kakehashi_core.errors import unknown_name
from kakehashi_core.model_card import ModelCard
from kakehashi_nnxc import _entry_points
from kakehashi_nnxc.descriptors import DESCRIPTORS
from kakehashi_nnxc.molecular_calculations import BASIS
from kakehashi_nnxc.reaction_sets import molecular_identity
from kakehashi_nnxc.reaction_sets.g2 import molecule
from kakehashi_nnxc.training.distillation import TEACHERS
from kakehashi_nnxc.training.paper_gradient import GradientRounds, GradientSettings
from kakehashi_nnxc.training.paper_metropolis import MetropolisChain, MetropolisSettings
from kakehashi_nnxc.training.paper_reference import MOLECULES, SPECIES

logger = logging.getLogger(__name__)

FAMILIES: dict[str, XCFamily] = {
    "nn-lsda": "LDA",
    "nn-gga": "GGA",
    "nn-mgga": "MGGA",
    "nn-nra": "NONLOCAL",
}
"""The functionals that are trained here."""

METROPOLIS_STEPS = 500
N_CHAINS = 4

Mode = Literal["gradient", "metropolis"]


def train_paper(
    name: str,
    path: Path,
    *,
    data: Path,
    seed: int = 1,
    mode: Mode = "gradient",
    rounds: int = 1,
    settings: GradientSettings | None = None,
    executor: Executor | None = None,
) -> str:
    """Train one of the published forms and write its weights with a model card.

    Densities, the start network and the run directory are kept; the same call goes on after an interruption.

    Args:
        name: "nn-lsda", "nn-gga", "nn-mgga" or "nn-nra".
        path: Weight file to write.
        data: Folder of densities and run directories.
        seed: Seed of the initial weights.
        mode: "gradient" (the shipped weights) or "metropolis" (the paper's way: several chains, of which
            the best is kept).
        rounds: Rounds of the gradient mode.
        settings: Settings of the gradient mode.
        executor: Runs the chains; None for one after the other in this process.

    Returns:
        SHA-256 of the weight file.

    Raises:
        UnknownNameError: If there is no such form.
    """
    if name not in FAMILIES:
        raise unknown_name("form of the paper", name, tuple(FAMILIES))
    data.mkdir(parents=True, exist_ok=True)
    if mode == "metropolis":
        parameters, metrics = _best_chain(name, data, seed, executor)
    else:
        chosen = settings or GradientSettings()
        trained = GradientRounds(FAMILIES[name], data, seed=seed, settings=chosen)
        core_training.train(
            trained,
            data / f"{name}-gradient-{seed}",
            config={"name": name, "seed": seed, "basis": BASIS, **asdict(chosen)},
            steps=rounds,
            checkpoint_steps=1,
            description=name,
        )
        parameters, metrics = trained.parameters, trained.validate()
    return save(name, parameters, path, seed=seed, metrics=metrics, mode=mode)


def run_chain(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run one Metropolis chain to its end, or go on with it.

    Args:
        request: "name", "data", "seed", "chain", "steps", "basis".

    Returns:
        "best_loss", and "parameters" as arrays by name.
    """
    name, seed, chain = request["name"], int(request["seed"]), int(request["chain"])
    data, settings = Path(request["data"]), MetropolisSettings()
    walker = MetropolisChain(
        FAMILIES[name], data, seed=seed, chain=chain, basis=request["basis"], settings=settings
    )
    core_training.train(
        walker,
        data / f"{name}-metropolis-{seed}-{chain}",
        config={"name": name, "seed": seed, "chain": chain, "basis": request["basis"]}
        | asdict(settings),
        steps=int(request["steps"]),
        checkpoint_steps=1,
        description=f"{name}, chain {chain}",
    )
    return {
        "best_loss": walker.best_loss,
        "parameters": {n: t.numpy() for n, t in walker.best_parameters.items()},
    }


def _best_chain(
    name: str, data: Path, seed: int, executor: Executor | None
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    requests = [
        {
            "name": name,
            "data": str(data),
            "seed": seed,
            "chain": chain,
            "steps": METROPOLIS_STEPS,
            "basis": BASIS,
        }
        for chain in range(N_CHAINS)
    ]
    results = run_ensemble(run_chain, requests, executor=executor, description=name)
    best = min(results, key=lambda result: float(result["best_loss"]))
    parameters = {key: torch.from_numpy(value) for key, value in best["parameters"].items()}
    return parameters, {"loss of the best chain": float(best["best_loss"])}


def save(
    name: str,
    parameters: Mapping[str, torch.Tensor],
    path: Path,
    *,
    seed: int,
    metrics: Mapping[str, float],
    mode: Mode,
) -> str:
    """Write float32 weights with their manifest; returns the SHA-256 of the tensor file."""
    family = FAMILIES[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = {
        **model_card(name, seed=seed, metrics=metrics, mode=mode).to_manifest(),
        "form": "four-layer",
        "family": family,
        "activation": "silu",
        "descriptors": list(DESCRIPTORS[family]),
        "training_species": sorted(SPECIES),
        "training_identities": sorted(molecular_identity(molecule(m)) for m in MOLECULES),
    }
    tensors = {key: tensor.to(torch.float32).contiguous() for key, tensor in parameters.items()}
    return save_checkpoint(path, tensors, manifest=manifest)


def model_card(
    name: str, *, seed: int, metrics: Mapping[str, float], mode: Mode = "gradient"
) -> ModelCard:
    """Describe the weights for users."""
    family = FAMILIES[name]
    spec = getattr(_entry_points, name.replace("-", "_"))()
    teacher = {"lda,pw_mod": "PW92", "pbe": "PBE", "r2scan": "r2SCAN"}[
        TEACHERS["MGGA" if family == "NONLOCAL" else family]
    ]
    way = (
        "gradients of the energies and densities of self-consistent calculations"
        if mode == "gradient"
        else "random moves of the weights with Metropolis acceptance"
    )
    return ModelCard(
        name=name,
        version="0.2.0",
        summary=spec.summary,
        training_data=(
            "H2O, NH3 and NO with their atoms, as in the paper: experimental atomization energies (ASE's G2 "
            f"thermochemistry, electronic) and CCSD densities in {BASIS}; {way}. The paper started from "
            f"random weights; these started from a copy of {teacher}, made at points of the 14 atoms and of "
            "the three molecules, points scattered around them, and a mesh. W4-11 atomization energies "
            "of molecules outside AE148 served to compare ways of copying and anchoring; none was fitted."
        ),
        domain=spec.domain,
        units=dict(spec.units),
        limits=(
            "No exact condition is built in: outside molecules of light elements it extrapolates.",
            "Barriers, ionization potentials and weak interactions were not trained.",
            "Nuclear gradients need the response of the grid (attach() and the calculator switch it on).",
        ),
        metrics={key: round(float(value), 5) for key, value in metrics.items()},
        seed=seed,
        script="kakehashi_nnxc.training.paper",
        code_license="MIT",
        weights_license="MIT",
        citation=spec.citation,
    )
