"""``kakehashi bench deqh-training``: what self-consistency buys, in tables."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from kakehashi_core.consoles import result_console
from kakehashi_core.files import write_json
from kakehashi_core.process_pools import process_pool
from kakehashi_deqh.evaluation.command import PACKAGES
from kakehashi_deqh.evaluation.training_comparison import VARIANTS, averages, compare_trainings
from kakehashi_deqh.json_values import without_nan
from kakehashi_deqh.training.recipes import recipe

PUBLISHED = {
    "deqh-water": {
        "QHNet, 500 geometries": 10.8,
        "QHNet, 500 geometries, long schedule": 10.4,
        "DEQHNet, 500 geometries": 36.1,
        "QHFlow, 500 geometries": 4.9,
    },
    "deqh-ethanol": {
        "QHNet, 25000 geometries": 20.9,
        "QHNet, 25000 geometries, long schedule": 12.8,
        "DEQHNet, 25000 geometries": 18.7,
        "QHFlow, 25000 geometries": 5.3,
    },
}
"""H MAE of MD17, uHa, of networks trained for days on GPUs; those of DEQHNet are read second-hand."""

SHOWN = (
    ("H MAE, uHa", "H MAE, µHa"),
    ("occupied orbital energies MAE, uHa", "occupied energies, µHa"),
    ("one-shot energy error, median, hartree", "one-shot energy, Ha"),
    ("Fock matrices over minao", "Fock matrices"),
)


def bench_deqh_training(
    name: str,
    *,
    data: Path = Path("kakehashi-train-deqh"),
    output: Path = Path("bench-deqh-training"),
    sizes: Sequence[int] = (50, 400),
    seeds: Sequence[int] = (1, 2, 3),
    seconds: float = 300.0,
    n: int = 10,
    variants: Sequence[str] = VARIANTS,
    workers: int = 1,
) -> int:
    """Fit networks without feedback, with it in three ways, and the published one, for the same CPU time.

    Each is measured on the test geometries of the recipe and on hot ones far from equilibrium. Finished fits
    are kept in the output folder: the same call goes on there.

    Args:
        name: Recipe of data and shape: deqh-water, deqh-ethanol or deqh-hcno.
        data: Folder of calculations, as of ``kakehashi train deqh``.
        output: Folder for the results.
        sizes: Geometries to learn from.
        seeds: Of the first weights; errors are those between seeds.
        seconds: CPU time of each fit.
        n: Molecules, near and far, of which PySCF runs with and without the prediction.
        variants: Which to fit.
        workers: Processes that fit.
    """
    chosen = recipe(name)
    with process_pool(workers) as executor:
        rows = compare_trainings(
            name,
            data=data,
            sizes=sizes,
            seeds=seeds,
            seconds=seconds,
            n_fock=n,
            variants=variants,
            directory=output / f"{chosen.name}-fits",
            executor=executor,
        )
    found = averages(rows)
    published = PUBLISHED.get(chosen.name, {})
    console = result_console()
    for part, title in (
        ("near", f"{chosen.temperature:g} K"),
        ("far", f"{chosen.far_temperature:g} K"),
    ):
        console.print(_table(f"{chosen.name}, geometries of {title}", part, found))
    for label, value in published.items():
        console.print(f"published, H MAE: {label}: {value:g} µHa", highlight=False)
    write_json(
        output / f"{chosen.name}-training.json",
        without_nan(
            {
                "rows": rows,
                "averages": found,
                "published H MAE, uHa": published,
                "settings": {"seconds": seconds, "n": n},
                "versions": {
                    "python": platform.python_version(),
                    **{p: version(p) for p in PACKAGES},
                },
            }
        ),
    )
    return 0


def _table(title: str, part: str, found: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=title)
    for column in ("geometries", "network", "parameters", "CPU s"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for _, column in SHOWN:
        table.add_column(column, justify="right")
    for one in found:
        cells = []
        for quantity, _ in SHOWN:
            value = one.get(f"{part}: {quantity}")
            if value is None:
                cells.append("")
                continue
            error = value["stderr"]
            cells.append(f"{value['mean']:.3g}" + (f" ± {error:.1g}" if np.isfinite(error) else ""))
        table.add_row(
            str(one["n_train"]),
            one["variant"],
            str(one["parameters"]),
            f"{one['fit_cpu_seconds']:.0f}",
            *cells,
        )
    return table
