"""Cluster updates of the loop of an Ising machine, compiled.

Source:
    R. H. Swendsen, J.-S. Wang, Phys. Rev. Lett. 58, 86 (1987); a ghost spin stands for longitudinal fields.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from kakehashi_core.chains import ChainState, Kernel, Step
from kakehashi_dbm.ising_loop import IsingLoop

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Spins = npt.NDArray[np.int8]


class ClusterUpdate(Kernel):
    """Swendsen-Wang updates of the whole loop; every one is accepted.

    Args:
        loop: Couplings.
        times: Updates of a step.
    """

    def __init__(self, loop: IsingLoop, *, times: int = 1) -> None:
        self._loop, self._times = loop, times
        # Probability that a satisfied coupling links its ends.
        self._spatial = -np.expm1(-2.0 * np.abs(loop.spatial))
        self._temporal = -np.expm1(-2.0 * np.abs(loop.temporal))
        self._fields = -np.expm1(-2.0 * np.abs(loop.fields))

    def start(self, positions: Spins) -> ChainState:
        """See the base class; positions are (n_chains, n_slices, n_sites)."""
        return ChainState(positions, self._loop.log_weight(positions))

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """See the base class."""
        loop = self._loop
        spins = np.array(state.positions, dtype=np.int8, order="C")
        n_chains, n_slices, n_sites = spins.shape
        n_bonds = len(loop.bonds)
        n_links = n_slices * (n_bonds + 2 * n_sites)
        for _ in range(self._times):
            for chain in range(n_chains):
                numbers = rng.random(n_links + n_slices * n_sites, dtype=np.float32)
                _update(
                    spins[chain],
                    loop.bonds,
                    loop.spatial,
                    self._spatial,
                    loop.temporal,
                    self._temporal,
                    loop.fields,
                    self._fields,
                    numbers,
                )
        everyone = np.ones(n_chains, dtype=bool)
        return Step(ChainState(spins, loop.log_weight(spins)), everyone, everyone)


def random_loops(loop: IsingLoop, rng: np.random.Generator, n_chains: int) -> Spins:
    """Return starts that are the same in every slice, (n_chains, n_slices, n_sites)."""
    first = rng.choice(np.array([-1, 1], dtype=np.int8), size=(n_chains, 1, loop.n_sites))
    return np.repeat(first, loop.n_slices, axis=1)


def _compiled(function: Any) -> Any:
    return njit(cache=True)(function)


@_compiled
def _root(parents: IntArray, unit: int) -> int:
    while parents[unit] != unit:
        parents[unit] = parents[parents[unit]]
        unit = parents[unit]
    return unit


@_compiled
def _join(parents: IntArray, first: int, second: int) -> None:
    a, b = _root(parents, first), _root(parents, second)
    if a < b:
        parents[b] = a
    else:
        parents[a] = b


@_compiled
def _update(
    spins: Spins,
    bonds: IntArray,
    spatial: FloatArray,
    spatial_links: FloatArray,
    temporal: FloatArray,
    temporal_links: FloatArray,
    fields: FloatArray,
    field_links: FloatArray,
    numbers: npt.NDArray[Any],
) -> None:
    n_slices, n_sites = spins.shape
    ghost = n_slices * n_sites
    parents = np.arange(ghost + 1)
    used = 0
    for t in range(n_slices):
        later = (t + 1) % n_slices
        for b in range(bonds.shape[0]):
            i, j = bonds[b, 0], bonds[b, 1]
            if (
                spatial[t, b] * spins[t, i] * spins[t, j] > 0.0
                and numbers[used] < spatial_links[t, b]
            ):
                _join(parents, t * n_sites + i, t * n_sites + j)
            used += 1
        for i in range(n_sites):
            if (
                temporal[t, i] * spins[t, i] * spins[later, i] > 0.0
                and numbers[used] < temporal_links[t, i]
            ):
                _join(parents, t * n_sites + i, later * n_sites + i)
            used += 1
        for i in range(n_sites):
            if fields[t, i] * spins[t, i] > 0.0 and numbers[used] < field_links[t, i]:
                _join(parents, t * n_sites + i, ghost)
            used += 1
    fixed = _root(parents, ghost)
    for t in range(n_slices):
        for i in range(n_sites):
            root = _root(parents, t * n_sites + i)
            # One number for each root; a root is the smallest unit of its cluster.
            if root != fixed and numbers[used + root] < 0.5:
                spins[t, i] = -spins[t, i]
