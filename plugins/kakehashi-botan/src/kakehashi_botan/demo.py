"""Section of ``kakehashi demo``: where a liquid will move, predicted and measured."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import numpy as np

from kakehashi_ase import calculator
from kakehashi_botan.annotation import annotate
from kakehashi_botan.displacements import propensity
from kakehashi_botan.example_liquid import example_liquid
from kakehashi_botan.glass_map import propensity_figure
from kakehashi_botan.isoconfigurational import isoconfigurational
from kakehashi_botan.pearson_scores import pearson
from kakehashi_core.consoles import result_console
from kakehashi_core.errors import DomainWarning
from kakehashi_core.files import write_json

N_RUNS = 4
TIMESTEP = 0.005


def demo_glass(*, output: Path) -> None:
    """Predict propensities of a liquid, run its dynamics, compare, and draw a map.

    Args:
        output: Folder for ``propensities.json`` and ``propensities.png``.
    """
    console = result_console()
    atoms = example_liquid()
    temperature, duration = float(atoms.info["temperature"]), float(atoms.info["time"])
    console.print(
        f"A Kob-Andersen liquid of {len(atoms)} particles at T = {temperature:g}, in no training set: "
        "t-botan says from one configuration how far each particle will have moved after one relaxation time "
        f"({duration:g} tau_LJ). Then {N_RUNS} runs of molecular dynamics with different velocities:",
        highlight=False,
    )
    atoms.calc = calculator("t-botan")
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error", DomainWarning)
        annotate(atoms)
    predicting = time.process_time() - started
    started = time.process_time()
    data = isoconfigurational(
        atoms,
        calculator("ka-lj"),
        n_runs=N_RUNS,
        times=[duration],
        temperature=temperature,
        timestep=TIMESTEP,
        seed=1,
    )
    running = time.process_time() - started
    measured, many = propensity(data)[0], atoms.arrays["measured_propensity"]
    chosen = np.asarray(atoms.symbols == "Ar")
    predicted = atoms.arrays["propensity"][chosen]
    record = {
        "temperature": temperature,
        "temperature_estimate": atoms.info["temperature_estimate"],
        f"Pearson with {N_RUNS} runs": pearson(predicted, measured[chosen]),
        "Pearson with 32 runs": pearson(predicted, many[chosen]),
        f"Pearson of {N_RUNS} runs with 32 runs": pearson(measured[chosen], many[chosen]),
        "seconds of prediction": predicting,
        f"seconds of {N_RUNS} runs": running,
    }
    console.print(
        f"  temperature: {record['temperature_estimate']:.3f} estimated, {temperature:g} true\n"
        f"  Pearson coefficient of type A with 32 runs: prediction {record['Pearson with 32 runs']:.2f}, "
        f"{N_RUNS} runs {record[f'Pearson of {N_RUNS} runs with 32 runs']:.2f}\n"
        f"  CPU time: prediction {predicting:.1f} s, {N_RUNS} runs {running:.1f} s",
        highlight=False,
    )
    write_json(output / "propensities.json", record)
    propensity_figure(atoms).savefig(output / "propensities.png", dpi=150)
    console.print(f"  map: {output / 'propensities.png'}", highlight=False)
