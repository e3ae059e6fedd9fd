"""Predictions inside the structure itself, so that files and viewers keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kakehashi_botan.propensity_calculator import TEMPERATURE, PropensityCalculator
from kakehashi_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms
    from ase.md.md import MolecularDynamics

PER_PARTICLE = ("propensity", "propensity_std")
OUT_OF_DOMAIN = "out_of_domain"
DOMAIN_NOTES = "domain_notes"


def annotate(atoms: Atoms, calculator: PropensityCalculator | None = None) -> Atoms:
    """Store predictions in ``atoms.arrays`` and ``atoms.info``, where ASE's viewer and OVITO find them.

    ASE's writers drop results that they do not know by name. Of its formats only extended XYZ keeps arrays
    as well.

    Args:
        atoms: Changed in place: arrays "propensity" and "propensity_std", info "temperature_estimate" where
            the model gives one, and "out_of_domain", the reasons in "domain_notes" if it is 1.
        calculator: One of this plugin; that of the atoms if None.

    Returns:
        The same atoms.

    Raises:
        InvalidInputError: If there is no such calculator.
    """
    calculator = _calculator(atoms, calculator)
    names = [
        name
        for name in (*PER_PARTICLE, OUT_OF_DOMAIN, TEMPERATURE)
        if name in calculator.implemented_properties
    ]
    if calculator.calculation_required(atoms, names):  # type: ignore[no-untyped-call]
        calculator.calculate(atoms, names)
    values = calculator.results
    for name in PER_PARTICLE:
        atoms.set_array(name, np.array(values[name], dtype=float))
    for name in (TEMPERATURE, OUT_OF_DOMAIN):
        if name in values:
            atoms.info[name] = values[name]
    atoms.info.pop(DOMAIN_NOTES, None)
    if values[OUT_OF_DOMAIN]:
        atoms.info[DOMAIN_NOTES] = "; ".join(calculator.domain_notes)
    return atoms


def attach_propensity(
    dynamics: MolecularDynamics,
    *,
    interval: int = 1000,
    calculator: PropensityCalculator | None = None,
    receive: Callable[[Atoms], None] | None = None,
) -> None:
    """Annotate the structure of an ASE dynamics every so many steps.

    Args:
        dynamics: Any of ASE's; its observers of later attachment, for instance a writer of extended XYZ, see
            the annotated structure.
        interval: Steps between predictions.
        calculator: As for ``annotate``; give one if the dynamics runs on another potential.
        receive: Called with the annotated structure.

    Raises:
        InvalidInputError: If there is no calculator of this plugin, or no step between predictions.
    """
    if interval < 1:
        raise InvalidInputError(f"interval is {interval}; at least one step is needed")
    atoms = dynamics.atoms
    found = _calculator(atoms, calculator)

    def observe() -> None:
        annotate(atoms, found)
        if receive is not None:
            receive(atoms)

    dynamics.attach(observe, interval=interval)


def _calculator(atoms: Atoms, given: PropensityCalculator | None) -> PropensityCalculator:
    calculator = atoms.calc if given is None else given
    if not isinstance(calculator, PropensityCalculator):
        raise InvalidInputError(
            f"the calculator is {type(calculator).__name__}; propensities come from calculator('botan') or "
            "calculator('t-botan'). Set atoms.calc, or pass calculator=..."
        )
    return calculator
