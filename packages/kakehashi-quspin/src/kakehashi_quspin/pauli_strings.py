"""Products of Pauli matrices, multiplied out, and the letters of QuSpin as sums of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

PauliString = tuple[tuple[int, str], ...]
"""Sites with "x", "y" or "z", by growing site; the empty string is the identity."""

# (left, right) -> product as a power of i and a letter.
_PRODUCTS: dict[tuple[str, str], tuple[complex, str]] = {
    ("x", "y"): (1j, "z"),
    ("y", "x"): (-1j, "z"),
    ("y", "z"): (1j, "x"),
    ("z", "y"): (-1j, "x"),
    ("z", "x"): (1j, "y"),
    ("x", "z"): (-1j, "y"),
}

LETTERS = "xyz+-I"


def letter_terms(letter: str, pauli: int) -> tuple[tuple[complex, str], ...]:
    """Return a letter of QuSpin as coefficients and Pauli letters; "" is the identity.

    Args:
        letter: One of "xyz+-I".
        pauli: Convention of the basis: 1, the default of QuSpin, where "+" is sigma^x + i sigma^y; 0 for spin
            operators S = sigma / 2; -1 for Pauli matrices with unit ladder operators.
    """
    half = 0.5 if pauli == 0 else 1.0
    ladder = 1.0 if pauli == 1 else 0.5
    table: dict[str, tuple[tuple[complex, str], ...]] = {
        "I": ((1.0, ""),),
        "x": ((half, "x"),),
        "y": ((half, "y"),),
        "z": ((half, "z"),),
        "+": ((ladder, "x"), (1j * ladder, "y")),
        "-": ((ladder, "x"), (-1j * ladder, "y")),
    }
    return table[letter]


def multiplied(factors: Iterable[tuple[int, str]]) -> tuple[complex, PauliString]:
    """Return the product of Pauli matrices, the first one leftmost, as a phase and a string.

    Args:
        factors: Sites and letters; "" is the identity.
    """
    phase: complex = 1.0
    found: dict[int, str] = {}
    for site, letter in factors:
        if not letter:
            continue
        before = found.get(site)
        if before is None:
            found[site] = letter
        elif before == letter:
            del found[site]
        else:
            turn, found[site] = _PRODUCTS[before, letter]
            phase *= turn
    return phase, tuple(sorted(found.items()))


def added(
    sums: Iterable[tuple[complex, PauliString]], *, tolerance: float = 1e-14
) -> dict[PauliString, complex]:
    """Return coefficients of distinct strings; those that cancel are left out."""
    total: dict[PauliString, complex] = {}
    largest = 0.0
    for coefficient, string in sums:
        total[string] = total.get(string, 0.0) + coefficient
        largest = max(largest, abs(coefficient))
    return {s: c for s, c in total.items() if abs(c) > tolerance * largest}


def is_hermitian(terms: Mapping[PauliString, complex], *, tolerance: float = 1e-12) -> bool:
    """Return whether all coefficients are real, to rounding."""
    largest = max((abs(c) for c in terms.values()), default=0.0)
    return all(abs(complex(c).imag) <= tolerance * largest for c in terms.values())
