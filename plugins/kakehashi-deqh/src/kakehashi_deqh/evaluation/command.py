"""``kakehashi bench deqh``: what a predictor saves, and when it says that it is wrong."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from kakehashi_core import registry
from kakehashi_core.consoles import result_console
from kakehashi_core.files import write_json
from kakehashi_deqh.evaluation.guess_trials import GuessTrial, flagging_score, guess_trial, summary
from kakehashi_deqh.evaluation.stress_set import stress_set
from kakehashi_deqh.json_values import without_nan
from kakehashi_deqh.training.accuracy import measured_accuracy
from kakehashi_deqh.training.recipes import calculations, recipe
from kakehashi_deqh.training.scf_data import Calculation

PACKAGES = (
    "kakehashi-core",
    "kakehashi-pyscf",
    "kakehashi-deqh",
    "pyscf",
    "e3nn",
    "torch",
    "numpy",
)


BOHR, HARTREE = 0.529177210903, 27.211386245988
"""Å and eV."""


def bench_deqh(
    name: str,
    *,
    data: Path = Path("kakehashi-train-deqh"),
    output: Path = Path("bench-deqh"),
    n: int = 40,
) -> int:
    """Measure a shipped predictor: matrices, orbital energies, one-shot energies, Fock matrices, time.

    Test geometries are those of the recipe, which were not trained on; their calculations are kept in the
    data folder.

    Args:
        name: Registered predictor.
        data: Folder of calculations, as of ``kakehashi train deqh``.
        output: Folder for the results.
        n: Test molecules of which PySCF runs with and without the prediction.
    """
    chosen = recipe(name)
    _, test = calculations(chosen, data / chosen.name)
    model = registry.load("init_guess", chosen.name).model
    accuracy = measured_accuracy(model, test)
    level = chosen.level
    options: dict[str, Any] = {"predictor": chosen.name, "xc": level.xc, "basis": level.basis}
    inside = [
        guess_trial(f"test {k}", (c.request.numbers, c.request.positions * BOHR), **options)
        for k, c in enumerate(test[:n])
    ]
    stressed = [
        guess_trial(label, geometry, charge=charge, **options)
        for label, geometry, charge in stress_set()
    ]
    accuracy["one-shot force MAE, hartree/bohr"] = _force_error(chosen.name, test)
    found: dict[str, object] = {
        "accuracy": accuracy,
        "in domain": {
            **summary(inside),
            "one-shot energy error, mean, hartree": float(
                np.mean([t.one_shot_error for t in inside])
            ),
            "one-shot energy error, largest, hartree": max(t.one_shot_error for t in inside),
        },
        "stress set": {**summary(stressed), "AUROC of 1 mHa": flagging_score([*inside, *stressed])},
        "stress set, one by one": [asdict(t) for t in stressed],
        "estimated over true energy error": _ratios([*inside, *stressed]),
        "settings": {"name": chosen.name, "n": n, "sha256": model.sha256},
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
    }
    _show(found, stressed)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / f"{chosen.name}.json", without_nan(found))
    return 0


def _force_error(name: str, calculations: list[Calculation]) -> float:
    """Return the mean absolute error of forces from one Fock matrix, where there are any to compare with."""
    from ase import Atoms

    from kakehashi_ase import calculator

    errors = []
    for one in calculations:
        if one.forces is not None:
            atoms = Atoms(one.request.numbers, one.request.positions * BOHR)
            atoms.calc = calculator("deqh", model=name, mode="oneshot", fallback="warn")
            errors.append(np.abs(atoms.get_forces() * BOHR / HARTREE - one.forces).mean())
    return float(np.mean(errors))


def _ratios(trials: list[GuessTrial]) -> dict[str, float]:
    ratios = [t.estimated_error / t.one_shot_error for t in trials if t.one_shot_error > 1e-7]
    return {
        "median": float(np.median(ratios)),
        "5 %": float(np.quantile(ratios, 0.05)),
        "95 %": float(np.quantile(ratios, 0.95)),
    }


def _show(found: dict[str, object], stressed: list[GuessTrial]) -> None:
    console = result_console()
    for part in ("accuracy", "in domain", "stress set"):
        table = Table(title=part)
        table.add_column("")
        table.add_column("", justify="right")
        values = found[part]
        if isinstance(values, dict):
            for quantity, value in values.items():
                table.add_row(quantity, f"{value:.4g}")
        console.print(table)
    table = Table(title="stress set")
    for column in (
        "molecule",
        "decision",
        "Fock matrices",
        "minao",
        "one-shot error, Ha",
        "estimate",
    ):
        table.add_column(column)
    for t in stressed:
        table.add_row(
            t.name,
            t.decision,
            str(t.n_builds),
            str(t.n_builds_minao),
            f"{t.one_shot_error:.1e}",
            f"{t.estimated_error:.1e}",
        )
    console.print(table)
