"""Train the shipped ``nn-mgga``: densities, distillation of r2SCAN, fit of atomization energies.

Run as ``python -m kakehashi_nnxc.training.nn_mgga --data DIR --output FILE.safetensors``. Densities are kept
in DIR and computed once (about 20 minutes on one core), and so is the distilled network; the rest takes about
20 minutes on two cores. An interrupted run goes on with the stage it was in.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_ase.g2 import atomization_energy, composition, g2_molecule
from kakehashi_core.checkpoints import load_checkpoint, save_checkpoint
from kakehashi_core.model_card import ModelCard
from kakehashi_nnxc._entry_points import nn_mgga as describe_nn_mgga
from kakehashi_nnxc._units import HARTREE_IN_KCAL_PER_MOL
from kakehashi_nnxc.four_layer_form import network, parameter_shapes
from kakehashi_nnxc.training import densities, distillation
from kakehashi_nnxc.training.energy_fit import (
    Anchors,
    EnergyFit,
    FitResult,
    Reaction,
    Species,
)
from kakehashi_nnxc.training.molecules import ATOMS, DEMO_HELD_OUT, TRAINING, VALIDATION

DISTILLATION_STEPS = 18_000
FIT_STEPS = 12
N_ANCHORS = 900
ANCHOR_TOLERANCE = 0.01
"""Change of y that counts as one tolerance of a reaction; y is about 0.85 in molecules."""

ATOM_TOLERANCE = 1.0
"""Tolerance (kcal/mol) of an atom's total energy, times its place in the list of atoms plus one: total
energies are anchored loosely to r2SCAN, so that all of them do not drift together."""

logger = logging.getLogger(__name__)


def atomization_reaction(name: str) -> Reaction:
    """Return the experimental atomization energy of a G2 molecule as a reaction."""
    coefficients = {symbol: float(count) for symbol, count in composition(name).items()}
    return Reaction(
        name=name,
        coefficients={**coefficients, name: -1.0},
        reference=atomization_energy(name),
        tolerance=float(np.sqrt(len(g2_molecule(name)))),
    )


def atom_anchor(symbol: str, energy: float) -> Reaction:
    """Return the total energy of an atom with r2SCAN (hartree) as a reaction."""
    return Reaction(
        name=symbol,
        coefficients={symbol: 1.0},
        reference=HARTREE_IN_KCAL_PER_MOL * energy,
        tolerance=ATOM_TOLERANCE * (ATOMS.index(symbol) + 2),
    )


def train(
    data: Path,
    *,
    seed: int,
    distillation_steps: int,
    fit_steps: int,
    n_workers: int,
) -> FitResult:
    """Run all stages and return the best network.

    Args:
        data: Folder of the densities; an interrupted run continues there.
        seed: Seed of initial weights and batches.
        distillation_steps: Steps of Adam.
        fit_steps: Steps of Levenberg-Marquardt.
        n_workers: Processes that compute densities.
    """
    names = [*ATOMS, *TRAINING, *VALIDATION]
    with _workers(n_workers) as executor:
        arrays = densities.load_densities(names, data, executor)
    rng = np.random.default_rng(seed)
    targets = distillation.molecular_targets(arrays, rng)
    mesh = distillation.mesh_targets(densities.BASE_FUNCTIONAL, rng)
    anchor_rng = np.random.default_rng([seed, 1])
    stored = data / f"distilled-{seed}-{distillation_steps}.safetensors"
    if stored.exists():
        start = dict(load_checkpoint(stored, shapes=parameter_shapes("MGGA")).tensors)
    else:
        start = distillation.distill(
            distillation.initial_parameters(seed),
            targets,
            mesh,
            n_steps=distillation_steps,
            rng=rng,
        )
        save_checkpoint(stored, start, manifest={"seed": seed, "steps": distillation_steps})
    anchors = anchors_of(start, targets, mesh[0], anchor_rng)
    atom_energies = {symbol: float(arrays[symbol]["total_energy"]) for symbol in ATOMS}
    first_round = data / f"first-round-{seed}-{distillation_steps}-{fit_steps}.safetensors"
    if not first_round.exists():
        first = _fit(arrays, atom_energies, anchors).run(start, n_steps=fit_steps)
        _log_saved(first, first_round, seed)
    # Densities relax in the new potential, those of atoms most: fit once more on relaxed ones.
    with _workers(n_workers) as executor:
        relaxed = densities.load_densities(names, data / "relaxed", executor, weights=first_round)
    again = dict(load_checkpoint(first_round, shapes=parameter_shapes("MGGA")).tensors)
    return _fit(relaxed, atom_energies, anchors).run(again, n_steps=fit_steps)


def _workers(n_workers: int) -> ProcessPoolExecutor:
    # A forked child inherits torch's OpenMP state without its threads, and hangs.
    return ProcessPoolExecutor(n_workers, mp_context=get_context("spawn"))


def _fit(
    arrays: Mapping[str, Mapping[str, Any]], atom_energies: Mapping[str, float], anchors: Anchors
) -> EnergyFit:
    return EnergyFit(
        {name: Species.from_density(array) for name, array in arrays.items()},
        [
            *(atomization_reaction(name) for name in TRAINING),
            *(atom_anchor(symbol, atom_energies[symbol]) for symbol in ATOMS),
        ],
        [atomization_reaction(name) for name in VALIDATION],
        anchors,
    )


def _log_saved(result: FitResult, path: Path, seed: int) -> None:
    logger.info("%s: SHA-256 %s", path.name, save(result, path, seed=seed))


def anchors_of(
    parameters: Mapping[str, torch.Tensor],
    targets: distillation.Targets,
    mesh_inputs: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> Anchors:
    """Draw the points that hold the network in place: two thirds from the mesh, one from molecules."""
    importance = np.sqrt(targets.importance)
    molecular = rng.choice(importance.size, N_ANCHORS // 3, p=importance / importance.sum())
    mesh = rng.choice(len(mesh_inputs), N_ANCHORS - N_ANCHORS // 3, replace=False)
    inputs = torch.as_tensor(
        np.concatenate([targets.inputs[molecular], mesh_inputs[mesh]]), dtype=torch.float32
    )
    with torch.no_grad():
        outputs = network(parameters, inputs, "silu")
    return Anchors(inputs=inputs, outputs=outputs, tolerance=ANCHOR_TOLERANCE)


def model_card(result: FitResult, *, seed: int) -> ModelCard:
    """Describe the weights for users."""
    spec = describe_nn_mgga()
    return ModelCard(
        name="nn-mgga",
        version="0.1.0",
        summary=spec.summary,
        training_data=(
            f"experimental atomization energies of {len(TRAINING)} molecules of the G2/97 set, on fixed "
            "def2-TZVP densities (of r2SCAN, then of the network itself), after distillation of r2SCAN; "
            f"{len(VALIDATION)} further molecules chose the step ({', '.join(VALIDATION)}). "
            f"Trained on: {', '.join(TRAINING)}"
        ),
        domain=spec.domain,
        units=dict(spec.units),
        limits=(
            "No exact condition is built in: outside molecules of light elements it extrapolates.",
            "Errors are about those of a good meta-GGA for atomization energies; barriers, ionization "
            "potentials and weak interactions were not trained.",
            "Nuclear gradients need the response of the grid (attach() and the calculator switch it on).",
        ),
        metrics={
            "training MAE on fixed densities, kcal/mol": round(result.training_error, 3),
            "validation MAE on fixed densities, kcal/mol": round(result.validation_error, 3),
        },
        seed=seed,
        script="kakehashi_nnxc.training.nn_mgga",
        code_license="MIT",
        weights_license="MIT",
        citation=spec.citation,
    )


def save(result: FitResult, path: Path, *, seed: int) -> str:
    """Write weights and model card; returns the SHA-256 of the tensor file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = {
        **model_card(result, seed=seed).to_manifest(),
        "form": "four-layer",
        "family": "MGGA",
        "activation": "silu",
        "descriptors": ["u", "phi", "s", "t"],
        "training_species": sorted({*ATOMS, *TRAINING, *VALIDATION}),
        "held_out_of_demo": list(DEMO_HELD_OUT),
    }
    return save_checkpoint(path, result.parameters, manifest=manifest)


def main(arguments: list[str] | None = None) -> int:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description="train nn-mgga")
    parser.add_argument("--data", type=Path, required=True, help="folder of the densities")
    parser.add_argument("--output", type=Path, required=True, help="weight file to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--distillation-steps", type=int, default=DISTILLATION_STEPS)
    parser.add_argument("--fit-steps", type=int, default=FIT_STEPS)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    result = train(
        options.data,
        seed=options.seed,
        distillation_steps=options.distillation_steps,
        fit_steps=options.fit_steps,
        n_workers=options.workers,
    )
    _log_saved(result, options.output, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
