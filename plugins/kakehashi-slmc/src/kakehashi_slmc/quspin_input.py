"""One-body hopping matrices from operator lists as QuSpin writes them; QuSpin itself is not needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]

# What each string adds to h, with h_pq the coefficient of c+_p c_q; moving c+ to the front costs a sign.
_SPINLESS: dict[str, tuple[int, int, float]] = {"+-": (0, 1, 1.0), "-+": (1, 0, -1.0)}


def hopping_from_quspin(static: Any, n_sites: int) -> ComplexArray | FloatArray:
    """Return the one-body matrix of fermion operators, for ``SpinFermion.from_matrix``.

    Args:
        static: Operator list of ``spinful_fermion_basis`` ("+-|", "|+-", "n|", "|n", "+|-", "-|+", ...) or of
            ``spinless_fermion_basis`` over 2 n_sites orbitals, up first ("+-", "-+", "n"): orbital i is spin
            up on site i, orbital n_sites + i spin down; or an object with a public ``static_list``.
        n_sites: Number of sites.

    Returns:
        (n_sites, n_sites) if both spins hop alike, else (2 n_sites, 2 n_sites) with orbital s n_sites + i;
        real if it can be. Constants that reordering leaves are dropped: they are the same for all spins.

    Raises:
        InvalidInputError: If a term is not one-body, a site is out of range, a spinless list leaves all spins
            down out, or the object does not say what it is made of.
    """
    if isinstance(n_sites, bool) or not isinstance(n_sites, (int, np.integer)) or n_sites < 1:
        raise InvalidInputError(f"n_sites is {n_sites!r}; a positive number of sites is needed")
    if not isinstance(static, Sequence):
        listed = getattr(static, "static_list", None)
        if listed is None:
            raise InvalidInputError(
                f"a {type(static).__name__} does not tell its operators reliably; pass the static list it "
                "was made from"
            )
        static = listed
    matrix = np.zeros((2 * n_sites, 2 * n_sites), dtype=np.complex128)
    for term in static:
        if isinstance(term, str) or len(term) != 2 or not isinstance(term[0], str):
            raise InvalidInputError(f"{term!r} is not a pair of an operator string and couplings")
        letters, couplings = term
        place = _placement(letters, n_sites)
        for coefficient, *sites in couplings:
            orbitals = place([int(s) for s in sites])
            matrix[orbitals[0], orbitals[1]] += orbitals[2] * complex(coefficient)
    n = n_sites
    spinless = all("|" not in term[0] for term in static)
    if spinless and matrix[:n].any() and not (matrix[n:].any() or matrix[:n, n:].any()):
        raise InvalidInputError(
            f"the list of a spinless basis names orbitals 0 to {n - 1} only, those of spin up: there are "
            f"2 n_sites = {2 * n}, up first. Repeat the terms with {n} added to the sites, or write them as "
            "'+-|' and '|+-'."
        )
    mixed = np.abs(matrix[:n, n:]).max() + np.abs(matrix[n:, :n]).max()
    if mixed == 0.0 and np.array_equal(matrix[:n, :n], matrix[n:, n:]):
        matrix = matrix[:n, :n]
    return matrix if matrix.imag.any() else matrix.real.copy()


def _placement(letters: str, n_sites: int) -> Callable[[list[int]], tuple[int, int, float]]:
    """Return what turns the sites of a string into orbitals p, q of c+_p c_q, and a sign."""
    up, bar, down = letters.partition("|")
    plain = up + down
    if sorted(plain) not in (["+", "-"], ["n"]):
        raise InvalidInputError(
            f"{letters!r} is not a one-body operator of fermions; hopping has one + and one -, or one n"
        )
    limit = n_sites if bar else 2 * n_sites
    shifts = [0] * len(up) + [n_sites if bar else 0] * len(down)

    def place(sites: list[int]) -> tuple[int, int, float]:
        if len(sites) != len(plain) or not all(0 <= s < limit for s in sites):
            raise InvalidInputError(
                f"sites {sites} do not fit {letters!r}: {len(plain)} numbers from 0 to {limit - 1} are needed"
            )
        orbitals = [s + shift for s, shift in zip(sites, shifts, strict=True)]
        if plain == "n":
            return orbitals[0], orbitals[0], 1.0
        first, second, sign = _SPINLESS[plain]
        return orbitals[first], orbitals[second], sign

    return place
