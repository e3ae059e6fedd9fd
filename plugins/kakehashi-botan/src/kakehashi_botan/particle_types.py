"""Which species of a mixture the atoms of a structure stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers

from kakehashi_ase.errors import CalculatorInputError
from kakehashi_botan.mixtures import checked_types
from kakehashi_core.errors import InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms

SPECIES = ("Ar", "Ne", "He")
"""Chemical symbols that stand for A, B and C unless told otherwise; nothing about them is chemical."""
TYPES = "types"
"""Name of the per-atom array that, where it is present, says the species directly."""


def particle_types(
    atoms: Atoms, *, n_species: int, species: Sequence[str] = SPECIES
) -> npt.NDArray[np.int64]:
    """Return the species of every atom, (n_atoms,), 0 for A.

    Args:
        atoms: Structure; ``atoms.arrays["types"]`` wins over chemical symbols.
        n_species: How many species there are.
        species: Chemical symbols that stand for A, B, ...

    Raises:
        CalculatorInputError: If an atom stands for none of them.
    """
    if TYPES in atoms.arrays:
        try:
            return checked_types(atoms.arrays[TYPES], n_species, label="atoms.arrays['types']")
        except InvalidInputError as error:
            raise CalculatorInputError(str(error)) from error
    table = np.full(int(max(atoms.numbers.max(initial=0), *_numbers(species))) + 1, -1)
    table[_numbers(species)[:n_species]] = np.arange(min(n_species, len(species)))
    chosen: npt.NDArray[np.int64] = table[atoms.numbers]
    unknown = np.flatnonzero(chosen < 0)
    if unknown.size:
        raise CalculatorInputError(
            f"atom {unknown[0]} is {atoms.symbols[unknown[0]]}; {', '.join(species[:n_species])} stand for "
            f"the {n_species} species of the mixture. Pass species=..., or set atoms.arrays['types']."
        )
    return chosen


def _numbers(species: Sequence[str]) -> list[int]:
    return [atomic_numbers[symbol] for symbol in species]
