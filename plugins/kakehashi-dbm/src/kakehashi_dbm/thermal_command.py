"""``kakehashi thermal run model.json``: energy, specific heat and entropy at all temperatures."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from kakehashi_core.consoles import result_console
from kakehashi_core.ensembles import run_ensemble
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.files import write_json
from kakehashi_core.process_pools import process_pool
from kakehashi_core.results import Estimate
from kakehashi_dbm.exact_references import Reference, exact_reference
from kakehashi_dbm.model_file import ModelFile
from kakehashi_dbm.thermal_averages import ThermalAverages
from kakehashi_dbm.thermal_curve import BEYOND, ThermalCurve, chebyshev_betas
from kakehashi_dbm.thermal_ladder import ThermalLadder
from kakehashi_dbm.thermal_sampler import TROTTER_STEP, ThermalDBM
from kakehashi_quspin.operator_lists import pauli_sum

PACKAGES = ("kakehashi-core", "kakehashi-quspin", "kakehashi-dbm", "quspin", "numpy", "numba")
N_ROWS = 12
VERSION = "1"


def thermal_run(
    file: Path,
    *,
    output: Path = Path("thermal-run"),
    beta: float = 5.0,
    n_temperatures: int = 10,
    n_measurements: int = 400,
    n_chains: int = 8,
    trotter_step: float = TROTTER_STEP,
    tempering: bool = False,
    seed: int = 1,
    workers: int = 1,
) -> int:
    """Sample a spin model at all temperatures down to 1 / beta, with error bars.

    A killed run goes on where it stopped.

    Args:
        file: JSON: {"static": [["zz", [[-1.0, 0, 1], ...]], ...], "n_sites": 64, "pauli": 1, "Nup": null,
            "observables": {"name": [["zz", [[1.0, 0, 32]]]]}}; the last three are optional.
        output: Folder for results.json, thermal.png and finished temperatures.
        beta: Largest inverse temperature, in the unit of the couplings.
        n_temperatures: Temperatures that are sampled; a curve through them gives the rest.
        n_measurements: Of each chain at each temperature.
        n_chains: Chains that move together.
        trotter_step: Imaginary time of a slice times the largest coupling.
        tempering: Let neighboring temperatures exchange configurations, for models whose cold states are
            hard to reach.
        seed: Of everything.
        workers: Processes, with one thread each.
    """
    if not (math.isfinite(beta) and beta > 0.0):
        raise InvalidInputError(f"--beta must be positive, got {beta!r}")
    if n_temperatures < 4:
        raise InvalidInputError(f"--n-temperatures must be at least 4, got {n_temperatures}")
    found = ModelFile.read(file)
    betas = [float(b) for b in chebyshev_betas(found.model, BEYOND * beta, n_temperatures)]
    options: dict[str, Any] = {"n_chains": n_chains, "trotter_step": trotter_step}
    # Whatever cannot be sampled or measured is refused here, before many tasks do it.
    ThermalDBM(found.model, beta=betas[0], **options)
    for operator in found.observables.values():
        pauli_sum(operator, found.model.n_sites, pauli=found.model.pauli)
    common = {"model": found.content, "n_measurements": n_measurements, "options": options}
    tasks: list[dict[str, Any]] = [
        {**common, "betas": [b], "seed": seed + k} for k, b in enumerate(betas)
    ]
    if tempering:
        tasks = [{**common, "betas": betas, "seed": seed}]
    with process_pool(workers) as executor:
        parts = run_ensemble(
            sample_temperatures,
            tasks,
            directory=output / "temperatures",
            executor=executor,
            description=file.name,
            version=VERSION,
        )
    rows = sorted((row for part in parts for row in part), key=lambda row: float(row["beta"]))
    energies = [Estimate(**row["energy"]) for row in rows]
    curve = ThermalCurve.fit(found.model, [row["beta"] for row in rows], energies)
    reference = exact_reference(found.model)
    table = _curve_rows(curve, beta, found.model.n_sites, reference)
    console = result_console()
    console.print(_table(table, reference))
    for name in found.observables:
        coldest = min(rows, key=lambda row: abs(row["beta"] - beta))
        console.print(
            f"<{name}> = {Estimate(**coldest['observables'][name])} at T = {1.0 / coldest['beta']:.4g}, the "
            "nearest temperature that was sampled; results.json has all",
            highlight=False,
            markup=False,
        )
    summary = {
        "model": found.content,
        "settings": {
            **options,
            "n_measurements": n_measurements,
            "tempering": tempering,
            "seed": seed,
        },
        "temperatures": rows,
        "misfit of the curve": curve.misfit,
        "curve": table,
        "reference": None if reference is None else reference[0],
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
    }
    write_json(output / "results.json", summary)
    try:
        from kakehashi_dbm.thermal_plot import save_thermal_plot
    except ImportError:
        console.print("no plot: pip install 'kakehashi-dbm[plots]'", highlight=False, markup=False)
    else:
        save_thermal_plot(curve, beta, rows, found.model.n_sites, reference, output / "thermal.png")
    console.print(f"results: {output / 'results.json'}", highlight=False, markup=False)
    return 0


def sample_temperatures(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Sample a model at one temperature, or at several that exchange configurations.

    Args:
        task: "model" (content of a model file), "betas", "n_measurements", "options", "seed".
    """
    found = ModelFile.from_content(task["model"])
    options = {**task["options"], "seed": int(task["seed"])}
    if len(task["betas"]) == 1:
        one = ThermalDBM(found.model, beta=float(task["betas"][0]), **options)
        one.run(int(task["n_measurements"]))
        return [_row(one, found.observables)]
    ladder = ThermalLadder(found.model, task["betas"], **options)
    ladder.run(int(task["n_measurements"]))
    return [_row(rung, found.observables) for rung in ladder.rungs]


