"""The second-order gradient expansion of slowly varying densities."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kakehashi_nnxc.exact_conditions.condition import Condition
from kakehashi_nnxc.exact_conditions.mesh import Mesh, Points
from kakehashi_nnxc.pointwise_energy import FloatArray, PointwiseEnergy, local_exchange

EXCHANGE_COEFFICIENT = 10.0 / 81.0
"""P. R. Antoniewicz, L. Kleinman, Phys. Rev. B 31, 6779 (1985)."""

CORRELATION_COEFFICIENT = 0.066725
"""S.-K. Ma, K. A. Brueckner, Phys. Rev. 165, 18 (1968), at high density; the number as in J. P. Perdew, K.
Burke, M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996)."""

ALPHA_STEP = 1e-3
LOGARITHMIC_STEP = 1e-2

Energy = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
"""Energy per electron of the closed shell as a function of r_s, s and alpha."""


def _exchange(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    del mesh
    rs = np.array([0.5, 1.0, 2.0])
    found = _coefficient(lambda r, s, a: energy.exchange(r, 0.0, s, a), rs, step=1e-3)
    expected = EXCHANGE_COEFFICIENT * local_exchange(rs)
    return np.abs(found / expected - 1.0), {"seitz_radius": rs}


def _correlation(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    del mesh
    rs = np.array([0.01, 0.02, 0.04])
    found = _coefficient(
        lambda r, s, a: energy(r, 0.0, s, a) - energy.exchange(r, 0.0, s, a), rs, step=1e-5
    )
    # t^2 = (3 pi^2/16)^(2/3) p/r_s
    expected = CORRELATION_COEFFICIENT * (3.0 * np.pi**2 / 16.0) ** (2.0 / 3.0) / rs
    return np.abs(found / expected - 1.0), {"seitz_radius": rs}


exchange_gradient = Condition(
    name="exchange-gradient",
    title="second-order gradient expansion of exchange, 10/81",
    tolerance=1e-2,
    violation=_exchange,
    needs_exchange=True,
)

correlation_gradient = Condition(
    name="correlation-gradient",
    title="second-order gradient expansion of correlation at high density, 0.0667",
    tolerance=2e-2,
    violation=_correlation,
    needs_exchange=True,
)


def _coefficient(energy: Energy, rs: FloatArray, *, step: float) -> FloatArray:
    """Return c in e = e_uniform + c p for slowly varying densities.

    There alpha - 1 = -(40/27) p + (20/9) q, with q the reduced Laplacian, since
    tau = tau_unif + tau_W/9 + (Laplacian of n)/6. Integration by parts of the term in q, weight
    A(r_s) = de/dalpha, gives p (2 A + r_s A')/3, so that c = de/dp + (20/27) r_s dA/dr_s.

    Args:
        energy: Energy per electron.
        rs: (n_points,), bohr.
        step: Step of p.

    Source:
        Own derivation, tested with PBE, TPSS and r2SCAN.
    """
    one = np.ones_like(rs)

    def by_p(h: float) -> FloatArray:
        return (energy(rs, math.sqrt(h) * one, one) - energy(rs, 0.0 * one, one)) / h

    def by_alpha(r: FloatArray) -> FloatArray:
        above, below = (energy(r, 0.0 * one, (1.0 + h) * one) for h in (ALPHA_STEP, -ALPHA_STEP))
        return (above - below) / (2.0 * ALPHA_STEP)

    slope = 2.0 * by_p(0.5 * step) - by_p(step)
    ratio = math.exp(LOGARITHMIC_STEP)
    by_radius = (by_alpha(rs * ratio) - by_alpha(rs / ratio)) / (2.0 * LOGARITHMIC_STEP)
    return slope + (20.0 / 27.0) * by_radius
