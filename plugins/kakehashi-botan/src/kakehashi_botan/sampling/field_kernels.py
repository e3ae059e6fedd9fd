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
    unit = np.empty((n, n, dimension))
    near = np.empty((n, n), dtype=np.bool_)
    along, across = np.empty((n, n, n_vectors)), np.empty((n, n, n_vectors))
    p, bend = np.empty((n, dimension, n_vectors)), np.empty((n, dimension, n_vectors))
    own, others = (
        np.empty((n, dimension, dimension, n_vectors)),
        np.empty((n, n_vectors, n_vectors)),
    )
    weighted, slopes = np.empty((dimension, n_vectors)), np.empty(n_vectors)
    for sample in range(n_samples):
        x, v = positions[sample], velocity[sample]
        v[:] = 0.0
        p[:] = 0.0
        bend[:] = 0.0
        own[:] = 0.0
        others[:] = 0.0
        total = 0.0
        for i in range(n):
            for j in range(n):
                near[i, j] = False
                if j == i:
                    continue
                square = 0.0
                for k in range(dimension):
                    d = x[i, k] - x[j, k]
                    d -= edge * math.floor(d / edge + 0.5)
                    unit[i, j, k] = d
                    square += d * d
                r = math.sqrt(square)
                cell = int(r / step)
                if cell >= n_cells:
                    continue
                near[i, j] = True
                inverse = 1.0 / r
                for k in range(dimension):
                    unit[i, j, k] *= inverse
                t = r / step - cell
                c = pair_table[types[i], types[j], cell]
                slope = ((((c[5] * t + c[4]) * t + c[3]) * t + c[2]) * t + c[1]) * t + c[0]
                rise = (((5.0 * c[5] * t + 4.0 * c[4]) * t + 3.0 * c[3]) * t + 2.0 * c[2]) * t + c[
                    1
                ]
                for k in range(dimension):
                    v[i, k] += slope * unit[i, j, k]
                total += rise / step + (dimension - 1) * slope * inverse
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
                    q1 /= step
                    q2 /= step * step
                    w = q * inverse
                    along[i, j, m] = q1 - w
                    across[i, j, m] = w
                    slopes[m] = q1
                    curvature = q2 + (dimension - 1) * (q1 - w) * inverse
                    for k in range(dimension):
                        p[i, k, m] += q * unit[i, j, k]
                        bend[i, k, m] += curvature * unit[i, j, k]
                        own[i, k, k, m] += w
                        for other in range(dimension):
                            own[i, k, other, m] += (q1 - w) * unit[i, j, k] * unit[i, j, other]
                for m in range(n_vectors):
                    for o in range(m + 1):
                        others[i, m, o] += (
                            slopes[m] * slopes[o]
                            + (dimension - 1) * across[i, j, m] * across[i, j, o]
                        )
        for i in range(n):
            weighted[:] = 0.0
            for m in range(n_vectors):
                for o in range(n_vectors):
                    strength = strengths[i, m, o]
                    laplacian = others[i, max(m, o), min(m, o)]
                    for k in range(dimension):
                        laplacian += 2.0 * p[i, k, m] * bend[i, k, o]
                        weighted[k, m] += strength * p[i, k, o]
                        for other in range(dimension):
                            laplacian += own[i, k, other, m] * own[i, k, other, o]
                    total += strength * laplacian
            for j in range(n):
                if not near[i, j]:
                    continue
                radial = 0.0
                for m in range(n_vectors):
                    projection = 0.0
                    for k in range(dimension):
                        projection += weighted[k, m] * unit[i, j, k]
                    radial += along[i, j, m] * projection
                for k in range(dimension):
                    force = radial * unit[i, j, k]
                    for m in range(n_vectors):
                        force += across[i, j, m] * weighted[k, m]
                    v[i, k] += force
                    v[j, k] -= force
        divergence[sample] = total
