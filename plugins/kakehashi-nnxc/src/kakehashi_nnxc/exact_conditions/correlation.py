"""Conditions on correlation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kakehashi_nnxc.exact_conditions.condition import Condition, condition_on_mesh
from kakehashi_nnxc.exact_conditions.mesh import Mesh, Points
from kakehashi_nnxc.exact_conditions.sample import Sample
from kakehashi_nnxc.pointwise_energy import FloatArray, PointwiseEnergy

LOGARITHMIC_STEP = 1e-3


@condition_on_mesh(
    "negative-correlation", "e_c <= 0", tolerance=1e-6, unit="hartree", needs_exchange=True
)
def negative_correlation(at: Sample) -> FloatArray:
    """Return e_c.

    Source:
        The variational principle: E_c <= 0.
    """
    return at.correlation()


def _one_electron(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    # Without a gradient there is no one-electron density, and TPSS has no limit there.
    gradients = tuple(s for s in mesh.gradients if s) or 1.0
    points = mesh.points(energy.family, polarization=1.0, alpha=0.0, gradient=gradients)
    return np.abs(Sample(energy, points).correlation()), points


one_electron = Condition(
    name="one-electron",
    title="no correlation in one-electron densities (full polarization, alpha = 0)",
    unit="hartree",
    tolerance=1e-6,
    violation=_one_electron,
    needs_exchange=True,
)


@condition_on_mesh(
    "scaling-inequality",
    "d(r_s |e_c|)/d r_s >= 0: E_c[n_g] >= g E_c[n] for g >= 1",
    tolerance=1e-5,
    unit="hartree",
)
def scaling_inequality(at: Sample) -> FloatArray:
    """Differentiate r_s e_xc: r_s e_x does not depend on r_s, so no separation is needed.

    Source:
        M. Levy, J. P. Perdew, Phys. Rev. A 32, 2010 (1985), in the local form of R. Pederson, K. Burke,
        arXiv:2303.01766 (2023).
    """
    slope = _by_logarithm(lambda moved: moved["seitz_radius"] * moved.energy(), at)
    return slope / at["seitz_radius"]


@condition_on_mesh(
    "monotonic-correlation",
    "d|e_c|/d ln r_s <= 0: correlation grows with the density (conjecture T_c <= -E_c)",
    tolerance=1e-5,
    unit="hartree",
    needs_exchange=True,
)
def monotonic_correlation(at: Sample) -> FloatArray:
    """Differentiate e_c.

    Source:
        The local form of a conjecture, R. Pederson, K. Burke, arXiv:2303.01766 (2023).
    """
    return -_by_logarithm(Sample.correlation, at)


def _by_logarithm(function: Callable[[Sample], FloatArray], at: Sample) -> FloatArray:
    """Differentiate by ln r_s."""
    larger, smaller = (
        function(at.moved(seitz_radius=at["seitz_radius"] * math.exp(step)))
        for step in (LOGARITHMIC_STEP, -LOGARITHMIC_STEP)
    )
    return (larger - smaller) / (2.0 * LOGARITHMIC_STEP)
