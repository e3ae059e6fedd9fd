"""Section of ``kakehashi demo``: electrons and classical spins, self-learning beside exact samplers."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from kakehashi_core.consoles import result_console
from kakehashi_core.files import write_json
from kakehashi_slmc.studies.cases import Case
from kakehashi_slmc.studies.speed import speed_study

TASK = {
    "case": Case().state_dict(),
    "n_chains": 8,
    "n_steps": {"metropolis": 80, "hmc": 150, "self-learning": 800},
    "seed": 1,
}
KNOWN = (0.532, 0.003)
"""Staggered magnetization of long runs with three samplers, and its error."""


def demo_slmc(*, output: Path) -> None:
    """Sample the 6 x 6 double-exchange model three ways and print what an independent sample costs.

    Args:
        output: Folder for ``spin_fermion.json``.
    """
    console = result_console()
    console.print(
        f"Electrons that feel classical spins, {Case().label}, half filling. Self-learning Monte Carlo "
        "learns an effective model in its warm-up and freezes it; all samplers are exact:",
        highlight=False,
    )
    found = speed_study(TASK)
    table = Table()
    for column in ("sampler", "staggered magnetization", "acceptance", "tau_int"):
        table.add_column(column)
    table.add_column("CPU ms per independent sample", justify="right")
    for name, row in found["kernels"].items():
        table.add_row(
            name,
            f"{row['means']['m']:.4f} ± {row['errors']['m']:.4f}",
            # A sweep of Metropolis is many decisions.
            "" if name == "metropolis" else f"{row['acceptance']:.2f}",
            f"{row['tau']['m2']:.1f}",
            f"{2 * row['tau']['m2'] * row['cpu_ms']:.1f}",
        )
    console.print(table)
    console.print(
        f"  long runs: {KNOWN[0]:.3f} ± {KNOWN[1]:.3f}. CPU time of learning: "
        f"{max(found['training_cpu_seconds'].values()):.1f} s",
        highlight=False,
    )
    write_json(output / "spin_fermion.json", found)
