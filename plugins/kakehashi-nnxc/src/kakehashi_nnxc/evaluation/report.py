"""The table, the JSON record and the plot of an evaluation."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from kakehashi_nnxc.evaluation.error_statistics import ErrorStatistics, ErrorSummary, errors_beside
from kakehashi_nnxc.evaluation.set_evaluation import FunctionalRun
from kakehashi_nnxc.evaluation.species_calculations import FEW_CYCLES, Settings
from kakehashi_nnxc.reaction_sets.reactions import ReactionSet

PACKAGES = ("numpy", "torch", "pyscf", "ase", "xcbm")


def error_table(
    reactions: ReactionSet, statistics: Sequence[ErrorStatistics], settings: Settings
) -> Table:
    """Return one row per functional, for the terminal."""
    leaks = any(s.leaked_species or not s.training_known for s in statistics)
    ratios = not all(math.isnan(s.ratio) for s in statistics)
    table = Table(
        title=f"{reactions.name}: {reactions.title}, {settings.basis}, grid level "
        f"{settings.grid_level}; errors in kcal/mol",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("functional", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for column in ("MAE", "MSE", "max |error|"):
        table.add_column(column, justify="right")
    table.add_column("of")
    for column in (
        *(("MAE unseen (n)",) if leaks else ()),
        *(("MAE / r2scan",) if ratios else ()),
        "SCF not converged",
        f"by default in {FEW_CYCLES}",
        "max cycles",
        "CPU h",
    ):
        table.add_column(column, justify="right")
    for s in statistics:
        unseen = f"{_number(s.unseen.mean_absolute)} ({s.unseen.n})"
        table.add_row(
            s.functional,
            f"{s.all.n}/{s.n_reactions}",
            _number(s.all.mean_absolute),
            _number(s.all.mean_signed, sign=True),
            _number(s.all.largest),
            reaction_label(reactions, s.all.largest_reaction),
            *((unseen,) if leaks else ()),
            *((_number(s.ratio),) if ratios else ()),
            str(len(s.not_converged) + len(s.failures)),
            "-" if math.isnan(s.share_few_cycles) else f"{100 * s.share_few_cycles:.1f} %",
            str(s.max_cycles),
            f"{s.seconds / 3600:.2f}",
        )
    return table


def reaction_label(reactions: ReactionSet, name: str) -> str:
    """Return the name of a reaction, with its largest species where the name alone says little."""
    for reaction in reactions.reactions:
        if reaction.name == name and name not in reactions.molecules:
            species = reaction.coefficients
            return f"{name} ({max(species, key=lambda s: len(reactions.molecules[s].symbols))})"
    return name


def remarks(statistics: Sequence[ErrorStatistics]) -> list[str]:
    """Return what a reader of the table must know: leaks, missing species, slow convergence."""
    lines: list[str] = []
    for s in statistics:
        if not s.training_known:
            lines.append(
                f"{s.functional}: its checkpoint does not say what it was trained on, so that no molecule "
                "counts as unseen"
            )
        if s.leaked_species:
            lines.append(
                f"{s.functional} was trained on {_molecules(s.leaked_species)} of this set: "
                f"{', '.join(s.leaked_species)}"
            )
        if s.not_converged:
            lines.append(
                f"{s.functional}: SCF not converged for {', '.join(s.not_converged)}; --retry tries them "
                "again from another start density"
            )
        for text in dict.fromkeys(s.failures.values()):
            names = [name for name, failure in s.failures.items() if failure == text]
            lines.append(f"{s.functional}: {', '.join(names)} failed: {text}")
        if s.missing:
            lines.append(
                f"{s.functional}: MAE over {s.all.n} of {s.n_reactions}, without {', '.join(s.missing)}"
            )
        if s.not_few_cycles:
            lines.append(
                f"{s.functional}: default settings took more than {FEW_CYCLES} cycles or failed for "
                f"{', '.join(s.not_few_cycles)}"
            )
        if s.unstable:
            lines.append(f"{s.functional}: solution still unstable for {', '.join(s.unstable)}")
        lines += [f"{s.functional}: {text}" for text in s.warnings]
    if any(s.missing for s in statistics) and len(statistics) > 1:
        shown = ", ".join(f"{s.functional} {_number(s.common.mean_absolute)}" for s in statistics)
        lines.append(
            f"MAE over the {statistics[0].common.n} reactions that every functional has: {shown}"
        )
    return lines


def remarks_beside(reactions: ReactionSet, runs: Sequence[FunctionalRun]) -> list[str]:
    """Return a line for every functional that was evaluated at the densities of another one."""
    lines = []
    for functional, others in errors_beside(reactions, runs).items():
        for name, errors in others.items():
            found = ErrorSummary.of(errors)
            lines.append(
                f"{name} at the densities of {functional}: MAE {_number(found.mean_absolute)}, "
                f"MSE {_number(found.mean_signed, sign=True)}, max {_number(found.largest)} over {found.n}"
            )
    return lines


def record(
    reactions: ReactionSet,
    runs: Sequence[FunctionalRun],
    statistics: Sequence[ErrorStatistics],
    settings: Settings,
) -> dict[str, Any]:
    """Return everything as data for JSON: settings, versions, statistics, energies."""
    data = {
        "set": reactions.name,
        "title": reactions.title,
        "source": reactions.source,
        "n_reactions": len(reactions.reactions),
        "n_species": len(reactions.molecules),
        "units": {"errors": "kcal/mol", "energies": "hartree", "seconds": "s of CPU time"},
        "settings": {**asdict(settings), "threads": 1, "few_cycles": FEW_CYCLES},
        "date": datetime.now(UTC).date().isoformat(),
        "versions": installed_versions(),
        "functionals": [
            _functional_record(run, s) for run, s in zip(runs, statistics, strict=True)
        ],
        "beside": {name: o for name, o in errors_beside(reactions, runs).items() if o},
        "references": {r.name: r.reference for r in reactions.reactions},
        "reactions": {r.name: dict(r.coefficients) for r in reactions.reactions},
    }
    return {name: _without_nan(value) for name, value in data.items()}


def installed_versions() -> dict[str, str]:
    """Return the versions that results depend on."""
    import pyscf.dft

    from kakehashi_pyscf.bench import versions

    found = {**versions(), "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found.setdefault(package, version(package))
        except PackageNotFoundError:
            continue
    return {**found, "libxc": str(pyscf.dft.libxc.__version__)}


def save_plot(
    reactions: ReactionSet,
    statistics: Sequence[ErrorStatistics],
    settings: Settings,
    path: str | Path,
) -> None:
    """Draw mean absolute errors as bars, and every single error beside them."""
    # The object interface: pyplot would pick a backend for the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.6 + 0.55 * len(statistics)), layout="constrained")
    FigureCanvasAgg(figure)
    bars, points = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
    rows = np.arange(len(statistics))
    means = [0.0 if math.isnan(s.all.mean_absolute) else s.all.mean_absolute for s in statistics]
    drawn = bars.barh(rows, means, height=0.6)
    bars.bar_label(drawn, labels=[_number(s.all.mean_absolute) for s in statistics], padding=3)
    bars.margins(x=0.15)
    bars.set_yticks(rows, [f"{s.functional} ({s.all.n})" for s in statistics])
    bars.invert_yaxis()
    bars.set_xlabel("mean absolute error (kcal/mol)")
    for row, s in zip(rows, statistics, strict=True):
        errors = np.array(list(s.errors.values()))
        # Spread by rank in a fixed pattern, so that the same results give the same figure.
        offsets = 0.5 * (np.arange(errors.size) * 0.618034 % 1.0 - 0.5)
        points.plot(errors, row + offsets, "o", markersize=3, alpha=0.5)
        points.plot([s.all.mean_signed], [row], "|", markersize=22, color="black")
    points.axvline(0.0, color="black", linewidth=0.8)
    points.set_xlabel("error, calculated − reference (kcal/mol); black: mean")
    figure.suptitle(
        f"{reactions.name}: {reactions.title}; self-consistent, {settings.basis}, "
        f"grid level {settings.grid_level}",
        fontsize=10,
    )
    figure.savefig(path, dpi=150)


def _functional_record(run: FunctionalRun, statistics: ErrorStatistics) -> dict[str, Any]:
    return {
        **asdict(statistics),
        "share_few_cycles": statistics.share_few_cycles,
        "weights_sha256": run.functional.description.get("sha256", ""),
        "species": {
            name: {
                "energy": result.energy,
                "method": result.method,
                "default_converged": result.default_converged,
                "default_cycles": result.default_cycles,
                "cycles": result.cycles,
                "attempt": result.attempt,
                "orbital_gradient": result.orbital_gradient,
                "spin_square": result.spin_square,
                "stable": result.stable,
                "n_ao": result.n_ao,
                "seconds": round(result.seconds, 2),
                **({"warnings": list(result.warnings)} if result.warnings else {}),
                **({"beside": dict(result.beside)} if result.beside else {}),
            }
            for name, result in run.results.items()
        },
    }


def _molecules(names: Sequence[str]) -> str:
    return f"{len(names)} molecule{'s' if len(names) > 1 else ''}"


def _without_nan(value: Any) -> Any:
    """Return the same data with None in place of NaN, which JSON does not know."""
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _number(value: float, *, sign: bool = False) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:+.2f}" if sign else f"{value:.2f}"
