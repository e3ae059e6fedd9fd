"""What the recorded series looks like, so that anyone who makes it again can compare.

    python -m kakehashi_botan.training.series_summary FOLDER

writes ``temperature_series.json`` beside this file. Trajectories are chaotic: on another processor the
numbers agree within their scatter, not to the last digit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from kakehashi_botan.configuration_files import read_isoconfigurational
from kakehashi_botan.displacements import propensity
from kakehashi_botan.mixtures import kob_andersen
from kakehashi_botan.pair_potential import MixturePotential
from kakehashi_botan.training.temperature_series import (
    RELAXATION_TIMES,
    SeriesSettings,
    ensemble_path,
)
from kakehashi_core.files import write_json

RECORD = Path(__file__).with_name("temperature_series.json")


def summary_of(paths: Sequence[Path]) -> dict[str, Any]:
    """Return energies and mean propensities of type A of some ensembles of one temperature."""
    energies, means = [], []
    for path in paths:
        data = read_isoconfigurational(path)
        potential = MixturePotential(kob_andersen())
        sums = potential.evaluate(data.initial_positions, data.types, data.cell, data.pbc)
        energies.append(float(sums.energies.mean()))
        means.append(propensity(data, species=0).mean(axis=1).tolist())
    return {
        "potential energy per particle": energies,
        "mean propensity of A": means,
        "times": read_isoconfigurational(paths[0]).times.tolist(),
    }


def recorded_summary() -> dict[str, Any]:
    """Return what was recorded, temperature by temperature."""
    record: dict[str, Any] = json.loads(RECORD.read_text())
    return record


def record_series(folder: Path, *, settings: SeriesSettings | None = None) -> None:
    """Write the summary of all temperatures that the folder has complete; others stay as recorded."""
    settings = settings or SeriesSettings()
    temperatures = recorded_summary()["temperatures"]
    versions = {name: metadata.version(name) for name in ("kakehashi-botan", "numba", "numpy")}
    for temperature in RELAXATION_TIMES:
        paths = [ensemble_path(folder, temperature, k) for k in range(settings.n_configurations)]
        if all(path.exists() for path in paths):
            temperatures[f"{temperature:.2f}"] = {**summary_of(paths), "versions": versions}
    write_json(RECORD, {"temperatures": temperatures})


def scatter(record: dict[str, Any], key: str, column: int | None = None) -> tuple[float, float]:
    """Return mean and standard deviation over the configurations of a temperature."""
    values = np.array(record[key], dtype=float)
    chosen = values if column is None else values[:, column]
    return float(chosen.mean()), float(chosen.std(ddof=1))


if __name__ == "__main__":
    record_series(Path(sys.argv[1]))
