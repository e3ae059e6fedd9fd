"""From ASE's Atoms to PySCF's Mole: geometry, charge, spin, basis and core potential."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pyscf import gto
from pyscf.gto.basis import BasisNotFoundError

from kakehashi_ase import CalculatorInputError
from kakehashi_pyscf._units import BOHR_IN_ANGSTROM

if TYPE_CHECKING:
    from ase import Atoms

Names = str | Mapping[str, str]
"""One name for all elements, or chemical symbol to name."""

_NAME = re.compile(r"[A-Za-z0-9+*(),@_ -]+")
_WHOLE_NUMBER_TOLERANCE = 1e-6


def check_names(option: str, value: Names) -> None:
    """Raise unless ``value`` names a basis set (or core potential) of a library.

    PySCF would also take the text of a basis set or the name of a file, and evaluates what it finds
    there as Python code; neither is let through.

    Raises:
        CalculatorInputError: If a name contains anything else than a name, or a file has that name.
    """
    names = value.values() if isinstance(value, Mapping) else [value]
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise CalculatorInputError(
                f"option {option!r} is {name!r}; it must be the name of a basis set such as "
                "'def2-svp', or a dictionary of chemical symbol to name. Files are not read."
            )
        if Path(name.partition("@")[0]).is_file():
            raise CalculatorInputError(
                f"option {option!r} is {name!r}, but the current folder has a file of that name, "
                "which PySCF would read in place of its library. Rename it or change the folder."
            )


def whole_number(name: str, value: object) -> int:
    """Return ``value`` as an integer without rounding anything away.

    Raises:
        CalculatorInputError: If the value is not a whole number.
    """
    try:
        number = np.asarray(value).item()
    except ValueError:  # more than one element
        number = None
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise CalculatorInputError(f"{name} is {value!r}; it must be one whole number.")
    if abs(number - round(number)) > _WHOLE_NUMBER_TOLERANCE:
        raise CalculatorInputError(
            f"{name} is {number}; it must be a whole number. Nothing is rounded silently."
        )
    return round(number)


def charge_and_spin(
    atoms: Atoms, *, charge: int | None, spin: int | None, multiplicity: int | None
) -> tuple[int, int]:
    """Return the total charge and the number of unpaired electrons, checked against each other.

    Args:
        atoms: Read where an option is None: ``info["charge"]`` (zero if absent), ``info["spin"]``
            (the number of unpaired electrons), then the sum of the initial magnetic moments.
        charge: Total charge, elementary charges.
        spin: Number of unpaired electrons, 2S.
        multiplicity: 2S + 1, another way to say the same.

    Raises:
        CalculatorInputError: If a value is not whole, or charge and spin do not fit the atoms.
    """
    total_charge = whole_number(
        "the charge", atoms.info.get("charge", 0) if charge is None else charge
    )
    unpaired, source = _unpaired(atoms, spin, multiplicity)
    n_electrons = int(atoms.numbers.sum()) - total_charge
    if n_electrons < 1:
        raise CalculatorInputError(
            f"{atoms.symbols} with charge {total_charge} has {n_electrons} electrons; at least one "
            "is needed. Correct the charge."
        )
    if unpaired < 0 or unpaired > n_electrons or (n_electrons - unpaired) % 2:
        parity = "even" if n_electrons % 2 == 0 else "odd"
        raise CalculatorInputError(
            f"{unpaired} unpaired electrons (from {source}) do not fit the {n_electrons} electrons "
            f"of {atoms.symbols} with charge {total_charge}; an {parity} number from "
            f"{n_electrons % 2} to {n_electrons} is possible. Set atoms.info['spin'] (unpaired "
            "electrons, not the multiplicity), initial magnetic moments, or spin=... or "
            "multiplicity=... of a calculator that has these options."
        )
    return total_charge, unpaired


def build_molecule(
    atoms: Atoms,
    *,
    charge: int,
    spin: int,
    basis: Names,
    ecp: Names | None,
    verbose: int,
    max_memory: float | None,
) -> Any:
    """Return a built ``pyscf.gto.Mole``, made from numbers only.

    Args:
        atoms: Positions in Å.
        charge: Total charge.
        spin: Number of unpaired electrons.
        basis: Basis set.
        ecp: Effective core potential; "auto" is the one made for the basis set, None is none.
        verbose: PySCF's verbosity.
        max_memory: MB; None for PySCF's default.

    Raises:
        CalculatorInputError: If an element has no such basis set, or the core potential leaves
            fewer electrons than are to be unpaired.
    """
    molecule = gto.Mole()
    molecule.atom = [
        (int(number), tuple(float(x) for x in position / BOHR_IN_ANGSTROM))
        for number, position in zip(atoms.numbers, atoms.positions, strict=True)
    ]
    molecule.unit = "Bohr"
    symbols = sorted(set(atoms.symbols))
    molecule.basis = dict(basis) if isinstance(basis, Mapping) else basis
    molecule.ecp = _core_potentials(symbols, basis, ecp)
    molecule.charge = charge
    molecule.spin = None  # PySCF would stop at an assertion; the check below explains
    molecule.verbose = verbose
    if max_memory is not None:
        molecule.max_memory = max_memory
    try:
        molecule.build(dump_input=False, parse_arg=False)
    except (BasisNotFoundError, KeyError) as error:
        raise CalculatorInputError(
            f"no basis set {basis!r} (core potential {ecp!r}) for all of {', '.join(symbols)}: "
            f"{error}. Use another basis set, or a dictionary of chemical symbol to name."
        ) from error
    if spin > molecule.nelectron:
        raise CalculatorInputError(
            f"{spin} unpaired electrons, but the core potential {molecule.ecp!r} leaves "
            f"{molecule.nelectron} electrons; use ecp=None or a smaller spin."
        )
    molecule.spin = spin
    return molecule


def _unpaired(atoms: Atoms, spin: int | None, multiplicity: int | None) -> tuple[int, str]:
    if multiplicity is not None:
        return whole_number("option 'multiplicity'", multiplicity) - 1, "option 'multiplicity'"
    if spin is not None:
        return whole_number("option 'spin'", spin), "option 'spin'"
    if "spin" in atoms.info:
        return whole_number("atoms.info['spin']", atoms.info["spin"]), "atoms.info['spin']"
    moments = atoms.get_initial_magnetic_moments()
    if moments.ndim != 1:
        raise CalculatorInputError(
            f"initial magnetic moments have shape {moments.shape}; collinear ones, one number per "
            "atom, are needed. Give spin=... instead."
        )
    total = whole_number("the sum of the initial magnetic moments", float(moments.sum()))
    return abs(total), "the initial magnetic moments"


def _core_potentials(symbols: list[str], basis: Names, ecp: Names | None) -> dict[str, str]:
    if ecp is None:
        return {}
    if isinstance(ecp, Mapping):
        return dict(ecp)
    if ecp != "auto":
        return dict.fromkeys(symbols, ecp)
    # Without this PySCF takes a valence basis set for all electrons, and only warns when verbose.
    from pyscf.gto.mole import bse_predefined_ecp

    found: dict[str, str] = {}
    for symbol in symbols:
        name = basis if isinstance(basis, str) else basis.get(symbol, basis.get("default", ""))
        potential, numbers = bse_predefined_ecp(name, symbol)
        if potential and numbers:
            found[symbol] = potential
    return found
