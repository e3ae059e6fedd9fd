"""Section of ``kakehashi demo``: a neural functional inside PySCF and ASE, next to PBE and r2SCAN."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from kakehashi_core.consoles import result_console
from kakehashi_core.files import write_json
from kakehashi_core.process_pools import process_pool
from kakehashi_core.progress import progress_bar
from kakehashi_core.results import ConvergenceReport
from kakehashi_nnxc._units import HARTREE_IN_KCAL_PER_MOL
from kakehashi_nnxc.molecular_calculations import GRID_LEVEL, kohn_sham

BASIS = "def2-tzvp"
AUXILIARY_BASIS = "def2-universal-jfit"
FUNCTIONALS = ("pbe", "r2scan", "nn-mgga", "kh-mgga")
DEMO_HELD_OUT = ("CO", "N2", "HCN", "C2H2", "C2H4", "H2CO", "CH3OH", "HF")
"""Molecules that neither kh-mgga nor nn-mgga was trained on."""

TRAINED_ON = ("H2O", "NH3", "NO")
"""All molecules that nn-mgga was trained on."""

WORKERS = 2
"""Processes that run calculations side by side, if there are as many cores."""

WATER_EXPERIMENT = (0.9572, 104.52)
"""O-H distance (Å) and H-O-H angle (degrees) of water: Benedict et al., J. Chem. Phys. 24, 1139 (1956)."""


@dataclass(frozen=True, kw_only=True)
class SpeciesResult:
    """One self-consistent calculation.

    Attributes:
        species: Name in ASE's G2 set.
        xc: Functional.
        energy: Total energy, hartree.
        seconds: CPU time of the calculation.
        report: How it converged.
    """

    species: str
    xc: str
    energy: float
    seconds: float
    report: ConvergenceReport


def demo_xc(*, output: Path) -> None:
    """Compute atomization energies and a geometry, print them, and save a table and a plot.

    Args:
        output: Folder for ``atomization_energies.json`` and ``atomization_energies.png``.
    """
    from kakehashi_pyscf.bench import versions

    console = result_console()
    console.print(
        f"Atomization energies of {len(DEMO_HELD_OUT)} molecules that kh-mgga and nn-mgga have never seen "
        f"and of the {len(TRAINED_ON)} that nn-mgga was trained on: self-consistent PySCF calculations, "
        f"{BASIS}, density "
        f"fitting, grid level {GRID_LEVEL}. Total energies in hartree (SCF cycles):",
        highlight=False,
    )
    results = _run_all(console)
    errors = _errors(results)
    _print_table(console, results, errors)
    write_json(
        output / "atomization_energies.json",
        {
            "unit": "kcal/mol",
            "settings": {
                "basis": BASIS,
                "auxiliary_basis": AUXILIARY_BASIS,
                "grid_level": GRID_LEVEL,
            },
            "versions": versions(),
            "mean_absolute_error": {xc: mean_absolute_error(errors, xc) for xc in FUNCTIONALS},
            "held_out": list(DEMO_HELD_OUT),
            "errors": errors,
            "calculations": [asdict(result) for result in results],
        },
    )
    _plot(errors, output / "atomization_energies.png")
    _relax_water(console)


def _run_all(console: Console) -> list[SpeciesResult]:
    from kakehashi_ase.g2 import composition

    molecules = (*DEMO_HELD_OUT, *TRAINED_ON)
    atoms = sorted({symbol for name in molecules for symbol in composition(name)})
    tasks = [(species, xc, BASIS) for species in (*atoms, *molecules) for xc in FUNCTIONALS]
    results: list[SpeciesResult] = []
    with (
        process_pool(min(WORKERS, os.cpu_count() or 1)) as executor,
        progress_bar("SCF", total=len(tasks)) as advance,
    ):
        # Results come in the order of the tasks.
        for result in (map if executor is None else executor.map)(_scf, tasks):
            results.append(result)
            advance(1)
            if len(results) % len(FUNCTIONALS):
                continue
            species, done = result.species, results[-len(FUNCTIONALS) :]
            console.print(
                f"  {species:<6}"
                + "".join(f"  {r.xc} {r.energy:.4f} ({r.report.n_iterations})" for r in done),
                highlight=False,
            )
    return results


def _scf(task: tuple[str, str, str]) -> SpeciesResult:
    import kakehashi_pyscf as kp
    from kakehashi_nnxc.reaction_sets.g2 import molecule

    species, xc, basis = task
    mf = kohn_sham(molecule(species), xc, basis=basis, auxiliary_basis=AUXILIARY_BASIS)
    start = time.process_time()
    report = kp.converge(mf)
    return SpeciesResult(
        species=species,
        xc=xc,
        energy=float(mf.e_tot),
        seconds=time.process_time() - start,
        report=report,
    )


def _errors(results: list[SpeciesResult]) -> dict[str, dict[str, float]]:
    """Return molecule to functional to calculated minus experimental atomization energy, kcal/mol."""
    from kakehashi_ase.g2 import atomization_energy, composition

    energy = {(r.species, r.xc): r.energy for r in results}
    return {
        name: {
            xc: HARTREE_IN_KCAL_PER_MOL
            * (
                sum(energy[symbol, xc] * count for symbol, count in composition(name).items())
                - energy[name, xc]
            )
            - atomization_energy(name)
            for xc in FUNCTIONALS
        }
        for name in (*DEMO_HELD_OUT, *TRAINED_ON)
    }


def mean_absolute_error(errors: dict[str, dict[str, float]], xc: str) -> float:
    """Return the mean absolute error over the held-out molecules, kcal/mol."""
    return float(np.mean([abs(errors[name][xc]) for name in DEMO_HELD_OUT]))


def _print_table(
    console: Console, results: list[SpeciesResult], errors: dict[str, dict[str, float]]
) -> None:
    from kakehashi_ase.g2 import atomization_energy

    table = Table(title="Atomization energies: calculated - experimental, kcal/mol")
    table.add_column("molecule")
    table.add_column("experiment", justify="right")
    for xc in FUNCTIONALS:
        table.add_column(xc, justify="right")
    table.add_column("nn-mgga saw it")
    for name, row in errors.items():
        table.add_row(
            name,
            f"{atomization_energy(name):.1f}",
            *(f"{row[xc]:+.1f}" for xc in FUNCTIONALS),
            "no" if name in DEMO_HELD_OUT else "yes",
        )
    table.add_section()
    table.add_row(
        f"mean |error|, {len(DEMO_HELD_OUT)} held out",
        "",
        *(f"{mean_absolute_error(errors, xc):.2f}" for xc in FUNCTIONALS),
        "",
    )
    table.add_row(
        "SCF, CPU seconds",
        "",
        *(f"{sum(r.seconds for r in results if r.xc == xc):.1f}" for xc in FUNCTIONALS),
        "",
    )
    console.print(table)


def _plot(errors: dict[str, dict[str, float]], path: Path) -> None:
    # The object interface: pyplot would pick a backend for the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    positions = np.arange(len(errors))
    width = 0.8 / len(FUNCTIONALS)
    for index, xc in enumerate(FUNCTIONALS):
        axes.bar(
            positions + (index - (len(FUNCTIONALS) - 1) / 2) * width,
            [row[xc] for row in errors.values()],
            width,
            label=f"{xc} (mean |error| {mean_absolute_error(errors, xc):.1f} on held-out molecules)",
        )
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set_xticks(
        positions, [name if name in DEMO_HELD_OUT else f"({name})" for name in errors], rotation=30
    )
    axes.set_ylabel("atomization energy error (kcal/mol)")
    axes.set_title("Self-consistent, def2-TZVP; molecules in parentheses are in the training set")
    axes.legend()
    figure.savefig(path, dpi=150)


def _relax_water(console: Console) -> None:
    from ase.build import molecule
    from ase.optimize import BFGS

    from kakehashi_ase import calculator

    console.print("\nGeometry of water through ASE: BFGS on forces of nn-mgga (def2-SVP)")
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    options: dict[str, Any] = {"basis": "def2-svp", "grid_level": GRID_LEVEL}
    atoms.calc = calculator("pyscf", xc="nn-mgga", **options)
    start = time.process_time()
    optimizer = BFGS(atoms, logfile=None)
    optimizer.run(fmax=0.01, steps=30)
    bond, angle = atoms.get_distance(0, 1), atoms.get_angle(1, 0, 2)
    force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
    console.print(
        f"  {optimizer.nsteps} steps, largest force {force:.4f} eV/Å, "
        f"{time.process_time() - start:.1f} s CPU\n"
        f"  O-H {bond:.4f} Å (experiment {WATER_EXPERIMENT[0]}), "
        f"H-O-H {angle:.2f} degrees (experiment {WATER_EXPERIMENT[1]})",
        highlight=False,
    )
