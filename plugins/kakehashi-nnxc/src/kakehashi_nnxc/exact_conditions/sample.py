"""A functional evaluated at given points, whole and in parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kakehashi_nnxc.exact_conditions.mesh import VARIABLES, Points
from kakehashi_nnxc.pointwise_energy import (
    HIGH_DENSITY,
    FloatArray,
    PointwiseEnergy,
    local_exchange,
)


@dataclass(frozen=True)
class Sample:
    """A functional and points; energies are per electron, in hartree."""

    functional: PointwiseEnergy
    points: Points

    def __getitem__(self, variable: str) -> FloatArray:
        return self.points[variable]

    def moved(self, **variables: FloatArray) -> Sample:
        """Return the same functional at points with other values of some variables."""
        return Sample(self.functional, {**self.points, **variables})

    def energy(self, *, spin: Literal[0, 1] = 1) -> FloatArray:
        """Return exchange and correlation."""
        return self.functional(*(self.points[name] for name in VARIABLES), spin=spin)

    def exchange(self, *, scaling: float = HIGH_DENSITY) -> FloatArray:
        """Return exchange; see ``PointwiseEnergy.exchange``."""
        return self.functional.exchange(*(self.points[name] for name in VARIABLES), scaling=scaling)

    def correlation(self) -> FloatArray:
        """Return what is not exchange."""
        return self.energy() - self.exchange()

    def local_exchange(self) -> FloatArray:
        """Return exchange of the unpolarized uniform gas with the same density: the natural unit."""
        return local_exchange(self["seitz_radius"])

    def exchange_enhancement(self) -> FloatArray:
        """Return F_x."""
        return self.exchange() / self.local_exchange()

    def in_local_exchange(self, energy: FloatArray) -> FloatArray:
        """Return an energy in units of |local_exchange|."""
        return energy / np.abs(self.local_exchange())
