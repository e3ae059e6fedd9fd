"""The network from which the paper's training starts: a copy of a known functional.

The paper started from random weights. Ours start from PW92, PBE or r2SCAN, none of which was fitted to
molecules; the near-region form starts from the meta-GGA's network with a column of zeros for R.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from kakehashi_core.checkpoints import load_checkpoint, save_checkpoint
from kakehashi_core.contracts import XCFamily
from kakehashi_nnxc._units import HARTREE_IN_KCAL_PER_MOL
from kakehashi_nnxc.four_layer_form import network, parameter_shapes
from kakehashi_nnxc.molecular_calculations import BASIS
from kakehashi_nnxc.reaction_sets.g2 import molecule
from kakehashi_nnxc.training import distillation
from kakehashi_nnxc.training.fixed_densities import load_densities
from kakehashi_nnxc.training.paper_fit import Anchors, Condition, fit
from kakehashi_nnxc.training.paper_reference import MOLECULES
from kakehashi_nnxc.training.points import DensityPoints

ATOMS = ("H", "Li", "Be", "B", "C", "N", "O", "F", "Na", "Al", "Si", "P", "S", "Cl")
"""Atoms whose densities, with the teacher's energy densities, carry the copy; H, N, O also train."""

ADAM_STEPS: dict[XCFamily, int] = {"LDA": 300, "GGA": 600, "MGGA": 2_000}
POLISH_STEPS: dict[XCFamily, int] = {"LDA": 15, "GGA": 40, "MGGA": 60}

BATCHES: dict[XCFamily, tuple[int, int, int]] = {
    "LDA": (300, 300, 100),
    "GGA": (700, 600, 200),
    "MGGA": (1500, 1200, 300),
}
"""Points of species, points around them, points of the mesh in a step: more for more descriptors."""

CYCLES: dict[XCFamily, int] = {"LDA": 1, "GGA": 1, "MGGA": 2}
"""How often the polish of points and the fit of energies follow each other."""

FIT_STEPS = 12
"""Steps of the fit of energies in the first cycle; k times as many in the k-th."""

FIT_TOLERANCE = 0.3
"""Error of a species' exchange-correlation energy that counts as one, kcal/mol."""

ANCHOR_TOLERANCE = 0.003
N_ANCHORS = (700, 200)
"""Closed-shell points around those of the species, and points of the mesh."""

CLOSED_SHELL = 1e-6
"""ln phi below which a point counts as closed shell."""

logger = logging.getLogger(__name__)


def start_network(family: XCFamily, directory: Path, *, seed: int = 1) -> dict[str, torch.Tensor]:
    """Return the distilled network of a family, float64; computed once and kept.

    Args:
        family: Rung.
        directory: Where densities and networks are kept.
        seed: Seed of initial weights and batches.
    """
    taught: XCFamily = "MGGA" if family == "NONLOCAL" else family
    parameters: dict[str, torch.Tensor] = {}
    for cycle in range(CYCLES[taught]):
        path = directory / f"start-{taught.lower()}-{seed}-{cycle}.safetensors"
        if not path.exists():
            found = _distilled(taught, directory, seed, cycle, parameters)
            save_checkpoint(path, found, manifest={"seed": seed, "cycle": cycle})
        parameters = dict(load_checkpoint(path, shapes=parameter_shapes(taught)).tensors)
    if family == "NONLOCAL":
        first = parameters["fc1.weight"]
        parameters["fc1.weight"] = torch.cat([first, torch.zeros_like(first[:, :1])], dim=1)
    return parameters


def teacher_densities(directory: Path, basis: str = BASIS) -> dict[str, dict[str, Any]]:
    """Return the r2SCAN densities of all atoms and of the three molecules; computed once and kept."""
    species = [molecule(name) for name in (*ATOMS, *MOLECULES)]
    return load_densities(species, directory / "densities", basis=basis)


def _distilled(
    family: XCFamily,
    directory: Path,
    seed: int,
    cycle: int,
    before: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    densities = teacher_densities(directory)
    rng = np.random.default_rng([seed, cycle] if cycle else seed)
    points = distillation.density_targets(densities, family)
    scattered = distillation.scattered_targets(densities, family, rng)
    mesh = distillation.mesh_targets(family, rng)
    if cycle == 0:
        before = distillation.distill(
            distillation.initial_parameters(seed, family),
            points,
            scattered,
            mesh,
            n_steps=ADAM_STEPS[family],
            rng=rng,
            batches=BATCHES[family],
        )
    polished = distillation.polish(
        before,
        points,
        scattered,
        mesh,
        n_steps=POLISH_STEPS[family],
        rng=rng,
        batches=BATCHES[family],
    )
    n_steps = FIT_STEPS * (cycle + 1)
    return _with_energies(polished, densities, family, scattered, mesh, n_steps=n_steps)


def _with_energies(
    parameters: Mapping[str, torch.Tensor],
    densities: Mapping[str, Mapping[str, Any]],
    family: XCFamily,
    scattered: distillation.Targets,
    mesh: distillation.Targets,
    *,
    n_steps: int,
) -> dict[str, torch.Tensor]:
    """Give every species the teacher's energy.

    The form sees open shells through fewer variables than the teacher, so the best fit of points leaves
    several kcal/mol in the energies of atoms. Closed-shell points are held, so that only the dependence on
    the polarization moves.
    """
    closed = np.flatnonzero(scattered.inputs[:, 1] < CLOSED_SHELL)[: N_ANCHORS[0]]
    inputs = np.concatenate([scattered.inputs[closed], mesh.inputs[: N_ANCHORS[1]]])
    held = torch.from_numpy(inputs)
    with torch.no_grad():
        outputs = network(parameters, held, "silu")
    conditions: list[Condition] = []
    points: dict[str, DensityPoints] = {}
    for name, density in densities.items():
        points[name] = DensityPoints.from_density(density, family)
        variables, weights = np.asarray(density["variables"]), np.asarray(density["weights"])
        spin: Literal[0, 1] = 1 if int(density["spin"]) else 0
        energy = distillation.teacher_energy(variables, weights, spin, family)
        conditions.append(
            Condition(
                name=name,
                coefficients={name: HARTREE_IN_KCAL_PER_MOL},
                constant=-HARTREE_IN_KCAL_PER_MOL * energy,
                target=0.0,
                tolerance=FIT_TOLERANCE,
            )
        )
    anchors = Anchors(inputs=held, outputs=outputs, tolerance=ANCHOR_TOLERANCE)
    fitted = fit(parameters, points, conditions, anchors, n_steps=n_steps)
    for condition in conditions:
        energies = {condition.name: points[condition.name].energy(fitted)}
        logger.info("%s: %.2f kcal/mol from the teacher", condition.name, condition.value(energies))
    return fitted
