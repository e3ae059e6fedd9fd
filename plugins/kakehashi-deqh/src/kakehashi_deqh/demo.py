"""Section of ``kakehashi demo``: Hamiltonians of water before the first Fock matrix."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from kakehashi_core.consoles import result_console
from kakehashi_core.errors import DomainWarning
from kakehashi_core.files import write_json
from kakehashi_deqh.evaluation.guess_trials import guess_trial
from kakehashi_deqh.evaluation.stress_set import OH, water
from kakehashi_deqh.json_values import without_nan

MODEL, XC, BASIS = "deqh-water", "pbe", "def2-svp"


def demo_hamiltonian(*, output: Path) -> None:
    """Start calculations of water from a predicted Hamiltonian, inside and outside of what it knows.

    Args:
        output: Folder for ``hamiltonians.json``.
    """
    console = result_console()
    console.print(
        "Water, PBE/def2-SVP, from the guess of PySCF and from a predicted Hamiltonian; converged energies "
        "are the same:",
        highlight=False,
    )
    table = Table()
    for column in ("", "decision", "Fock matrices", "from minao", "predicted energy too high by"):
        table.add_column(column)
    molecules = {
        "near equilibrium": water(0.98, 0.95, 106.0),
        "bent to 125 degrees": water(angle=125.0),
        "one bond stretched by 40 %": water(1.4 * OH),
    }
    trials = []
    for name, atoms in molecules.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DomainWarning)
            found = guess_trial(
                name, (atoms.numbers, atoms.positions), predictor=MODEL, xc=XC, basis=BASIS
            )
        trials.append(found)
        table.add_row(
            name,
            found.decision,
            str(found.n_builds),
            str(found.n_builds_minao),
            f"{found.one_shot_error:.1e} hartree",
        )
    console.print(table)
    write_json(output / "hamiltonians.json", without_nan([asdict(t) for t in trials]))
