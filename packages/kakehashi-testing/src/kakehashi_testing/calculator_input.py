"""What a calculator says to input that it cannot handle, and to unusual input that it can."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from kakehashi_testing.calculator_samples import bare, displaced, fresh
from kakehashi_testing.errors import ConformanceError, require
from kakehashi_testing.tolerances import tolerance

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator


def check_bad_input(calculator: Calculator, atoms: Atoms) -> None:
    """Check that NaN, empty, unknown, overlapping and degenerate structures get a clear error.

    Errors must be ASE's ``InputError``, or ``PropertyNotImplementedError``, and name what is wrong.
    """
    last = len(atoms) - 1
    spoiled = bare(atoms)
    spoiled.positions[last, 1] = np.nan
    _require_refusal(calculator, spoiled, "a NaN coordinate", str(last), "nan")
    spoiled = bare(atoms)
    spoiled.positions[last, 2] = np.inf
    _require_refusal(calculator, spoiled, "an infinite coordinate", str(last), "inf")
    _require_refusal(calculator, bare(atoms)[:0], "a structure without atoms", "atoms")
    spoiled = bare(atoms)
    spoiled.numbers[last] = 0
    _require_refusal(calculator, spoiled, "a placeholder atom (X)", str(last))
    spoiled = bare(atoms)
    spoiled.set_cell(np.zeros((3, 3)))
    spoiled.pbc = True
    _require_refusal(calculator, spoiled, "a periodic cell of zeros", "cell")
    spoiled.set_cell([[5, 0, 0], [0, 5, 0], [5, 5, 1e-12]])
    _require_refusal(calculator, spoiled, "a flat periodic cell", "singular")
    _check_unknown_element(calculator, atoms)
    _check_overlap(calculator, atoms)


def check_unknown_option(build: Callable[..., Any], known: str = "") -> None:
    """Check that an unknown option is refused, and a misspelt one answered with the closest name.

    Args:
        build: Makes a calculator from keyword options.
        known: An option that the calculator has; nothing is misspelt where it is empty.
    """
    attempts = {"no_such_option_at_all": "no_such_option_at_all"}
    if len(known) > 2:
        attempts[known + known[-1]] = known
    for option, needle in attempts.items():
        try:
            build(**{option: 1})
        except (TypeError, ValueError) as error:
            require(
                needle in str(error),
                f"the error about the unknown option {option!r} does not name {needle!r}: {error}",
            )
            continue
        raise ConformanceError(f"the unknown option {option!r} is accepted; a typo would be too")


def check_unusual_input(calculator: Calculator, atoms: Atoms, *, scf: bool = False) -> None:
    """Check coordinates far from the origin, and a left-handed description of the same cell."""
    expected = float(fresh(calculator).get_property("energy", bare(atoms)))
    allowed = tolerance("scf_calculator_energy" if scf else "far_translation") * len(atoms)
    far = bare(atoms)
    far.positions += 1e6
    variants = {"1e6 Å from the origin": far}
    if atoms.cell.rank == 3 and atoms.pbc.all():
        swapped = bare(atoms)
        swapped.set_cell(atoms.cell.array[[1, 0, 2]])
        variants["with two cell vectors exchanged"] = swapped
    for what, structure in variants.items():
        error = abs(float(fresh(calculator).get_property("energy", structure)) - expected)
        require(
            error <= allowed,
            f"{what} the energy differs by {error:.1e} eV, allowed {allowed:.0e}",
        )


def _check_unknown_element(calculator: Calculator, atoms: Atoms) -> None:
    from ase.data import chemical_symbols

    known = getattr(calculator, "supported_elements", None)
    if not known:
        return
    foreign = next(symbol for symbol in chemical_symbols[::-1] if symbol not in known)
    spoiled = bare(atoms)
    spoiled.symbols[0] = foreign
    _require_refusal(calculator, spoiled, "an unknown element", foreign, sorted(known)[0])


def _check_overlap(calculator: Calculator, atoms: Atoms) -> None:
    if len(atoms) < 2:
        return
    spoiled = bare(atoms)
    spoiled.positions[1] = spoiled.positions[0]
    try:
        energy = float(fresh(calculator).get_property("energy", spoiled))
    except Exception as error:  # noqa: BLE001  any error that says something will do
        require(
            str(error).strip(), f"atoms on top of each other raise an empty {type(error).__name__}"
        )
        return
    require(np.isfinite(energy), f"two atoms on top of each other have the energy {energy}; raise")


def _require_refusal(calculator: Calculator, atoms: Atoms, what: str, *needles: str) -> None:
    from ase.calculators.calculator import InputError

    calculator = fresh(calculator)
    ran: list[str] = []
    if hasattr(calculator, "evaluate"):
        vars(calculator)["evaluate"] = _watched(calculator.evaluate, ran)
    try:
        value = calculator.get_property("energy", atoms)
    except InputError as error:
        missing = [needle for needle in needles if needle.lower() not in str(error).lower()]
        require(
            not missing,
            f"the error about {what} does not mention {' and '.join(missing)}: {error}",
        )
        require(not ran, f"{what} is refused only after the model ran")
        return
    except Exception as error:
        raise ConformanceError(
            f"{what} raises {type(error).__name__} ({error}); ASE's InputError, with a sentence that "
            "helps, is expected"
        ) from error
    raise ConformanceError(f"{what} is accepted and gives {value!r} eV; raise InputError before")


def _watched(evaluate: Callable[..., Any], ran: list[str]) -> Callable[..., Any]:
    def watched(*arguments: Any, **options: Any) -> Any:
        ran.append("evaluate")
        return evaluate(*arguments, **options)

    return watched


def check_exception_safety(calculator: Calculator, atoms: Atoms) -> None:
    """Check that a refused structure leaves the results of the one before as they were."""
    calculator = fresh(calculator)
    good = displaced(atoms)
    energy = float(calculator.get_property("energy", good))
    bad = bare(good)
    bad.positions[0, 0] = np.nan
    with suppress(Exception):  # which error is another check
        calculator.get_property("energy", bad)
    stale = abs(float(calculator.get_property("energy", good)) - energy)
    require(
        stale <= tolerance("scf_calculator_energy"),
        f"after a refused structure the energy of the good one is off by {stale:.1e} eV",
    )
