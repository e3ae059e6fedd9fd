"""Compiled evaluation of a transport field.

Radial functions are piecewise polynomials of degree five on a fine mesh, with the value and two derivatives
of the functions they stand for at every node: twice continuously differentiable, so that velocity and
divergence belong to the same smooth field to rounding.
"""

# numba's decorator is untyped, and its functions have no annotations: the types are those of the arguments.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

import math

import numba
import numpy as np

from kakehashi_botan.pair_kernels import FAST_MATH


@numba.njit(cache=True, error_model="numpy", fastmath=FAST_MATH)
def write_field(
    positions, types, edge, step, pair_table, vector_table, strengths, velocity, divergence
):
    """Write velocities and divergences.

    Args:
        positions: (n_samples, n, dimension).
        types: Species, (n,).
        edge: Of the box.
        step: Of the mesh of distances, which starts at zero; functions are zero beyond it.
        pair_table: Coefficients of psi', (n_species, n_species, n_cells, 6), in the place within a cell.
        vector_table: Coefficients of q, (n_species, n_species, n_cells, 6, n_vectors).
        strengths: c of each particle, (n, n_vectors, n_vectors), symmetric.
        velocity: Output, (n_samples, n, dimension).
        divergence: Output, (n_samples,).
    """
    n_samples, n, dimension = positions.shape
    n_cells, n_vectors = pair_table.shape[2], vector_table.shape[4]
    # Pairs within reach, each once, and what they have in common.
    first, second = np.empty(n * n, dtype=np.int64), np.empty(n * n, dtype=np.int64)
    units = np.empty((n * n, dimension))
    along, across = np.empty((n * n, n_vectors)), np.empty((n * n, n_vectors))
    p, bend = np.empty((n, dimension, n_vectors)), np.empty((n, dimension, n_vectors))
    weighted = np.empty((n, dimension, n_vectors))
    own = np.empty((n, dimension, dimension, n_vectors))
    others = np.empty((n, n_vectors, n_vectors))
    u, slopes, turns = np.empty(dimension), np.empty(n_vectors), np.empty(n_vectors)
    per_step = 1.0 / step
    for sample in range(n_samples):
        x, v = positions[sample], velocity[sample]
        v[:] = 0.0
        p[:] = 0.0
        bend[:] = 0.0
        own[:] = 0.0
        others[:] = 0.0
        total = 0.0
        n_pairs = 0
        for i in range(n):
            for j in range(i):
                square = 0.0
                for k in range(dimension):
                    d = x[i, k] - x[j, k]
                    d -= edge * np.floor(d / edge + 0.5)
                    u[k] = d
                    square += d * d
                r = math.sqrt(square)
                cell = int(r * per_step)
                if cell >= n_cells:
                    continue
                inverse = 1.0 / r
                for k in range(dimension):
                    u[k] *= inverse
                    units[n_pairs, k] = u[k]
                t = r * per_step - cell
                c = pair_table[types[i], types[j], cell]
                slope = ((((c[5] * t + c[4]) * t + c[3]) * t + c[2]) * t + c[1]) * t + c[0]
                rise = (((5.0 * c[5] * t + 4.0 * c[4]) * t + 3.0 * c[3]) * t + 2.0 * c[2]) * t + c[
                    1
                ]
                for k in range(dimension):
                    v[i, k] += slope * u[k]
                    v[j, k] -= slope * u[k]
                total += 2.0 * (rise * per_step + (dimension - 1) * slope * inverse)
                a = vector_table[types[i], types[j], cell]
                for m in range(n_vectors):
                    q = (
                        (((a[5, m] * t + a[4, m]) * t + a[3, m]) * t + a[2, m]) * t + a[1, m]
                    ) * t + a[0, m]
                    q1 = (
                        ((5.0 * a[5, m] * t + 4.0 * a[4, m]) * t + 3.0 * a[3, m]) * t
                        + 2.0 * a[2, m]
                    ) * t + a[1, m]
                    q2 = ((20.0 * a[5, m] * t + 12.0 * a[4, m]) * t + 6.0 * a[3, m]) * t + 2.0 * a[
                        2, m
                    ]
                    q1 *= per_step
                    q2 *= per_step * per_step
                    w = q * inverse
                    along[n_pairs, m] = q1 - w
                    across[n_pairs, m] = w
                    slopes[m], turns[m] = q1, w
                    curvature = q2 + (dimension - 1) * (q1 - w) * inverse
                    for k in range(dimension):
                        p[i, k, m] += q * u[k]
                        p[j, k, m] -= q * u[k]
                        bend[i, k, m] += curvature * u[k]
                        bend[j, k, m] -= curvature * u[k]
                        own[i, k, k, m] += w
                        own[j, k, k, m] += w
                        for other in range(k + 1):
                            product = (q1 - w) * u[k] * u[other]
                            own[i, k, other, m] += product
                            own[j, k, other, m] += product
                for m in range(n_vectors):
                    for o in range(m + 1):
                        product = slopes[m] * slopes[o] + (dimension - 1) * turns[m] * turns[o]
                        others[i, m, o] += product
                        others[j, m, o] += product
                first[n_pairs], second[n_pairs] = i, j
                n_pairs += 1
        weighted[:] = 0.0
        for i in range(n):
            for m in range(n_vectors):
                for o in range(n_vectors):
                    strength = strengths[i, m, o]
                    laplacian = others[i, max(m, o), min(m, o)]
                    for k in range(dimension):
                        laplacian += 2.0 * p[i, k, m] * bend[i, k, o]
                        weighted[i, k, m] += strength * p[i, k, o]
                        laplacian += own[i, k, k, m] * own[i, k, k, o]
                        for other in range(k):
                            laplacian += 2.0 * own[i, k, other, m] * own[i, k, other, o]
                    total += strength * laplacian
        for pair in range(n_pairs):
            i, j = first[pair], second[pair]
            # Of the unit vector from j to i, which is turned around for the vectors of j.
            for k in range(dimension):
                u[k] = units[pair, k]
            radial = 0.0
            for m in range(n_vectors):
                projection = 0.0
                for k in range(dimension):
                    projection += (weighted[i, k, m] - weighted[j, k, m]) * u[k]
                radial += along[pair, m] * projection
            for k in range(dimension):
                force = radial * u[k]
                for m in range(n_vectors):
                    force += across[pair, m] * (weighted[i, k, m] - weighted[j, k, m])
                v[i, k] += force
                v[j, k] -= force
        divergence[sample] = total
