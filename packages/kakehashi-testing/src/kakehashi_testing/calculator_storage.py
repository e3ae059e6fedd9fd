"""Calculators in databases, trajectories, files and other processes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kakehashi_testing.calculator_samples import (
    displaced,
    fresh,
    has_volume,
    largest,
    require_forces,
)
from kakehashi_testing.errors import ConformanceError, require
from kakehashi_testing.tolerances import tolerance

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator


def check_todict(calculator: Calculator, name: str = "") -> None:
    """Check that ``todict`` is JSON and that the calculator goes by its registry name.

    Args:
        calculator: Any ASE calculator.
        name: Registry name; not checked where it is empty.
    """
    options = calculator.todict()
    try:
        again = json.loads(json.dumps(options, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConformanceError(
            f"todict() cannot be written as JSON ({error}); ase.db stores it: names, numbers, strings"
        ) from error
    require(
        again == options, "todict() changes in JSON; use lists in place of tuples, plain numbers"
    )
    require(
        not name or calculator.name == name,
        f"the calculator calls itself {calculator.name!r}; databases are to record {name!r}",
    )


def check_storage(calculator: Calculator, atoms: Atoms) -> None:
    """Check round trips of energy, forces and stress through ase.db, traj and extxyz."""
    import ase.db
    import ase.io

    atoms = displaced(atoms)
    atoms.calc = fresh(calculator)
    expected = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if "stress" in calculator.implemented_properties and has_volume(atoms):
        expected["stress"] = atoms.get_stress()
    require_forces(expected["forces"])
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        with ase.db.connect(base / "a.db") as database:
            database.write(atoms)
            row = database.get(id=1)
            require(
                row.calculator == atoms.calc.name,
                f"ase.db recorded the calculator {row.calculator!r}, not {atoms.calc.name!r}",
            )
            found = {"db": row.toatoms()}
        for suffix in ("traj", "extxyz"):
            ase.io.write(base / f"a.{suffix}", atoms)
            found[suffix] = ase.io.read(base / f"a.{suffix}")
    for suffix, again in found.items():
        # extxyz writes eight decimals.
        allowed = tolerance("extxyz_round_trip") if suffix == "extxyz" else 0.0
        for name, value in expected.items():
            error = largest(np.asarray(again.calc.results.get(name, np.nan)) - value)
            require(
                error <= allowed,
                f"{name} comes back from {suffix} with an error of {error:.1e}, allowed {allowed:.0e}",
            )
