"""Cost of a functional inside an SCF, as a ratio to one that libxc evaluates."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyscf
import torch
from pyscf import dft, gto
from rich.table import Table

from kakehashi_core.consoles import result_console
from kakehashi_core.files import write_json
from kakehashi_core.progress import progress_bar
from kakehashi_core.threads import thread_limit
from kakehashi_pyscf.attachment import attach
from kakehashi_pyscf.benchmark_molecules import benchmark_molecule


@dataclass(frozen=True, kw_only=True)
class CostComparison:
    """CPU time of complete SCF calculations, interleaved, medians over repeats.

    Attributes:
        molecule: Name of the molecule.
        n_ao: Number of basis functions.
        n_points: Number of grid points.
        cycles: SCF cycles of the functional and of the one compared with.
        cpu_seconds: CPU time of both.
        ratio: Median over repeats of the ratio of CPU times.
        ratio_per_cycle: The same per SCF cycle.
    """

    molecule: str
    n_ao: int
    n_points: int
    cycles: tuple[int, int]
    cpu_seconds: tuple[float, float]
    ratio: float
    ratio_per_cycle: float


def compare_cost(
    molecule: str, xc: str, against: str, *, basis: str, grid_level: int, repeats: int
) -> CostComparison:
    """Run both functionals in turn on one thread.

    Args:
        molecule: Name known to ``benchmark_molecule``.
        xc: Functional under test.
        against: Functional to compare with.
        basis: Orbital basis; the Coulomb interaction is density-fitted.
        grid_level: PySCF grid level.
        repeats: Number of pairs of runs.
    """
    mol = gto.M(atom=benchmark_molecule(molecule), basis=basis, verbose=0)
    times: dict[str, list[float]] = {xc: [], against: []}
    cycles: dict[str, int] = {}
    n_points = 0
    with thread_limit(1):
        for _ in range(repeats):
            for name in (xc, against):
                mf = attach(dft.RKS(mol, xc=name)).density_fit()
                mf.grids.level = grid_level
                start = time.process_time()
                mf.kernel()
                times[name].append(time.process_time() - start)
                cycles[name] = mf.cycles
                n_points = mf.grids.weights.size
    ratio = statistics.median(a / b for a, b in zip(times[xc], times[against], strict=True))
    return CostComparison(
        molecule=molecule,
        n_ao=mol.nao,
        n_points=n_points,
        cycles=(cycles[xc], cycles[against]),
        cpu_seconds=(statistics.median(times[xc]), statistics.median(times[against])),
        ratio=ratio,
        ratio_per_cycle=ratio * cycles[against] / cycles[xc],
    )


def bench_scf(
    name: str,
    *,
    against: str = "r2scan",
    molecules: Sequence[str] = ("water", "benzene"),
    basis: str = "def2-tzvp",
    grid_level: int = 3,
    repeats: int = 3,
    output: Path | None = None,
) -> None:
    """Compare the SCF cost of a functional with one from libxc: same grid, one thread, CPU time.

    Args:
        name: Functional under test.
        against: Functional to compare with.
        molecules: Any of water, benzene, anthrol (15 heavy atoms).
        basis: Orbital basis.
        grid_level: PySCF grid level.
        repeats: Number of interleaved pairs of runs.
        output: JSON file for the results with versions.
    """
    console = result_console()
    results: list[CostComparison] = []
    with progress_bar("SCF pairs", total=len(molecules)) as advance:
        for molecule in molecules:
            results.append(
                compare_cost(
                    molecule, name, against, basis=basis, grid_level=grid_level, repeats=repeats
                )
            )
            advance(1)
    table = Table(title=f"SCF cost of {name} over {against}: {basis}, grid level {grid_level}")
    columns = ("molecule", "AOs", "points", "cycles", "CPU s", "ratio", "ratio per cycle")
    for column in columns:
        table.add_column(column, justify="left" if column == "molecule" else "right")
    for r in results:
        table.add_row(
            r.molecule,
            str(r.n_ao),
            str(r.n_points),
            f"{r.cycles[0]} / {r.cycles[1]}",
            f"{r.cpu_seconds[0]:.2f} / {r.cpu_seconds[1]:.2f}",
            f"{r.ratio:.2f}",
            f"{r.ratio_per_cycle:.2f}",
        )
    console.print(table)
    if output is not None:
        settings: dict[str, Any] = {
            "functional": name,
            "against": against,
            "basis": basis,
            "grid_level": grid_level,
            "repeats": repeats,
            "threads": 1,
        }
        write_json(
            output,
            {
                "settings": settings,
                "versions": versions(),
                "results": [asdict(result) for result in results],
            },
        )


def versions() -> dict[str, str]:
    """Return the versions that results depend on: every kakehashi distribution, PySCF, torch, numpy."""
    from importlib.metadata import distributions

    ours = {d.name: d.version for d in distributions() if (d.name or "").startswith("kakehashi-")}
    return {
        **dict(sorted(ours.items())),
        "pyscf": pyscf.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
