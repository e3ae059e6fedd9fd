"""Functionals that an earlier evaluation recorded, so that a comparison can grow without repeating them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from kakehashi_core.errors import InvalidInputError
from kakehashi_nnxc.evaluation.evaluated_functionals import EvaluatedFunctional
from kakehashi_nnxc.evaluation.set_evaluation import FunctionalRun
from kakehashi_nnxc.evaluation.species_calculations import Settings, SpeciesResult
from kakehashi_nnxc.reaction_sets.identity import molecular_identity
from kakehashi_nnxc.reaction_sets.reactions import ReactionSet

DECIDING_PACKAGES = ("pyscf", "libxc")
"""Other versions of these may give other energies."""


def recorded_runs(
    path: str | Path,
    reactions: ReactionSet,
    settings: Settings,
    versions: Mapping[str, str],
) -> list[FunctionalRun]:
    """Read the functionals of a summary that ``kakehashi bench xc`` wrote.

    Args:
        path: The summary, JSON.
        reactions: The set, or a part of it; species that it does not need are left out.
        settings: Basis, grid and so on of the comparison.
        versions: Installed versions.

    Raises:
        InvalidInputError: If the file is not such a summary, or of another set, other settings or versions.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text("utf-8"))
        functionals = data["functionals"]
        found = {f.name: data["settings"][f.name] for f in fields(Settings)}
        recorded_versions = data["versions"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{path} is not a summary of kakehashi bench xc: {type(error).__name__}: {error}"
        ) from error
    if data.get("set") != reactions.name:
        raise InvalidInputError(f"{path} is a record of {data.get('set')}, not of {reactions.name}")
    wanted = asdict(settings)
    differing = [f"{n} {found[n]} instead of {wanted[n]}" for n in wanted if found[n] != wanted[n]]
    differing += [
        f"{package} {recorded_versions.get(package)} instead of {versions.get(package)}"
        for package in DECIDING_PACKAGES
        if recorded_versions.get(package) != versions.get(package)
    ]
    if differing:
        raise InvalidInputError(f"{path} was recorded with {', '.join(differing)}")
    return [_run(entry, reactions, found, recorded_versions) for entry in functionals]


def _run(
    entry: Mapping[str, Any],
    reactions: ReactionSet,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
) -> FunctionalRun:
    name, digest = str(entry["functional"]), str(entry["weights_sha256"])
    trained = None
    if entry["training_known"]:
        leaked = [
            reactions.molecules[n] for n in entry["leaked_species"] if n in reactions.molecules
        ]
        trained = frozenset(molecular_identity(m) for m in leaked)
    results = {
        species: SpeciesResult(
            species=species,
            functional=name,
            energy=kept["energy"],
            converged=kept["energy"] is not None,
            method=kept["method"],
            default_converged=kept["default_converged"],
            default_cycles=kept["default_cycles"],
            cycles=kept["cycles"],
            orbital_gradient=_number(kept["orbital_gradient"]),
            report="",
            attempt=kept["attempt"],
            n_ao=kept["n_ao"],
            n_points=0,
            spin_square=kept["spin_square"],
            stable=kept["stable"],
            seconds=kept["seconds"],
            warnings=kept.get("warnings", ()),
            settings=settings,
            weights_sha256=digest,
            versions=versions,
            beside=kept.get("beside", {}),
        )
        for species, kept in entry["species"].items()
        if species in reactions.molecules
    }
    return FunctionalRun(
        functional=EvaluatedFunctional(
            name=name,
            description={"name": name, **({"sha256": digest} if digest else {})},
            trained=trained,
        ),
        results=results,
        failures={},
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
