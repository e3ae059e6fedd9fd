"""Structures that calculators are tested on, and small operations on them. eV, Å and their combinations."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kakehashi_testing.errors import ConformanceError, require

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

Array = npt.NDArray[np.float64]

SEED = 7
SMALLEST_FORCE = 1e-3
"""eV/Å; below, a check of forces would compare zeros."""


def displaced(atoms: Atoms, *, size: float = 0.03, seed: int = SEED) -> Atoms:
    """Return a copy with atoms moved at random (Å): no force is zero by symmetry any more."""
    moved = bare(atoms)
    moved.positions += np.random.default_rng(seed).normal(0.0, size, moved.positions.shape)
    return moved


def bare(atoms: Atoms) -> Atoms:
    """Return a copy without calculator whose ``info`` is not shared."""
    twin: Atoms = atoms.copy()
    twin.info = copy.deepcopy(atoms.info)
    return twin


def fresh(calculator: Calculator) -> Calculator:
    """Return a copy of the calculator that remembers no result."""
    twin = copy.deepcopy(calculator)
    twin.reset()
    return twin


def energy_of(calculator: Calculator, atoms: Atoms) -> float:
    """Return the energy that forces derive from, eV: the free energy where there is one."""
    names = calculator.implemented_properties
    return float(
        calculator.get_property("free_energy" if "free_energy" in names else "energy", atoms)
    )


def property_of(calculator: Calculator, name: str, atoms: Atoms) -> Array:
    """Return a property as a float64 array."""
    return np.array(calculator.get_property(name, atoms), dtype=np.float64)


def results_of(calculator: Calculator, atoms: Atoms, properties: Sequence[str]) -> dict[str, Array]:
    """Return the named properties and whatever else the calculator left in its results."""
    found = {name: property_of(calculator, name, atoms) for name in properties}
    for name, value in calculator.results.items():
        found.setdefault(name, np.array(value, dtype=np.float64))
    return found


def is_self_consistent(calculator: Calculator) -> bool:
    """Return whether results contain an SCF or an integration grid, and the looser rows apply.

    Calculators say so by ``self_consistent``; one that shows a ``mean_field`` has converged it.
    """
    return bool(getattr(calculator, "self_consistent", False)) or hasattr(calculator, "mean_field")


def has_volume(atoms: Atoms) -> bool:
    """Return whether a stress is defined."""
    return bool(atoms.pbc.any()) and int(atoms.cell.rank) == 3


def offered(calculator: Calculator, atoms: Atoms) -> list[str]:
    """Return the properties that can be asked for on this structure."""
    return [
        name
        for name in calculator.implemented_properties
        if name not in ("stress", "stresses") or has_volume(atoms)
    ]


def require_forces(forces: Array, what: str = "the forces") -> None:
    """Raise where a comparison of forces would show nothing."""
    largest = float(np.abs(forces).max(initial=0.0))
    require(
        largest > SMALLEST_FORCE,
        f"nothing to test: {what} are at most {largest:.1e} eV/Å; give a sample off its symmetric "
        "positions",
    )


def largest(values: Any) -> float:
    """Return the largest magnitude; infinite if anything is not finite."""
    array = np.abs(np.asarray(values, dtype=np.float64))
    return float(array.max(initial=0.0)) if np.isfinite(array).all() else float("inf")


@contextmanager
def counted_calculations(calculator: Calculator) -> Iterator[list[int]]:
    """Count calls of ``calculate``; the list that is handed out grows by one entry each."""
    calls: list[int] = []
    original: Any = calculator.calculate

    def calculate(*arguments: Any, **options: Any) -> Any:
        calls.append(len(calls))
        return original(*arguments, **options)

    vars(calculator)["calculate"] = calculate
    try:
        yield calls
    finally:
        del vars(calculator)["calculate"]


def outcome(action: Any) -> tuple[str, float]:
    """Return ("", energy) or (error type, 0): two calculators may refuse a structure together."""
    try:
        return "", float(action())
    except ConformanceError:
        raise
    except Exception as error:  # noqa: BLE001  whichever error; both sides must agree on it
        return type(error).__name__, 0.0