def _row(averages: ThermalAverages, observables: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "beta": averages.beta,
        "energy": _plain(averages.energy()),
        "observables": {k: _plain(averages.expt_value(o)) for k, o in observables.items()},
        "diagnostics": dict(averages.diagnostics()),
        "n_slices": averages.n_slices,
    }


def _plain(estimate: Estimate) -> dict[str, float]:
    return {
        "mean": estimate.mean,
        "stderr": estimate.stderr,
        "tau_int": estimate.tau_int,
        "n_samples": estimate.n_samples,
    }


def _curve_rows(
    curve: ThermalCurve, beta: float, n_sites: int, reference: tuple[str, Reference] | None
) -> list[dict[str, Any]]:
    """Return quantities per site at temperatures that crowd toward the coldest one."""
    rows = []
    for b in curve.betas(beta, N_ROWS):
        found = {
            "energy": curve.energy(b),
            "specific heat": curve.specific_heat(b),
            "entropy": curve.entropy(b),
            "free energy": curve.free_energy(b),
        }
        row: dict[str, Any] = {"beta": float(b), "temperature": float(1.0 / b)}
        for name, estimate in found.items():
            row[name] = {"mean": estimate.mean / n_sites, "stderr": estimate.stderr / n_sites}
        if reference is not None:
            exact = reference[1](float(b))
            row["exact"] = {
                "energy": exact.energy / n_sites,
                "specific heat": exact.specific_heat / n_sites,
                "entropy": exact.entropy(float(b)) / n_sites,
            }
        rows.append(row)
    return rows


def _table(rows: list[dict[str, Any]], reference: tuple[str, Reference] | None) -> Table:
    names = ("energy", "specific heat", "entropy")
    table = Table(title="per site")
    table.add_column("T", justify="right")
    for name in names:
        table.add_column(name, justify="right")
        if reference is not None:
            table.add_column("exact", justify="right")
    for row in rows:
        cells = [f"{row['temperature']:.4g}"]
        for name in names:
            cells.append(f"{row[name]['mean']:.5f} ± {row[name]['stderr']:.5f}")
            if reference is not None:
                cells.append(f"{row['exact'][name]:.5f}")
        table.add_row(*cells)
    return table
