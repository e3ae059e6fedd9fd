"""``kakehashi bench slmc``: effective models and samplers, measured."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from kakehashi_core.consoles import result_console
from kakehashi_core.ensembles import run_ensemble
from kakehashi_core.errors import InvalidInputError, unknown_name
from kakehashi_core.files import write_json
from kakehashi_core.process_pools import process_pool
from kakehashi_slmc.studies.blocks import block_study
from kakehashi_slmc.studies.cases import Case
from kakehashi_slmc.studies.hard_regimes import hard_study
from kakehashi_slmc.studies.layers import layer_study
from kakehashi_slmc.studies.speed import speed_study

STUDIES = ("layers", "speed", "hard", "blocks")
PACKAGES = ("kakehashi-core", "kakehashi-slmc", "numpy", "scipy", "numba", "torch")
VERSION = "3"

HARD_CASES = (
    Case(coupling=8.0, chemical_potential=-4.5),
    Case(coupling=16.0, chemical_potential=-8.0),
)
SPEED_TASKS: tuple[dict[str, Any], ...] = (
    {
        "case": Case().state_dict(),
        "n_chains": 16,
        "n_steps": {"metropolis": 500, "hmc": 800, "self-learning": 3000},
        "n_layers": 3,
        "steps": 700,
    },
    {
        "case": Case(length=12).state_dict(),
        "n_chains": 8,
        "n_metropolis": 4,
        "n_steps": {"metropolis": 150, "hmc": 100, "self-learning": 600},
    },
)
BLOCK_TASK: dict[str, Any] = {
    "case": Case(length=16).state_dict(),
    "sizes": [48, 96, 160, 208, 256],
    "n_chains": 4,
    "n_training": 150,
    "n_steps": 300,
}


def bench_slmc(
    *,
    study: str = "layers",
    n_layers: int = 6,
    seeds: Sequence[int] = (1, 2, 3),
    steps: int = 1000,
    workers: int = 1,
    output: Path = Path("bench-slmc"),
    json: Path | None = None,
) -> int:
    """Measure effective models and self-learning Monte Carlo on square lattices.

    A killed run goes on where it stopped.

    Args:
        study: layers (variance and acceptance against depth), speed (cost of an independent sample), hard
            (doped, strong coupling) or blocks (parts of a 16x16 lattice).
        n_layers: Largest depth, of layers.
        seeds: One repetition for each; repeat the option for several. speed and blocks take the first.
        steps: Optimizer steps for each depth, of layers and hard.
        workers: Processes, with one thread each; one for times that are to be compared.
        output: Folder for finished parts, the table and the plot.
        json: File for a copy of the table.
    """
    if study not in STUDIES:
        raise unknown_name("study", study, STUDIES)
    for name, number in (("n-layers", n_layers), ("steps", steps)):
        if number < 1:
            raise InvalidInputError(f"--{name} must be at least 1, got {number}")
    if not seeds:
        raise InvalidInputError("at least one seed is needed")
    if min(seeds) < 0:
        raise InvalidInputError(f"--seeds must not be negative, got {min(seeds)}")
    console = result_console()
    with process_pool(workers) as executor:
        if study == "layers":
            found = layer_study(
                Case(),
                n_layers=n_layers,
                seeds=seeds,
                steps=steps,
                directory=output / study,
                executor=executor,
            )
            console.print(_layer_table(found))
        elif study == "speed":
            found = _each(speed_study, SPEED_TASKS, seeds[:1], output / study, executor)
            for result in found["results"]:
                console.print(_speed_table(result))
        elif study == "hard":
            tasks = [
                {
                    "case": c.state_dict(),
                    "n_chains": 16,
                    "n_steps": 1500,
                    "attention_steps": steps,
                }
                for c in HARD_CASES
            ]
            found = _each(hard_study, tasks, seeds, output / study, executor)
            for result in found["results"]:
                console.print(_hard_table(result))
        else:
            found = _each(block_study, [BLOCK_TASK], seeds[:1], output / study, executor)
            console.print(_block_table(found["results"][0]))
    summary = {
        "study": study,
        **found,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
    }
    for path in (output / f"{study}.json", json):
        if path is not None:
            write_json(path, summary)
    if study == "layers":
        from kakehashi_slmc.studies.layer_plot import save_layer_plot

        save_layer_plot(found, output / f"{study}.png")
    console.print(f"results: {output / study}.json", highlight=False, markup=False)
    return 0


def _each(
    study: Callable[[Mapping[str, Any]], dict[str, Any]],
    tasks: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    directory: Path,
    executor: Executor | None,
) -> dict[str, Any]:
    inputs = [{**task, "seed": seed} for task in tasks for seed in seeds]
    results = run_ensemble(
        study,
        inputs,
        directory=directory,
        executor=executor,
        description=directory.name,
        version=VERSION,
    )
    return {"results": results}


def _layer_table(found: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"{Case(**found['case']).label}: variance of log W - log W_eff, unseen chains"
    )
    for column in ("model", "shells of the head", "layers", "parameters", "variance", "erfc"):
        table.add_column(column)
    table.add_column("measured acceptance, each seed")
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in found["rows"]:
        key = (row["model"], row["head"], row["n_layers"], row["n_parameters"])
        groups.setdefault(key, []).append(row)
    for key, rows in sorted(groups.items(), key=lambda item: (item[0][1], item[0][3])):
        variance = sum(r["variance"] for r in rows) / len(rows)
        expected = sum(r["expected_acceptance"] for r in rows) / len(rows)
        measured = ", ".join(f"{r['measured_acceptance']:.3f}" for r in rows)
        table.add_row(*map(str, key), f"{variance:.3f}", f"{expected:.3f}", measured)
    for head, fit in found["fits"].items():
        if not fit:
            continue
        table.caption = (
            table.caption or ""
        ) + f"head of {head}: variance ~ parameters^{fit['exponent']:.2f}({fit['error']:.2f})  "
    return table


def _speed_table(result: Mapping[str, Any]) -> Table:
    table = Table(title=Case(**result["case"]).label)
    for column in ("kernel", "acceptance", "tau m^2", "tau E", "diagonalizations", "CPU ms"):
        table.add_column(column)
    table.add_column("m")
    for name, row in result["kernels"].items():
        table.add_row(
            name,
            f"{row['acceptance']:.3f}",
            f"{row['tau']['m2']:.2f}({row['tau_error']['m2']:.2f})",
            f"{row['tau']['energy']:.2f}({row['tau_error']['energy']:.2f})",
            f"{row['diagonalizations']:.2f}",
            f"{row['cpu_ms']:.2f}",
            f"{row['means']['m']:.4f}({row['errors']['m']:.4f})",
        )
    lines = []
    for name, entry in result["ratios"].items():
        for other, ratio in entry.items():
            if isinstance(ratio, dict):
                lines.append(
                    f"{name} over {other}: {ratio['diagonalizations']:.0f} x fewer diagonalizations, "
                    f"{ratio['cpu']:.0f} x less CPU time"
                )
            else:
                lines.append(
                    f"{name}, {other}: {ratio:.0f}" if ratio else f"{name}, {other}: never"
                )
    table.caption = "\n".join(lines)
    return table


def _hard_table(result: Mapping[str, Any]) -> Table:
    table = Table(title=f"{Case(**result['case']).label}, seed {result['seed']}")
    for column in ("model", "variance", "acceptance", "over linear", "tau m^2", "tau E", "CPU ms"):
        table.add_column(column)
    table.add_column("samples per CPU s over linear, m^2 / E")
    for name, row in result["models"].items():
        gain = result["samples_per_cpu_second_over_linear"][name]
        table.add_row(
            name,
            f"{row['variance']:.4f}",
            f"{row['acceptance']:.3f}",
            f"{result['acceptance_over_linear'][name]:.2f}",
            f"{row['tau']['m2']:.2f}",
            f"{row['tau']['energy']:.2f}",
            f"{row['cpu_ms']:.2f}",
            f"{gain['m2']:.2f} / {gain['energy']:.2f}",
        )
    return table


def _block_table(result: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"{Case(**result['case']).label}: v = {result['variance_per_site']:.4f} per site, best "
        f"size of the model {result['best_size_of_the_model']:.0f}"
    )
    for column in ("block", "acceptance", "erfc", "tau m^2", "tau E", "diagonalizations m^2 / E"):
        table.add_column(column)
    for row in result["rows"]:
        cost = row["diagonalizations_per_sample"]
        table.add_row(
            str(row["size"]),
            f"{row['acceptance']:.3f}",
            f"{row['model_acceptance']:.3f}",
            f"{row['tau']['m2']:.1f}({row['tau_error']['m2']:.1f})",
            f"{row['tau']['energy']:.1f}({row['tau_error']['energy']:.1f})",
            f"{cost['m2']:.0f} / {cost['energy']:.0f}",
        )
    return table
