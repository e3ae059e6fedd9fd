"""Averages over the whole history of one spin, exactly, with all others as they are.

The history of a spin is a ring of n_slices units in fields of its neighbors, which transfer matrices solve.
Estimates that average over it have the same mean as those that read the spins, and less noise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from kakehashi_dbm.ising_loop import IsingLoop, Spins

FloatArray = npt.NDArray[np.float64]


def line_averages(loop: IsingLoop, spins: Spins) -> tuple[FloatArray, FloatArray]:
    """Return averages of z and x of each spin over its own history, (n_chains, n_physical, n_sites) each.

    Args:
        loop: Couplings.
        spins: +1 and -1, (n_chains, n_slices, n_sites).
    """
    z, x, _ = history_averages(loop, spins)
    return z[:, loop.physical], x[:, loop.physical]


def history_averages(loop: IsingLoop, spins: Spins) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return averages of z, x, and s_t s_{t+1} of each spin over its own history.

    Args:
        loop: Couplings.
        spins: +1 and -1, (n_chains, n_slices, n_sites).

    Returns:
        Three arrays, (n_chains, n_slices, n_sites).
    """
    fields = loop.local_fields(spins)
    z, x, links = np.empty_like(fields), np.empty_like(fields), np.empty_like(fields)
    for chain in range(len(spins)):
        _averages(fields[chain], loop.temporal, z[chain], x[chain], links[chain])
    return z, x, links


def _compiled(function: Any) -> Any:
    return njit(cache=True)(function)


@_compiled
def _averages(
    fields: FloatArray, temporal: FloatArray, z: FloatArray, x: FloatArray, links: FloatArray
) -> None:
    """Fill z, x and links of one chain.

    D_t = diag(exp(f), exp(-f)) of slice t and T_t = exp(L s s') of its link are scaled to elements of at
    most 1.
    """
    n_slices, n_sites = fields.shape
    high, low, link = np.empty(n_slices), np.empty(n_slices), np.empty(n_slices)
    # rest[t] = D_t T_t ... D_{n-1} T_{n-1}, as four numbers; the last one is 1.
    rest = np.empty((n_slices + 1, 2, 2))
    for i in range(n_sites):
        for t in range(n_slices):
            small = math.exp(-2.0 * abs(fields[t, i]))
            high[t] = 1.0 if fields[t, i] >= 0.0 else small
            low[t] = small if fields[t, i] >= 0.0 else 1.0
            link[t] = math.exp(-2.0 * temporal[t, i])
        rest[n_slices, 0, 0] = rest[n_slices, 1, 1] = 1.0
        rest[n_slices, 0, 1] = rest[n_slices, 1, 0] = 0.0
        for t in range(n_slices - 1, -1, -1):
            size = 0.0
            for k in range(2):
                up, down = rest[t + 1, 0, k], rest[t + 1, 1, k]
                rest[t, 0, k] = high[t] * (up + link[t] * down)
                rest[t, 1, k] = low[t] * (link[t] * up + down)
                size += rest[t, 0, k] + rest[t, 1, k]
            for k in range(2):
                rest[t, 0, k] /= size
                rest[t, 1, k] /= size
        # For slice 0: D_1 T_1 ... D_{n-1} without the last link.
        w00, w01, w10, w11 = high[n_slices - 1], 0.0, 0.0, low[n_slices - 1]
        for t in range(n_slices - 2, 0, -1):
            w00, w10 = high[t] * (w00 + link[t] * w10), low[t] * (link[t] * w00 + w10)
            w01, w11 = high[t] * (w01 + link[t] * w11), low[t] * (link[t] * w01 + w11)
            size = w00 + w01 + w10 + w11
            w00, w01, w10, w11 = w00 / size, w01 / size, w10 / size, w11 / size
        # before = D_0 T_0 ... up to D_{t-1}, without the last link.
        b00, b01, b10, b11 = 1.0, 0.0, 0.0, 1.0
        for t in range(n_slices):
            last = link[t - 1]
            if t > 0:
                r = rest[t + 1]
                w00 = r[0, 0] * b00 + r[0, 1] * b10
                w01 = r[0, 0] * b01 + r[0, 1] * b11
                w10 = r[1, 0] * b00 + r[1, 1] * b10
                w11 = r[1, 0] * b01 + r[1, 1] * b11
            # Rows of w are the slice after t, columns the one before.
            here = link[t]
            both_up, both_down = high[t] * (w00 + last * w01), low[t] * (last * w10 + w11)
            up = both_up + high[t] * here * (w10 + last * w11)
            down = both_down + low[t] * here * (last * w00 + w01)
            z[t, i] = (up - down) / (up + down)
            links[t, i] = 2.0 * (both_up + both_down) / (up + down) - 1.0
            equal = 2.0 * link[t] * (w00 + w11)
            unequal = (1.0 + link[t] * link[t]) * (w01 + w10)
            x[t, i] = (equal + unequal) * math.exp(-abs(fields[t, i])) / (up + down)
            # Append T_{t-1}, then D_t.
            if t > 0:
                b00, b01 = b00 + last * b01, last * b00 + b01
                b10, b11 = b10 + last * b11, last * b10 + b11
            b00, b01, b10, b11 = b00 * high[t], b01 * low[t], b10 * high[t], b11 * low[t]
            size = b00 + b01 + b10 + b11
            b00, b01, b10, b11 = b00 / size, b01 / size, b10 / size, b11 / size
