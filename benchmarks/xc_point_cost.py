"""Cost per grid point of kh-mgga over r2SCAN from libxc: one thread, interleaved, CPU time.

    python benchmarks/xc_point_cost.py

writes benchmarks/results/xc_point_cost.json: value and first derivatives (exc+vxc), the same with second
derivatives (fxc), closed shell and spin-polarized, on the density of benzene. The share of the machine's
matrix-multiply peak counts only the floating-point operations of the networks' matrix products; the peak is
that of a 1024 x 1024 product measured in the same run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pyscf import dft, gto
from pyscf.dft import libxc
from rich.console import Console
from rich.table import Table

from kakehashi_core.files import write_json
from kakehashi_core.registry import load
from kakehashi_core.threads import thread_limit
from kakehashi_nnxc.constrained_form import N_HIDDEN, N_LAYERS
from kakehashi_pyscf.bench import versions
from kakehashi_pyscf.benchmark_molecules import benchmark_molecule
from kakehashi_pyscf.density_variables import density_variables
from kakehashi_pyscf.derivatives import DENSITY_FLOOR, xc_derivatives

FUNCTIONAL = "kh-mgga"
AGAINST = "r2scan"
N_POINTS = 32768
REPEATS = 5
MATRIX_SIZE = 1024
RESULTS = Path(__file__).parent / "results"


def benzene_density(spin: Literal[0, 1]) -> npt.NDArray[np.float64]:
    """Return PySCF's density array on random grid points; for ``spin=1`` 60 % of it has spin alpha."""
    mol = gto.M(atom=benchmark_molecule("benzene"), basis="def2-svp", verbose=0)
    mf = dft.RKS(mol)
    dm = mf.get_init_guess()
    mf.grids.level = 3
    mf.grids.build()
    coords = np.random.default_rng(0).permutation(mf.grids.coords)[: 2 * N_POINTS]
    ao = mf._numint.eval_ao(mol, coords, deriv=1)
    rho = mf._numint.eval_rho(mol, ao, dm, xctype="MGGA", with_lapl=False)
    rho = rho[:, rho[0] > 1e3 * DENSITY_FLOOR][:, :N_POINTS]
    return rho if spin == 0 else np.stack([0.6 * rho, 0.4 * rho])


def matrix_operations(n_inputs: int, n_varying: int, order: int) -> int:
    """Count the floating-point operations of one network's matrix products at one point."""
    inner = (N_LAYERS - 1) * N_HIDDEN**2
    total = 2 * (inner + N_HIDDEN * (n_inputs + 1))  # forward
    total += 2 * (inner + N_HIDDEN * n_varying)  # reverse
    if order == 2:
        total += 2 * inner * n_varying  # Jacobians
        total += (
            N_HIDDEN * n_varying * (n_varying + 1)
        )  # first layer's part of the second derivatives
    return total


def seconds(call: Callable[[], object], n_calls: int) -> float:
    """Return CPU time of one call."""
    start = time.process_time()
    for _ in range(n_calls):
        call()
    return (time.process_time() - start) / n_calls


def main() -> None:
    """Measure, print a table, write the results."""
    functional = load("xc", FUNCTIONAL)
    calls: dict[str, Callable[[], object]] = {}
    spins: tuple[Literal[0, 1], ...] = (0, 1)
    densities = {spin: benzene_density(spin) for spin in spins}
    for spin, rho in densities.items():
        variables = density_variables(rho, "MGGA", spin)
        for deriv in (1, 2):
            calls[f"ours {spin} {deriv}"] = partial(
                xc_derivatives, functional, variables, spin, deriv
            )
            calls[f"libxc {spin} {deriv}"] = partial(libxc.eval_xc1, AGAINST, rho, spin, deriv)
    matrix = torch.rand(
        MATRIX_SIZE, MATRIX_SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    calls["matmul"] = lambda: matrix @ matrix
    times: dict[str, list[float]] = {name: [] for name in calls}
    with thread_limit(1):
        for call in calls.values():
            call()
        for _ in range(REPEATS):
            for name, call in calls.items():
                times[name].append(seconds(call, 3))
    peak = 2.0 * MATRIX_SIZE**3 / statistics.median(times["matmul"])
    n_points = {spin: rho.shape[-1] for spin, rho in densities.items()}
    results = [report(times, spin, n_points[spin], peak) for spin in (0, 1)]
    show(results, peak)
    write_json(
        RESULTS / "xc_point_cost.json",
        {
            "settings": {
                "functional": FUNCTIONAL,
                "sha256": functional.sha256,
                "against": AGAINST,
                "n_points": n_points[0],
                "repeats": REPEATS,
                "threads": 1,
            },
            "versions": versions(),
            "matmul_peak_gflops": peak / 1e9,
            "results": results,
        },
    )


def report(times: dict[str, list[float]], spin: int, n_points: int, peak: float) -> dict[str, Any]:
    """Summarize one spin case: nanoseconds per point, ratios within repeats, share of the peak."""

    def median_ratio(above: str, below: str) -> float:
        return statistics.median(a / b for a, b in zip(times[above], times[below], strict=True))

    result: dict[str, Any] = {"spin": "closed shell" if spin == 0 else "polarized"}
    for deriv, label in ((1, "exc_vxc"), (2, "fxc")):
        ours = statistics.median(times[f"ours {spin} {deriv}"]) / n_points
        # f_2 does not vary in a closed shell; a polarized point has two exchange channels.
        operations = (spin + 1) * matrix_operations(2, 2, deriv) + matrix_operations(
            4, 3 + spin, deriv
        )
        result[label] = {
            "ns_per_point": 1e9 * ours,
            "ns_per_point_libxc": 1e9
            * statistics.median(times[f"libxc {spin} {deriv}"])
            / n_points,
            "ratio_to_libxc": median_ratio(f"ours {spin} {deriv}", f"libxc {spin} {deriv}"),
            "matrix_flop_per_point": operations,
            "percent_of_matmul_peak": 100.0 * operations / ours / peak,
        }
    result["fxc_over_vxc"] = median_ratio(f"ours {spin} 2", f"ours {spin} 1")
    result["fxc_over_vxc_libxc"] = median_ratio(f"libxc {spin} 2", f"libxc {spin} 1")
    return result


def show(results: list[dict[str, Any]], peak: float) -> None:
    """Print the table."""
    table = Table(title=f"{FUNCTIONAL} per point; matrix-multiply peak {peak / 1e9:.0f} GFLOP/s")
    for column in ("", "ns/point", "libxc", "ratio", "% of peak", "fxc / vxc"):
        table.add_column(column, justify="right" if column else "left")
    for result in results:
        for label in ("exc_vxc", "fxc"):
            part = result[label]
            table.add_row(
                f"{label}, {result['spin']}",
                f"{part['ns_per_point']:.0f}",
                f"{part['ns_per_point_libxc']:.0f}",
                f"{part['ratio_to_libxc']:.1f}",
                f"{part['percent_of_matmul_peak']:.0f}",
                f"{result['fxc_over_vxc']:.2f}" if label == "fxc" else "",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
