"""Clebsch-Gordan products on CPUs: one coefficient in fourteen is not zero, and only these are used."""

# numba's decorator is untyped, and its functions have no annotations: the types are those of the arguments.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

COLUMNS = 128
"""At a time: both factors of so many stay in the cache."""
FEWEST = 4096
"""Columns of a thread."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class NonzeroCouplings:
    """The numbers C of out_k = sum_ij C_kij left_i right_j that are not zero, in terms of two j each.

    Attributes:
        bounds: Terms of the output k are bounds[k] up to bounds[k + 1], (n_outputs + 1,).
        left: Their i, (n_terms,).
        right: Their j, (n_terms, 2).
        numbers: C of both, the second can be zero, (n_terms, 2).
    """

    bounds: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    numbers: npt.NDArray[Any] = field(repr=False)

    @classmethod
    def of(cls, table: npt.NDArray[Any]) -> NonzeroCouplings:
        """Find them in (n_outputs, n_left, n_right)."""
        bounds, left, right, numbers = [0], [], [], []
        for of_output in table:
            for i, row in enumerate(of_output):
                (found,) = np.nonzero(row)
                for at in range(0, len(found), 2):
                    j, other = found[at], found[min(at + 1, len(found) - 1)]
                    left.append(i)
                    right.append((j, other))
                    numbers.append((row[j], row[other] if other != j else 0.0))
            bounds.append(len(left))
        return cls(
            bounds=np.array(bounds),
            left=np.array(left, dtype=np.int64),
            right=np.array(right, dtype=np.int64).reshape(-1, 2),
            numbers=np.array(numbers, dtype=table.dtype).reshape(-1, 2),
        )

    def product(
        self, left: npt.NDArray[Any], right: npt.NDArray[Any], n_threads: int = 1
    ) -> npt.NDArray[Any]:
        """Return (n_outputs, n) of two factors (n_left, n) and (n_right, n), contiguous, of one dtype."""
        n = left.shape[1]
        found = np.empty((len(self.bounds) - 1, n), dtype=left.dtype)
        coefficients = self.bounds, self.left, self.right, self.numbers
        parts = max(1, min(n_threads, n // FEWEST))
        if parts == 1:
            write_product(left, right, *coefficients, 0, n, found)
            return found
        edges = np.linspace(0, n, parts + 1).astype(int)
        with ThreadPoolExecutor(parts) as pool:
            running = [
                pool.submit(write_product, left, right, *coefficients, low, high, found)
                for low, high in pairwise(edges)
            ]
        for one in running:
            one.result()
        return found


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def write_product(left, right, bounds, first, second, numbers, start, stop, out):
    """Write columns ``start`` up to ``stop`` of the product."""
    a = np.zeros((left.shape[0], COLUMNS), dtype=left.dtype)
    b = np.zeros((right.shape[0], COLUMNS), dtype=left.dtype)
    total = np.empty(COLUMNS, dtype=left.dtype)
    for at in range(start, stop, COLUMNS):
        width = min(COLUMNS, stop - at)
        for i in range(left.shape[0]):
            for x in range(width):
                a[i, x] = left[i, at + x]
        for j in range(right.shape[0]):
            for x in range(width):
                b[j, x] = right[j, at + x]
        for k in range(out.shape[0]):
            for x in range(COLUMNS):
                total[x] = 0.0
            for term in range(bounds[k], bounds[k + 1]):
                u, v, w = a[first[term]], b[second[term, 0]], b[second[term, 1]]
                c, d = numbers[term, 0], numbers[term, 1]
                for x in range(COLUMNS):
                    total[x] += u[x] * (c * v[x] + d * w[x])
            for x in range(width):
                out[k, at + x] = total[x]
