"""``kakehashi bench deqh``: what a predictor saves, and when it says that it is wrong."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ase import Atoms
from rich.table import Table

from kakehashi_core import registry
from kakehashi_core.consoles import result_console
from kakehashi_core.files import write_json
from kakehashi_core.process_pools import process_pool
from kakehashi_deqh.atomic_units import BOHR, HARTREE
from kakehashi_deqh.evaluation.guess_trials import (
    GuessTrial,
    flagging_score,
    guess_trials,
    summary,
)
from kakehashi_deqh.evaluation.stress_set import Stressed, larger_molecules, stress_set
from kakehashi_deqh.evaluation.trials_plot import save_trials_plot
from kakehashi_deqh.json_values import without_nan
from kakehashi_deqh.training.accuracy import measured_accuracy
from kakehashi_deqh.training.recipes import recipe, shuffled, unseen_calculations
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


def bench_deqh(
    name: str,
    *,
    data: Path = Path("kakehashi-train-deqh"),
    output: Path = Path("bench-deqh"),
    n: int = 40,
    workers: int = 1,
) -> int:
    """Measure a shipped predictor: matrices, orbital energies, one-shot energies, Fock matrices, time.

    Test geometries are those of the recipe, which were not trained on; their calculations are kept in the
    data folder, and trials with PySCF in the output folder: the same call goes on there.

    Args:
        name: Registered predictor.
        data: Folder of calculations, as of ``kakehashi train deqh``.
        output: Folder for the results.
        n: Test molecules of which PySCF runs with and without the prediction.
        workers: Processes that run PySCF.
    """
    chosen = recipe(name)
    model = registry.load("init_guess", chosen.name).model
    output.mkdir(parents=True, exist_ok=True)
    with process_pool(workers) as executor:
        test = unseen_calculations(chosen, data / chosen.name, executor=executor)
        picked = shuffled(test)[:n]
        listed = {
            "in domain": [
                Stressed(
                    name=f"test {k}", atoms=Atoms(c.request.numbers, c.request.positions * BOHR)
                )
                for k, c in enumerate(picked)
            ],
            "stress set": stress_set(chosen.name),
        }
        if len(chosen.molecules) > 1:
            listed["larger molecules"] = larger_molecules()
        common = {
            "predictor": chosen.name,
            "xc": chosen.level.xc,
            "basis": chosen.level.basis,
            "sha256": model.sha256,
        }
        trials = {
            part: guess_trials(
                [
                    {
                        "name": one.name,
                        "numbers": one.atoms.numbers,
                        "positions": one.atoms.positions,
                        "charge": one.charge,
                        **common,
                    }
                    for one in molecules
                ],
                output / f"{chosen.name}-trials",
                executor=executor,
                description=part,
            )
            for part, molecules in listed.items()
        }
    accuracy = measured_accuracy(model, test)
    accuracy["one-shot force MAE, hartree/bohr"] = _force_error(chosen.name, test)
    everything = [one for part in trials.values() for one in part]
    one_shot = [t.one_shot_error for t in trials["in domain"]]
    parts: dict[str, dict[str, float]] = {part: summary(found) for part, found in trials.items()}
    parts["in domain"] |= {
        "one-shot energy error, mean, hartree": float(np.mean(one_shot)),
        "one-shot energy error, largest, hartree": max(one_shot),
    }
    parts["stress set"]["AUROC of 1 mHa, with all others"] = flagging_score(everything)
    _show({"accuracy": accuracy, **parts}, trials)
    save_trials_plot(trials, output / f"{chosen.name}.png")
    write_json(
        output / f"{chosen.name}.json",
        without_nan(
            {
                "accuracy": accuracy,
                **parts,
                **{
                    f"{part}, one by one": [asdict(t) for t in found]
                    for part, found in trials.items()
                    if part != "in domain"
                },
                "estimated over true energy error": _ratios(everything),
                "settings": {"name": chosen.name, "n": n, "sha256": model.sha256},
                "versions": {
                    "python": platform.python_version(),
                    **{p: version(p) for p in PACKAGES},
                },
            }
        ),
    )
    return 0


def _force_error(name: str, calculations: list[Calculation]) -> float:
    """Return the mean absolute error of forces from one Fock matrix, where there are any to compare with."""
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


def _show(
    parts: Mapping[str, Mapping[str, float]], trials: Mapping[str, Sequence[GuessTrial]]
) -> None:
    console = result_console()
    for part, values in parts.items():
        table = Table(title=part)
        table.add_column("")
        table.add_column("", justify="right")
        for quantity, value in values.items():
            table.add_row(quantity, f"{value:.4g}")
        console.print(table)
    for part, found in trials.items():
        if part == "in domain":
            continue
        table = Table(title=part)
        for column in (
            "molecule",
            "decision",
            "Fock matrices",
            "minao",
            "one-shot error, Ha",
            "estimate",
        ):
            table.add_column(column)
        for t in found:
            table.add_row(
                t.name,
                t.decision,
                str(t.n_builds),
                str(t.n_builds_minao),
                f"{t.one_shot_error:.1e}",
                f"{t.estimated_error:.1e}",
            )
        console.print(table)
