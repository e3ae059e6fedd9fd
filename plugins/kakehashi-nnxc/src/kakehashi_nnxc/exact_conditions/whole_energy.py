"""Conditions on exchange and correlation together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_nnxc import r2scan
from kakehashi_nnxc.exact_conditions.condition import Condition, condition_on_mesh
from kakehashi_nnxc.exact_conditions.mesh import Mesh, Points
from kakehashi_nnxc.exact_conditions.sample import Sample
from kakehashi_nnxc.pointwise_energy import FloatArray, PointwiseEnergy, local_exchange

LIEB_OXFORD = 2.273
"""1.679 int n^(4/3) dr over exchange of the unpolarized uniform gas."""

HYDROGEN_ENERGY = -5.0 / 16.0
HYDROGEN_RADIUS = 14.0
"""Where the integral over the atom ends, bohr; 3e-10 electrons are beyond."""


@condition_on_mesh(
    "uniform-gas",
    "uniform gas: Slater and Perdew-Wang 92, any polarization",
    tolerance=1e-3,  # parametrizations of the same data differ by this
    gradient=0.0,
    alpha=1.0,
    near=1.0,
)
def uniform_gas(at: Sample) -> FloatArray:
    """Return the relative error for ``uniform_gas_energy``."""
    return np.abs(at.energy() / uniform_gas_energy(at["seitz_radius"], at["polarization"]) - 1.0)


def uniform_gas_energy(seitz_radius: npt.ArrayLike, polarization: npt.ArrayLike) -> FloatArray:
    """Return exchange and correlation per electron of the uniform gas, hartree.

    Source:
        Slater exchange; J. P. Perdew, Y. Wang, Phys. Rev. B 45, 13244 (1992).
    """
    rs, zeta = np.broadcast_arrays(
        np.asarray(seitz_radius, dtype=np.float64), np.asarray(polarization, dtype=np.float64)
    )
    phi = 0.5 * ((1.0 + zeta) ** (4.0 / 3.0) + (1.0 - zeta) ** (4.0 / 3.0))
    correlation, _ = r2scan.uniform_gas_correlation(
        *(torch.from_numpy(np.array(x)) for x in (rs, zeta, phi))
    )
    return np.asarray(local_exchange(rs) * phi + correlation.numpy())


@condition_on_mesh("negative", "e_xc <= 0", tolerance=1e-12)
def negative(at: Sample) -> FloatArray:
    """Return e_xc in units of exchange of the uniform gas."""
    return at.in_local_exchange(at.energy())


@condition_on_mesh(
    "lieb-oxford", "e_xc >= 2.273 e_x of the unpolarized uniform gas", tolerance=1e-6
)
def lieb_oxford(at: Sample) -> FloatArray:
    """Compare F_xc with the constant of the bound.

    Source:
        E. H. Lieb, S. Oxford, Int. J. Quantum Chem. 19, 427 (1981), with the constant 1.679 of J. P. Perdew,
        K. Burke, M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996).
    """
    return at.energy() / at.local_exchange() - LIEB_OXFORD


def _hydrogen(energy: PointwiseEnergy, mesh: Mesh) -> tuple[FloatArray, Points]:
    del mesh
    nodes, weights = np.polynomial.legendre.leggauss(200)
    half = 0.5 * HYDROGEN_RADIUS
    r = half * (nodes + 1.0)
    density = np.exp(-2.0 * r) / np.pi
    rs = (3.0 / (4.0 * np.pi * density)) ** (1.0 / 3.0)
    gradient = density ** (-1.0 / 3.0) / (3.0 * np.pi**2) ** (1.0 / 3.0)
    electrons = half * weights * 4.0 * np.pi * r**2 * density
    total = float(electrons @ energy(rs, 1.0, gradient, 0.0))
    return np.array([abs(total - HYDROGEN_ENERGY)]), {}


hydrogen = Condition(
    name="hydrogen",
    title="E_xc of the hydrogen atom is -5/16",
    unit="hartree",
    tolerance=2e-3,
    violation=_hydrogen,
)


@condition_on_mesh("spin-flip", "both spins are equal", tolerance=1e-10)
def spin_flip(at: Sample) -> FloatArray:
    """Return the relative change with the sign of the polarization."""
    return np.abs(at.moved(polarization=-at["polarization"]).energy() / at.energy() - 1.0)


@condition_on_mesh(
    "closed-shell",
    "the closed-shell form is the spin-resolved one with equal spins",
    tolerance=1e-9,
    polarization=0.0,
)
def closed_shell(at: Sample) -> FloatArray:
    """Return the relative difference of the two forms."""
    return np.abs(at.energy(spin=0) / at.energy() - 1.0)
