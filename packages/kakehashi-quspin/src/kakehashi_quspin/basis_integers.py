"""Basis integers of QuSpin and spins: site 0 is the most significant bit, bit 1 is up."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError

Spins = npt.NDArray[np.int8]

WIDEST = 64
"""Sites beyond which integers are those of Python."""


def integers_of(spins: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return basis integers, (n,): uint32 up to 32 sites, uint64 up to 64, Python integers above.

    Args:
        spins: +1 and -1, (n, n_sites).

    Raises:
        InvalidInputError: If an element is neither.
    """
    values = np.asarray(spins)
    if values.ndim != 2 or not np.isin(values, (-1, 1)).all():
        raise InvalidInputError(
            f"spins must be +1 and -1, (n, n_sites); got an array of shape {values.shape}"
        )
    bits = values > 0
    n_sites = bits.shape[1]
    if n_sites > WIDEST:
        found = np.empty(len(bits), dtype=object)
        for k, row in enumerate(bits):
            found[k] = int("".join("1" if b else "0" for b in row), 2)
        return found
    weights = np.uint64(1) << np.arange(n_sites - 1, -1, -1, dtype=np.uint64)
    integers = np.where(bits, weights, np.uint64(0)).sum(axis=1, dtype=np.uint64)
    return np.asarray(integers.astype(np.uint32) if n_sites <= 32 else integers)


def spins_of(integers: npt.ArrayLike, n_sites: int) -> Spins:
    """Return spins of basis integers, (n, n_sites), +1 for up.

    Args:
        integers: (n,), of any integer type, or Python integers.
        n_sites: Number of spins.

    Raises:
        InvalidInputError: If an integer has more bits than there are sites.
    """
    values = np.atleast_1d(np.asarray(integers))
    if values.dtype.kind not in "iuO" or values.ndim != 1:
        raise InvalidInputError(
            f"basis integers are needed, (n,); got {values.dtype} of shape {values.shape}"
        )
    numbers = [int(v) for v in values]
    if any(not 0 <= v < (1 << n_sites) for v in numbers):
        raise InvalidInputError(f"an integer is not a state of {n_sites} sites")
    if n_sites > WIDEST:
        rows = [[c == "1" for c in format(v, f"0{n_sites}b")] for v in numbers]
        bits = np.array(rows, dtype=bool).reshape(len(numbers), n_sites)
    else:
        shifts = np.arange(n_sites - 1, -1, -1, dtype=np.uint64)
        bits = ((np.array(numbers, dtype=np.uint64)[:, None] >> shifts) & np.uint64(1)) == 1
    return np.where(bits, 1, -1).astype(np.int8)
