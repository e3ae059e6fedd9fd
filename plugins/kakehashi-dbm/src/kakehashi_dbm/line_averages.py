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
IntArray = npt.NDArray[np.int64]

LARGE, SMALL = 1e100, 1e-100
"""Products of matrices are scaled back when they leave these bounds."""


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
    first, others, bonds = _neighbors(loop.bonds, loop.n_sites)
    unlike = np.exp(-2.0 * loop.temporal)
    z, x, links = (np.empty(spins.shape) for _ in range(3))
    for chain in range(len(spins)):
        _averages(
            spins[chain],
            first,
            others,
            bonds,
            loop.spatial,
            loop.fields,
            unlike,
            z[chain],
            x[chain],
            links[chain],
        )
    return z, x, links


def _neighbors(bonds: IntArray, n_sites: int) -> tuple[IntArray, IntArray, IntArray]:
    """Return where the list of each site starts, (n_sites + 1,), its neighbors and the bonds to them."""
    ends = np.concatenate([bonds[:, 0], bonds[:, 1]])
    order = np.argsort(ends, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=n_sites))])
    others = np.concatenate([bonds[:, 1], bonds[:, 0]])[order]
    return first, others, np.tile(np.arange(len(bonds)), 2)[order]


def _compiled(function: Any) -> Any:
    return njit(cache=True)(function)


@_compiled
def _averages(
    spins: Spins,
    first: IntArray,
    others: IntArray,
    bonds: IntArray,
    spatial: FloatArray,
    fields: FloatArray,
    unlike: FloatArray,
    z: FloatArray,
    x: FloatArray,
    links: FloatArray,
) -> None:
    """Fill z, x and links of one chain.

    D_t = diag(exp(f), exp(-f)) of slice t and T_t = exp(L s s') of its link are scaled to elements of at
    most 1; ``unlike`` is the smaller element of T_t.
    """
    n_slices, n_sites = spins.shape
    high, low = np.empty(n_slices), np.empty(n_slices)
    link, root = np.empty(n_slices), np.empty(n_slices)
    # rest[t] = D_t T_t ... D_{n-1} T_{n-1}, as four numbers; the last one is 1.
    rest = np.empty((n_slices + 1, 4))
    for i in range(n_sites):
        for t in range(n_slices):
            f = fields[t, i]
            for k in range(first[i], first[i + 1]):
                f += spatial[t, bonds[k]] * spins[t, others[k]]
            root[t] = math.exp(-abs(f))
            small = root[t] * root[t]
            high[t] = 1.0 if f >= 0.0 else small
            low[t] = small if f >= 0.0 else 1.0
            link[t] = unlike[t, i]
        a, b, c, d = 1.0, 0.0, 0.0, 1.0
        rest[n_slices, 0], rest[n_slices, 1], rest[n_slices, 2], rest[n_slices, 3] = a, b, c, d
        for t in range(n_slices - 1, -1, -1):
            h, w, e = high[t], low[t], link[t]
            a, c = h * (a + e * c), w * (e * a + c)
            b, d = h * (b + e * d), w * (e * b + d)
            size = a + b + c + d
            if size > LARGE or size < SMALL:
                a, b, c, d = a / size, b / size, c / size, d / size
            rest[t, 0], rest[t, 1], rest[t, 2], rest[t, 3] = a, b, c, d
        # For slice 0: D_1 T_1 ... D_{n-1} without the last link.
        w00, w01, w10, w11 = high[n_slices - 1], 0.0, 0.0, low[n_slices - 1]
        for t in range(n_slices - 2, 0, -1):
            h, w, e = high[t], low[t], link[t]
            w00, w10 = h * (w00 + e * w10), w * (e * w00 + w10)
            w01, w11 = h * (w01 + e * w11), w * (e * w01 + w11)
            size = w00 + w01 + w10 + w11
            if size > LARGE or size < SMALL:
                w00, w01, w10, w11 = w00 / size, w01 / size, w10 / size, w11 / size
        # before = D_0 T_0 ... up to D_{t-1}, without the last link.
        b00, b01, b10, b11 = 1.0, 0.0, 0.0, 1.0
        for t in range(n_slices):
            last = link[t - 1]
            if t > 0:
                a, b, c, d = rest[t + 1, 0], rest[t + 1, 1], rest[t + 1, 2], rest[t + 1, 3]
                w00, w01 = a * b00 + b * b10, a * b01 + b * b11
                w10, w11 = c * b00 + d * b10, c * b01 + d * b11
            # Rows of w are the slice after t, columns the one before.
            here = link[t]
            both_up, both_down = high[t] * (w00 + last * w01), low[t] * (last * w10 + w11)
            up = both_up + high[t] * here * (w10 + last * w11)
            down = both_down + low[t] * here * (last * w00 + w01)
            whole = 1.0 / (up + down)
            z[t, i] = (up - down) * whole
            links[t, i] = 2.0 * (both_up + both_down) * whole - 1.0
            equal = 2.0 * here * (w00 + w11)
            unequal = (1.0 + here * here) * (w01 + w10)
            x[t, i] = (equal + unequal) * root[t] * whole
            # Append T_{t-1}, then D_t.
            if t > 0:
                b00, b01 = b00 + last * b01, last * b00 + b01
                b10, b11 = b10 + last * b11, last * b10 + b11
            b00, b01, b10, b11 = b00 * high[t], b01 * low[t], b10 * high[t], b11 * low[t]
            size = b00 + b01 + b10 + b11
            if size > LARGE or size < SMALL:
                b00, b01, b10, b11 = b00 / size, b01 / size, b10 / size, b11 / size
