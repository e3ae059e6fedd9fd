"""Compiled Monte Carlo of small periodic systems: every particle sees every other, no lists.

Positions are (n_chains, n, dimension) inside a cubic or square box; cutoffs must not exceed half its edge.
"""

# numba's decorator is untyped, and its functions have no annotations: the types are those of the arguments.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

import math

import numba

from kakehashi_botan.pair_kernels import FAST_MATH


@numba.njit(cache=True, error_model="numpy", fastmath=FAST_MATH, inline="always")
def _pair(square, terms, a, b):
    """Energy of a pair at this squared distance; ``terms`` as in ``pair_potential.term_table``."""
    if square >= terms[2, a, b]:
        return 0.0
    sixth = 1.0 / (square * square * square)
    energy = (terms[0, a, b] * sixth - terms[1, a, b]) * sixth - terms[4, a, b]
    if terms[3, a, b] != 0.0:
        energy -= terms[3, a, b] * math.sqrt(square)
    return energy


@numba.njit(cache=True, error_model="numpy", fastmath=FAST_MATH)
def _particle_energy(x, i, where, kind, types, terms, edge):
    """Energy of particle ``i``, were it at ``where`` and of this kind."""
    total = 0.0
    for j in range(x.shape[0]):
        if j == i:
            continue
        square = 0.0
        for k in range(x.shape[1]):
            d = where[k] - x[j, k]
            d -= edge * math.floor(d / edge + 0.5)
            square += d * d
        total += _pair(square, terms, kind, types[j])
    return total


@numba.njit(cache=True, error_model="numpy")
def write_energies(positions, types, terms, edge, energies):
    """Write the potential energy of every chain; ``types`` is (n,)."""
    for c in range(positions.shape[0]):
        total = 0.0
        for i in range(positions.shape[1]):
            total += _particle_energy(
                positions[c], i, positions[c, i], types[i], types, terms, edge
            )
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
    old, new = positions[0, 0].copy(), positions[0, 0].copy()
    for c in range(n_chains):
        x = positions[c]
        for _ in range(n):
            if swaps > 0.0 and rng.random() < swaps:
                i, j = int(n * rng.random()), int(n * rng.random())
                if types[i] == types[j]:
                    continue
                accepted[c, 3] += 1
                before = _particle_energy(x, i, x[i], types[i], types, terms, edge)
                before += _particle_energy(x, j, x[j], types[j], types, terms, edge)
                for k in range(dimension):
                    old[k] = x[i, k]
                    x[i, k] = x[j, k]
                    x[j, k] = old[k]
                after = _particle_energy(x, i, x[i], types[i], types, terms, edge)
                after += _particle_energy(x, j, x[j], types[j], types, terms, edge)
                # The pair itself is counted twice on both sides, with the same energy.
                change = after - before
                if change <= 0.0 or rng.random() < math.exp(-betas[c] * change):
                    energies[c] += change
                    accepted[c, 1] += 1
                else:
                    for k in range(dimension):
                        old[k] = x[i, k]
                        x[i, k] = x[j, k]
                        x[j, k] = old[k]
                continue
            i = int(n * rng.random())
            accepted[c, 2] += 1
            for k in range(dimension):
                shifted = x[i, k] + steps[c] * (2.0 * rng.random() - 1.0)
                new[k] = shifted - edge * math.floor(shifted / edge)
            change = _particle_energy(x, i, new, types[i], types, terms, edge)
            change -= _particle_energy(x, i, x[i], types[i], types, terms, edge)
            if change <= 0.0 or rng.random() < math.exp(-betas[c] * change):
                energies[c] += change
                accepted[c, 0] += 1
                for k in range(dimension):
                    x[i, k] = new[k]
