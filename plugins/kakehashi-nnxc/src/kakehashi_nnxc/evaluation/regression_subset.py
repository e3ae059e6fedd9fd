"""Twelve atomization energies in a small basis, to notice that energies changed; no accuracy claim.

    python -m kakehashi_nnxc.evaluation.regression_subset FILE NAME...

records functionals in FILE, and leaves the others in it as they are.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kakehashi_core.errors import ConvergenceError, InvalidInputError
from kakehashi_core.files import write_json
from kakehashi_nnxc.evaluation.evaluated_functionals import (
    EvaluatedFunctional,
    evaluated_functional,
)
from kakehashi_nnxc.evaluation.report import installed_versions
from kakehashi_nnxc.evaluation.set_evaluation import evaluate
from kakehashi_nnxc.evaluation.species_calculations import Settings
from kakehashi_nnxc.reaction_sets import ReactionSet, reaction_set

MOLECULES = (
    "H2", "LiH", "BeH", "CH4", "CH2_s3B1d", "NH3", "OH", "H2O", "HF", "N2", "CO", "O2",
)  # fmt: skip
"""Closed and open shells, single to triple bonds."""

SETTINGS = Settings(basis="6-31g*", grid_level=1)


def regression_set() -> ReactionSet:
    """Return the twelve atomization energies."""
    return reaction_set("ae147").only(MOLECULES)


def regression_energies(functional: EvaluatedFunctional, directory: str | Path) -> dict[str, float]:
    """Return total energies of the molecules and their atoms, hartree.

    Args:
        functional: Any functional.
        directory: Where results are kept.

    Raises:
        ConvergenceError: If a species fails or does not converge.
    """
    (run,) = evaluate(regression_set(), [functional], SETTINGS, directory=directory)
    lost = [*run.not_converged, *run.failures]
    if lost:
        raise ConvergenceError(
            f"{functional.name} has no energy for {', '.join(lost)} of the regression subset "
            f"({'; '.join(run.failures.values()) or 'SCF not converged'})"
        )
    return run.energies


def record_regression(path: str | Path, names: Sequence[str]) -> None:
    """Write the energies of functionals to a file; other functionals in it stay.

    Args:
        path: JSON file.
        names: Registry or libxc names.
    """
    path = Path(path)
    recorded: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    for name in names:
        functional = evaluated_functional(name)
        with tempfile.TemporaryDirectory() as folder:
            energies = regression_energies(functional, folder)
        recorded[functional.name] = {
            "weights_sha256": functional.description.get("sha256", ""),
            "versions": installed_versions(),
            "energies": dict(sorted(energies.items())),
        }
    write_json(path, dict(sorted(recorded.items())))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise InvalidInputError("usage: regression_subset FILE NAME...")
    record_regression(sys.argv[1], sys.argv[2:])
