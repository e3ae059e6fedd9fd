"""Inherent structures: the local minimum of the potential energy below a configuration, by FIRE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kakehashi_botan import pair_kernels
from kakehashi_botan.mixtures import Mixture
from kakehashi_botan.pair_potential import SKIN, MixturePotential

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FireSettings:
    """How a quench runs; part of the definition of an inherent structure, since minimizers differ.

    Attributes:
        force_tolerance: Largest force on a particle at the end, epsilon_AA / sigma_AA.
        max_steps: Steps after which it gives up.
        timestep: First timestep, tau_LJ.
        longest_timestep: Largest timestep, tau_LJ.
        largest_move: Longest move of a particle in a step, sigma_AA.
        skin: How much further the list of pairs reaches, sigma_AA.
    """

    force_tolerance: float = 1e-6
    max_steps: int = 20000
    timestep: float = 0.005
    longest_timestep: float = 0.03
    largest_move: float = 0.1
    skin: float = SKIN


@dataclass(frozen=True, slots=True)
class InherentStructure:
    """A quenched configuration.

    Attributes:
        positions: Unwrapped, continuing the ones that the quench started from, (n, 3), sigma_AA.
        energies: Energy of every particle, half of its pair energies, (n,), epsilon_AA.
        largest_force: epsilon_AA / sigma_AA.
        n_steps: Steps made.
        converged: Whether the tolerance was reached.
    """

    positions: FloatArray
    energies: FloatArray
    largest_force: float
    n_steps: int
    converged: bool

    @property
    def energy_per_particle(self) -> float:
        """Energy over the number of particles, epsilon_AA."""
        return float(self.energies.mean())


def inherent_structure(
    mixture: Mixture,
    positions: npt.ArrayLike,
    types: npt.ArrayLike,
    cell: npt.ArrayLike,
    *,
    pbc: npt.ArrayLike = True,
    settings: FireSettings | None = None,
) -> InherentStructure:
    """Quench a configuration to the minimum below it.

    Args:
        mixture: What interacts how.
        positions: (n, 3), sigma_AA, wrapped or not; left as they are.
        types: Species, (n,).
        cell: (3, 3), rows are lattice vectors.
        pbc: Which directions are periodic.
        settings: Of the minimizer.

    Source:
        E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), with its parameters.
    """
    settings = settings or FireSettings()
    potential = MixturePotential(mixture, skin=settings.skin)
    system = (
        np.array(types, dtype=np.int64),
        np.array(cell, dtype=np.float64),
        np.broadcast_to(np.asarray(pbc, dtype=bool), (3,)).copy(),
    )
    x = np.array(positions, dtype=np.float64, order="C")
    v = np.zeros_like(x)
    # timestep, mixing, steps since the power was last negative
    state = np.array([settings.timestep, 0.1, 0.0])
    numbers = (settings.longest_timestep, 1.1, 0.5, 0.1, 0.99, 5.0, settings.largest_move)
    forces = potential.forces(x, *system)
    largest = pair_kernels.largest_force(forces)
    step = 0
    while largest > settings.force_tolerance and step < settings.max_steps:
        pair_kernels.fire_step(x, v, forces, state, numbers)
        forces = potential.forces(x, *system)
        largest = pair_kernels.largest_force(forces)
        step += 1
    sums = potential.evaluate(x, *system)
    return InherentStructure(
        x, sums.energies, float(largest), step, bool(largest <= settings.force_tolerance)
    )
