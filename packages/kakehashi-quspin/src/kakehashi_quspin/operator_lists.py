"""Operator lists as QuSpin writes them, [["zz", [[J, i, j], ...]], ...], as sums of Pauli strings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kakehashi_core.errors import InvalidInputError
from kakehashi_quspin.pauli_strings import LETTERS, PauliString, added, letter_terms, multiplied

CONVENTIONS = (-1, 0, 1)


def pauli_sum(operators: Any, n_sites: int, *, pauli: int) -> dict[PauliString, complex]:
    """Return an operator list as coefficients of Pauli strings; duplicates add up.

    Args:
        operators: [[letters, [[coupling, site, ...], ...]], ...] with letters of "xyz+-I".
        n_sites: Number of spins.
        pauli: Convention of the letters, see ``letter_terms``.

    Raises:
        InvalidInputError: If it is no such list; the message quotes the term.
    """
    if pauli not in CONVENTIONS:
        raise InvalidInputError(f"pauli is {pauli!r}; QuSpin knows -1, 0 and 1")
    return added(
        (math.prod((c for c, _ in combination), start=coupling) * phase, string)
        for letters, coupling, sites in listed_terms(operators, n_sites)
        for combination in itertools.product(*(letter_terms(c, pauli) for c in letters))
        for phase, string in [multiplied(zip(sites, (p for _, p in combination), strict=True))]
    )


def listed_terms(operators: Any, n_sites: int) -> Iterator[tuple[str, complex, tuple[int, ...]]]:
    """Return letters, coupling and sites of each term, checked.

    Raises:
        InvalidInputError: If a term is not what QuSpin writes.
    """
    if isinstance(operators, str) or not isinstance(operators, Sequence):
        raise InvalidInputError(
            f"a list of operators is needed, such as [['zz', [[1.0, 0, 1]]]]; got {operators!r:.200}"
        )
    for term in operators:
        if isinstance(term, str) or not isinstance(term, Sequence) or len(term) != 2:
            raise InvalidInputError(
                f"{term!r:.200} is no term; write a string and a list of couplings, such as "
                "['zz', [[1.0, 0, 1]]]"
            )
        letters, couplings = term
        if not isinstance(letters, str) or set(letters) - set(LETTERS):
            raise InvalidInputError(
                f"operator string {letters!r} is unknown; spins have x, y, z, +, - and I"
            )
        for coupling in couplings:
            yield _checked(letters, coupling, n_sites)


def _checked(letters: str, coupling: Any, n_sites: int) -> tuple[str, complex, tuple[int, ...]]:
    values = list(coupling) if isinstance(coupling, Sequence | np.ndarray) else [coupling]
    if len(values) != len(letters) + 1:
        raise InvalidInputError(
            f"coupling {coupling!r:.200} does not fit {letters!r}: a number and {len(letters)} sites are "
            "needed"
        )
    try:
        if isinstance(values[0], str):
            raise TypeError("a string is no number")
        strength = complex(values[0])
        sites = tuple(int(v) for v in values[1:])
        exact = all(s == v for s, v in zip(sites, values[1:], strict=True))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"coupling {coupling!r:.200} of {letters!r} is not a number followed by sites. Couplings that "
            "depend on time are not supported"
        ) from error
    if not np.isfinite(strength) or not exact:
        raise InvalidInputError(
            f"coupling {coupling!r:.200} of {letters!r} is not a finite number followed by whole numbers"
        )
    if not all(0 <= s < n_sites for s in sites):
        raise InvalidInputError(
            f"coupling {coupling!r:.200} of {letters!r} names a site beyond 0 ... {n_sites - 1}"
        )
    return letters, strength, sites
