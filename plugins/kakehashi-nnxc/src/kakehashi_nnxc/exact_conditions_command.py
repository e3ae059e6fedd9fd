"""``kakehashi bench constraints NAME``: which exact conditions a functional satisfies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from kakehashi_core.consoles import result_console
from kakehashi_core.files import write_json
from kakehashi_nnxc.exact_conditions import ConditionResult, Mesh, check_conditions
from kakehashi_nnxc.pointwise_energy import PointwiseEnergy

_SYMBOLS = {
    "seitz_radius": "r_s",
    "polarization": "ζ",
    "gradient": "s",
    "alpha": "α",
    "near": "R/wn",
}


def bench_constraints(
    name: str,
    *,
    condition: Sequence[str] = (),
    json: Path | None = None,
    plot: Path | None = None,
) -> int:
    """Check exact conditions of a functional on a mesh of densities.

    Args:
        name: Registry or libxc name.
        condition: Condition to check, by name; repeat the option for several. By default all.
        json: File for the results.
        plot: PNG file for the enhancement factors, beside r2SCAN and PBE.

    Returns:
        0, also when conditions are violated: that is a result.
    """
    energy = PointwiseEnergy(name)
    results = check_conditions(energy, names=condition)
    console = result_console()
    console.print(condition_table(energy.name, results))
    for line in remarks(results):
        console.print(line, highlight=False, markup=False)
    if json is not None:
        write_json(json, record(energy, Mesh(), results))
    if plot is not None:
        from kakehashi_nnxc.enhancement_plots import plot_enhancement

        plot_enhancement(energy, plot)
        console.print(f"enhancement factors: {plot}", highlight=False, markup=False)
    return 0


def condition_table(name: str, results: Sequence[ConditionResult]) -> Table:
    """Return one row per condition, for the terminal."""
    table = Table(title=f"exact conditions: {name}", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("condition")
    table.add_column("holds", no_wrap=True)
    for column in ("worst", "allowed", "violated at"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("worst point")
    for result in results:
        # Text, not str: "[n_a, n_b]" must not be read as markup.
        table.add_row(Text(result.title), *_cells(result))
    return table


def remarks(results: Sequence[ConditionResult]) -> list[str]:
    """Return the summary and why conditions were not tested."""
    tested = [result for result in results if result.passed is not None]
    passed = sum(bool(result.passed) for result in tested)
    lines = [f"{passed} of {len(tested)} conditions hold"]
    untested = [result for result in results if result.passed is None]
    for text in dict.fromkeys(result.remark for result in untested):
        names = ", ".join(result.name for result in untested if result.remark == text)
        lines.append(f"{names}: {text}")
    return lines


def record(
    energy: PointwiseEnergy, mesh: Mesh, results: Sequence[ConditionResult]
) -> dict[str, Any]:
    """Return everything as data for JSON; what is not finite becomes None."""
    rows = [asdict(result) for result in results]
    for row in rows:
        row["worst"] = row["worst"] if math.isfinite(row["worst"]) else None
    return {
        "functional": energy.name,
        "family": energy.family,
        "mesh": asdict(mesh),
        "conditions": rows,
    }


def _cells(result: ConditionResult) -> tuple[str, ...]:
    if result.passed is None:
        return ("-", "-", "-", "-", "not tested")
    unit = " Ha" if result.unit == "hartree" else ""
    if result.passed:
        return ("yes", f"{result.worst:.1e}{unit}", f"{result.tolerance:.0e}", "-", "")
    point = ", ".join(f"{_SYMBOLS[key]} {value:.3g}" for key, value in result.where.items())
    return (
        "NO",
        f"{result.worst:.1e}{unit}",
        f"{result.tolerance:.0e}",
        f"{100.0 * result.share:.1f} %",
        point,
    )
