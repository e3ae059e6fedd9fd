"""Estimates of any operator on the slices of a thermal Ising loop."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import UnsupportedError
from kakehashi_dbm.ising_loop import IsingLoop, Spins
from kakehashi_quspin.pauli_strings import PauliString

FloatArray = npt.NDArray[np.float64]

MOST_FLIPS = 6
"""Spins that one string may flip: their states are summed over."""


def operator_values(
    loop: IsingLoop, spins: Spins, terms: Mapping[PauliString, float]
) -> FloatArray:
    """Return estimates of a Hermitian operator at every physical slice, (n_chains, n_physical).

    Strings of z are read off. A string that flips spins stands between the two halves of its slice; the
    states of the spins that it flips are summed over, with all other spins as they are.

    Args:
        loop: Couplings.
        spins: +1 and -1, (n_chains, n_slices, n_sites).
        terms: Real coefficient of each Pauli string, in the frame of the loop; the identity is allowed.

    Raises:
        UnsupportedError: If a string flips too many spins.
    """
    here = spins[:, loop.physical]
    total = np.zeros(here.shape[:2])
    groups: dict[tuple[int, ...], list[tuple[PauliString, float]]] = {}
    for string, c in terms.items():
        groups.setdefault(tuple(i for i, a in string if a != "z"), []).append((string, c))
    for flips, group in groups.items():
        if len(flips) > MOST_FLIPS:
            raise UnsupportedError(
                f"an operator that flips {len(flips)} spins is too noisy; the limit is {MOST_FLIPS}"
            )
        if flips:
            total += _flipping(loop, spins, flips, group)
            continue
        for string, c in group:
            product = np.full(here.shape[:2], c)
            for i, _ in string:
                product *= here[:, :, i]
            total += product
    return total


def _flipping(
    loop: IsingLoop, spins: Spins, flips: tuple[int, ...], group: list[tuple[PauliString, float]]
) -> FloatArray:
    """Sum over the states of the flipped spins: later half with s, earlier half with -s."""
    sites = list(flips)
    t = loop.physical
    before = spins[:, t - 1][:, :, sites].astype(float)
    after = spins[:, (t + 1) % loop.n_slices][:, :, sites].astype(float)
    coupling = loop.temporal[t][:, sites]
    here = spins[:, t]
    among, outside = _fields_of(loop, here, sites)
    states = np.array(list(itertools.product((1.0, -1.0), repeat=len(sites))))
    # Half of the slice's own weight belongs to each side.
    half = np.array([0.5 * (outside @ s + among @ _pairs(s)) for s in states])
    later = half + np.array([(after * coupling) @ s for s in states])
    earlier = half + np.array([(before * coupling) @ s for s in states])
    largest = (later + earlier).max(axis=0)
    denominator = np.exp(later + earlier - largest).sum(axis=0)
    numerator = np.zeros(here.shape[:2])
    for k, s in enumerate(states):
        # The state with all flipped is the one at the other end of the list.
        weight = np.exp(later[k] + earlier[-1 - k] - largest)
        numerator += weight * _elements(group, sites, s, here)
    return np.asarray(numerator / denominator)


def _elements(
    group: list[tuple[PauliString, float]], sites: list[int], s: FloatArray, spins: Spins
) -> FloatArray:
    """Return the real part of <s| O |-s> for the strings of a group, (n_chains, n_slices)."""
    place = {site: k for k, site in enumerate(sites)}
    total = np.zeros(spins.shape[:2], dtype=np.complex128)
    for string, c in group:
        factor = np.full(spins.shape[:2], c, dtype=np.complex128)
        for i, a in string:
            if a == "z":
                factor *= spins[:, :, i]
            elif a == "y":
                factor *= -1j * s[place[i]]
        total += factor
    return total.real


def _fields_of(loop: IsingLoop, spins: Spins, sites: list[int]) -> tuple[FloatArray, FloatArray]:
    """Return couplings among the sites, (n_slices, n_pairs), and fields of all others on them."""
    order = {pair: k for k, pair in enumerate(itertools.combinations(range(len(sites)), 2))}
    place = {site: k for k, site in enumerate(sites)}
    t = loop.physical
    among = np.zeros((len(t), len(order)))
    outside = np.broadcast_to(loop.fields[t][:, sites], (*spins.shape[:2], len(sites))).copy()
    for b, (i, j) in enumerate(loop.bonds):
        first, second = place.get(int(i)), place.get(int(j))
        if first is not None and second is not None:
            among[:, order[min(first, second), max(first, second)]] += loop.spatial[t, b]
        elif first is not None:
            outside[:, :, first] += loop.spatial[t, b] * spins[:, :, j]
        elif second is not None:
            outside[:, :, second] += loop.spatial[t, b] * spins[:, :, i]
    return among, outside


def _pairs(s: FloatArray) -> FloatArray:
    return np.array([s[i] * s[j] for i, j in itertools.combinations(range(len(s)), 2)])
