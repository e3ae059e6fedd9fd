"""Conditions on exchange."""

from __future__ import annotations

import math

import numpy as np

from kakehashi_nnxc.exact_conditions.condition import condition_on_mesh
from kakehashi_nnxc.exact_conditions.sample import Sample
from kakehashi_nnxc.pointwise_energy import EMPTY_CHANNEL, HIGH_DENSITY, FloatArray

BOUND = 1.804
"""2.273/2^(1/3): then exchange of full polarization keeps to ``whole_energy.LIEB_OXFORD`` as well."""


@condition_on_mesh(
    "exchange-limit",
    "high density: e_xc scales like exchange, correlation is negligible",
    tolerance=1e-4,
)
def exchange_limit(at: Sample) -> FloatArray:
    """Compare the limit with its value before the end.

    Source:
        M. Levy, J. P. Perdew, Phys. Rev. A 32, 2010 (1985): uniform scaling of exchange.
    """
    return np.abs(at.in_local_exchange(at.exchange(scaling=0.1 * HIGH_DENSITY) - at.exchange()))


@condition_on_mesh(
    "spin-scaling",
    "E_x[n_a, n_b] = (E_x[2 n_a] + E_x[2 n_b])/2",
    tolerance=1e-5,
    needs_exchange=True,
)
def spin_scaling(at: Sample) -> FloatArray:
    """Compare with two closed shells.

    Source:
        G. L. Oliver, J. P. Perdew, Phys. Rev. A 20, 397 (1979).
    """
    zeta = at["polarization"]
    scaled = np.zeros_like(zeta)
    for z in (zeta, -zeta):
        # The density 2 n_s has the same relative gradient: s grows as the density falls.
        share = np.maximum(1.0 + z, 2.0 * EMPTY_CHANNEL)
        stretch = share ** (-1.0 / 3.0)
        channel = at.moved(
            polarization=np.zeros_like(zeta),
            seitz_radius=at["seitz_radius"] * stretch,
            gradient=at["gradient"] * stretch,
        )
        scaled += 0.5 * share * channel.exchange()
    return np.abs(at.in_local_exchange(at.exchange() - scaled))


@condition_on_mesh(
    "exchange-bound",
    "F_x <= 1.804 for closed shells, sufficient for the Lieb-Oxford bound",
    tolerance=1e-6,
    needs_exchange=True,
    polarization=0.0,
)
def exchange_bound(at: Sample) -> FloatArray:
    """Compare F_x with its largest allowed value.

    Source:
        J. P. Perdew, K. Burke, M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996).
    """
    return at.exchange_enhancement() - BOUND


@condition_on_mesh(
    "large-gradient",
    "F_x falls like s^(-1/2) or faster",
    tolerance=5e-2,
    needs_exchange=True,
    polarization=0.0,
    gradient=1e5,
)
def large_gradient(at: Sample) -> FloatArray:
    """Check that F_x falls by half a decade at least from s = 1e5 to 1e6.

    Source:
        J. Sun, A. Ruzsinszky, J. P. Perdew, Phys. Rev. Lett. 115, 036402 (2015).
    """
    far = at.moved(gradient=10.0 * at["gradient"])
    return far.exchange_enhancement() / at.exchange_enhancement() * math.sqrt(10.0) - 1.0
