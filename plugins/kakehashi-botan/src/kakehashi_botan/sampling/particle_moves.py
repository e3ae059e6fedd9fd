"""Compiled Monte Carlo of small periodic systems: every particle sees every other, no lists.

Positions are (n_chains, n, dimension) inside a cubic or square box; cutoffs must not exceed half its edge.
"""

# numba's decorator is untyped, and its functions have no annotations: the types are those of the arguments.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

import math

import numba
import numpy as np

from kakehashi_botan.pair_kernels import FAST_MATH

WIDTH = 16
"""Rows of particles are filled up to a multiple of this, the stride of a compiled loop over them."""


@numba.njit(cache=True, error_model="numpy")
def _rows(types, terms):
    """Return ``pair_potential.term_table`` by kind of one particle and number of the other.

    Shape (kinds, 5, width); numbers beyond the last particle have a cutoff of zero.
    """
    n = len(types)
    rows = np.zeros((terms.shape[1], terms.shape[0], (n + WIDTH - 1) // WIDTH * WIDTH))
    for a in range(terms.shape[1]):
        for k in range(terms.shape[0]):
            for j in range(n):
                rows[a, k, j] = terms[k, a, types[j]]
    return rows


@numba.njit(cache=True, error_model="numpy", fastmath=FAST_MATH)
def _particle_energy(x, i, a, b, c, row, edge):
    """Energy of particle ``i``, were it at (a, b) or (a, b, c); ``row`` is that of its kind.

    ``x`` is (dimension, width). No branch depends on a distance, the dimension is written out, and rows are
    filled up: compilers make vectors of these loops.
    """
    inverse = 1.0 / edge
    total = 0.0
    if x.shape[0] == 2:
        for j in range(x.shape[1]):
            p, q = a - x[0, j], b - x[1, j]
            p -= edge * np.floor(p * inverse + 0.5)
            q -= edge * np.floor(q * inverse + 0.5)
            square = p * p + q * q
            inside = (square < row[2, j]) & (j != i)
            square = square if inside else 1.0
            sixth = 1.0 / (square * square * square)
            energy = (row[0, j] * sixth - row[1, j]) * sixth - row[4, j]
            energy -= row[3, j] * np.sqrt(square)
            total += energy if inside else 0.0
    else:
        for j in range(x.shape[1]):
            p, q, r = a - x[0, j], b - x[1, j], c - x[2, j]
            p -= edge * np.floor(p * inverse + 0.5)
            q -= edge * np.floor(q * inverse + 0.5)
            r -= edge * np.floor(r * inverse + 0.5)
            square = p * p + q * q + r * r
            inside = (square < row[2, j]) & (j != i)
            square = square if inside else 1.0
            sixth = 1.0 / (square * square * square)
            energy = (row[0, j] * sixth - row[1, j]) * sixth - row[4, j]
            energy -= row[3, j] * np.sqrt(square)
            total += energy if inside else 0.0
    return total


@numba.njit(cache=True, error_model="numpy")
def _present_energy(x, i, types, rows, edge):
    """Energy of particle ``i`` where it is."""
    last = x.shape[0] - 1
    return _particle_energy(x, i, x[0, i], x[1, i], x[last, i], rows[types[i]], edge)


@numba.njit(cache=True, error_model="numpy")
def _exchange(x, i, j):
    for k in range(x.shape[0]):
        x[k, i], x[k, j] = x[k, j], x[k, i]


@numba.njit(cache=True, error_model="numpy")
def write_energies(positions, types, terms, edge, energies):
    """Write the potential energy of every chain; ``types`` is (n,)."""
    n_chains, n, dimension = positions.shape
    rows = _rows(types, terms)
    x = np.zeros((dimension, rows.shape[2]))
    for c in range(n_chains):
        x[:, :n] = positions[c].T
        total = 0.0
        for i in range(n):
            total += _present_energy(x, i, types, rows, edge)
        energies[c] = 0.5 * total


@numba.njit(cache=True, error_model="numpy")
def sweep(positions, types, terms, edge, betas, steps, swaps, energies, rng, accepted):
    """Try as many moves as there are particles in every chain, in place.

    A move displaces a random particle by up to ``steps[c]`` in each direction, or, with probability
    ``swaps``, exchanges the places of two particles of different kinds.

    Args:
        positions: (n_chains, n, dimension), wrapped into the box afterwards.
        types: (n,), the same for all chains.
        terms: ``pair_potential.term_table`` of the mixture.
        edge: Of the box.
        betas: Inverse temperature of each chain.
        steps: Largest displacement of each chain.
        swaps: Probability of an exchange.
        energies: Of each chain, kept up to date.
        rng: numpy Generator.
        accepted: (n_chains, 2), displacements and exchanges that were accepted, counted up; and tried, in
            (n_chains, 2:).
    """
    n_chains, n, dimension = positions.shape
    rows = _rows(types, terms)
    x = np.zeros((dimension, rows.shape[2]))
    new = np.zeros(3)
    for c in range(n_chains):
        x[:, :n] = positions[c].T
        for _ in range(n):
            if swaps > 0.0 and rng.random() < swaps:
                i, j = int(n * rng.random()), int(n * rng.random())
                if types[i] == types[j]:
                    continue
                accepted[c, 3] += 1
                before = _present_energy(x, i, types, rows, edge)
                before += _present_energy(x, j, types, rows, edge)
                _exchange(x, i, j)
                after = _present_energy(x, i, types, rows, edge)
                after += _present_energy(x, j, types, rows, edge)
                # The pair itself is counted twice on both sides, with the same energy.
                change = after - before
                if change <= 0.0 or rng.random() < math.exp(-betas[c] * change):
                    energies[c] += change
                    accepted[c, 1] += 1
                else:
                    _exchange(x, i, j)
                continue
            i = int(n * rng.random())
            accepted[c, 2] += 1
            for k in range(dimension):
                shifted = x[k, i] + steps[c] * (2.0 * rng.random() - 1.0)
                new[k] = shifted - edge * math.floor(shifted / edge)
            last = new[dimension - 1]
            change = _particle_energy(x, i, new[0], new[1], last, rows[types[i]], edge)
            change -= _present_energy(x, i, types, rows, edge)
            if change <= 0.0 or rng.random() < math.exp(-betas[c] * change):
                energies[c] += change
                accepted[c, 0] += 1
                for k in range(dimension):
                    x[k, i] = new[k]
        positions[c] = x[:, :n].T
