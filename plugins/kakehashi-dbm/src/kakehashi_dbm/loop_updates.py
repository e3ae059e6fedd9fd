"""Loop updates of world lines, compiled.

Each gate breaks up into two lines, by weights that make every configuration as likely as it should be; the
loops that form are turned over independently.

Source:
    H. G. Evertz, Adv. Phys. 52, 1 (2003), for the loop algorithm; the breakup weights of each gate follow
    from its three weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from kakehashi_core.chains import ChainState, Kernel, Step
from kakehashi_dbm.world_lines import KEPT, PARALLEL, SWAPPED, WorldLines

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Spins = npt.NDArray[np.int8]

VERTICAL, HORIZONTAL, DIAGONAL, FROZEN = 0, 1, 2, 3
"""Which legs a breakup joins: each site's own, both sites at one time, crosswise, or all four."""


class LoopUpdate(Kernel):
    """Loop updates of all world lines; in a field along z loops turn over by heat bath.

    Args:
        lines: Gates and their weights.
        times: Updates of a step.
        conserve: Never turn over loops that change the magnetization: for a fixed number of spins up.
    """

    def __init__(self, lines: WorldLines, *, times: int = 1, conserve: bool = False) -> None:
        self._lines, self._times, self._conserve = lines, times, conserve
        self._breakups = np.cumsum(breakup_probabilities(lines.gate_weights()), axis=2)
        self._conserved = np.zeros(lines.n_pieces)
        self._conserved[lines.boundaries[0]] = 1.0

    def start(self, positions: Spins) -> ChainState:
        """See the base class; positions are (n_chains, n_pieces)."""
        return ChainState(positions, self._lines.log_weight(positions))

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """See the base class."""
        lines = self._lines
        pieces = np.array(state.positions, dtype=np.int8, order="C")
        n_gates = len(lines.bond_of)
        for _ in range(self._times):
            kinds = lines.kinds(pieces)
            for chain in range(len(pieces)):
                _update(
                    pieces[chain],
                    kinds[chain],
                    lines.before,
                    self._breakups,
                    lines.fields,
                    self._conserved,
                    self._conserve,
                    rng.random(n_gates),
                    rng.random(lines.n_pieces),
                )
        everyone = np.ones(len(pieces), dtype=bool)
        return Step(ChainState(pieces, lines.log_weight(pieces)), everyone, everyone)


def straight_lines(lines: WorldLines, spins: npt.ArrayLike) -> Spins:
    """Return world lines that never move, (n_chains, n_pieces).

    Args:
        lines: Gates.
        spins: +1 and -1, (n_chains, n_sites).
    """
    s = np.asarray(spins, dtype=np.int8)
    sites = lines.model.bonds[lines.bond_of].ravel()
    return np.asarray(s[:, sites])


def breakup_probabilities(weights: FloatArray) -> FloatArray:
    """Return probabilities of the four breakups in each of the three states, (n_gates, 3, 4).

    Args:
        weights: Of parallel, kept and swapped, (n_gates, 3).
    """
    w1, w2, w3 = weights.T
    v, h, d = (w1 + w2 - w3) / 2.0, (w2 + w3 - w1) / 2.0, (w1 + w3 - w2) / 2.0
    frozen_kept, frozen_parallel = np.maximum(-2.0 * d, 0.0), np.maximum(-2.0 * h, 0.0)
    # Beyond the easy plane one of the three would be negative: freeze the difference.
    v = np.where(d < 0.0, w1, np.where(h < 0.0, w2, v))
    h, d = np.where(d < 0.0, w3, np.maximum(h, 0.0)), np.where(h < 0.0, w3, np.maximum(d, 0.0))
    found = np.zeros((len(weights), 3, 4))
    found[:, PARALLEL, VERTICAL], found[:, PARALLEL, DIAGONAL] = v / w1, d / w1
    found[:, PARALLEL, FROZEN] = frozen_parallel / w1
    found[:, KEPT, VERTICAL], found[:, KEPT, HORIZONTAL] = v / w2, h / w2
    found[:, KEPT, FROZEN] = frozen_kept / w2
    found[:, SWAPPED, HORIZONTAL], found[:, SWAPPED, DIAGONAL] = h / w3, d / w3
    return found


def _compiled(function: Any) -> Any:
    return njit(cache=True)(function)


@_compiled
def _root(parents: IntArray, piece: int) -> int:
    while parents[piece] != piece:
        parents[piece] = parents[parents[piece]]
        piece = parents[piece]
    return piece


@_compiled
def _join(parents: IntArray, first: int, second: int) -> None:
    a, b = _root(parents, first), _root(parents, second)
    if a < b:
        parents[b] = a
    else:
        parents[a] = b


@_compiled
def _update(
    pieces: Spins,
    kinds: IntArray,
    before: IntArray,
    breakups: FloatArray,
    fields: FloatArray,
    conserved: FloatArray,
    conserve: bool,
    numbers: FloatArray,
    coins: FloatArray,
) -> None:
    n_gates = len(kinds)
    parents = np.arange(2 * n_gates)
    for g in range(n_gates):
        chances = breakups[g, kinds[g]]
        a, b, c, d = 2 * g, 2 * g + 1, before[g, 0], before[g, 1]
        if numbers[g] < chances[0]:
            _join(parents, a, c)
            _join(parents, b, d)
        elif numbers[g] < chances[1]:
            _join(parents, a, b)
            _join(parents, c, d)
        elif numbers[g] < chances[2]:
            _join(parents, a, d)
            _join(parents, b, c)
        else:
            _join(parents, a, b)
            _join(parents, a, c)
            _join(parents, a, d)
    # Energy in the field, and magnetization, of each loop as it is.
    total = np.zeros(2 * n_gates)
    charge = np.zeros(2 * n_gates)
    for p in range(2 * n_gates):
        root = _root(parents, p)
        total[root] += fields[p] * pieces[p]
        charge[root] += conserved[p] * pieces[p]
    for p in range(2 * n_gates):
        root = _root(parents, p)
        if conserve and charge[root] != 0.0:
            continue
        if coins[root] * (1.0 + np.exp(2.0 * total[root])) < 1.0:
            pieces[p] = -pieces[p]
