"""The square of a machine as a classical Ising model: a closed loop of slices in imaginary time.

    p(s) ~ exp(sum_t [sum_b K_tb s_ti s_tj + sum_i f_ti s_ti + sum_i L_ti s_ti s_{t+1,i}])

Slice 0 is the physical spins. In the loop of a thermal state all slices are alike, and every one of them is
physical; in that of a learned network only slice 0, and the opposite one, are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError
from kakehashi_dbm.ising_model import IsingModel
from kakehashi_dbm.machine_builder import transverse_coupling

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Spins = npt.NDArray[np.int8]

FROZEN = 25.0
"""Coupling in time of a spin without transverse field, in place of infinity: exp(-50) is below rounding."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class IsingLoop:
    """Couplings of the loop.

    Attributes:
        bonds: Sites of each bond, (n_bonds, 2).
        spatial: K, (n_slices, n_bonds).
        fields: f, (n_slices, n_sites).
        temporal: L between slices t and t + 1, (n_slices, n_sites).
        physical: Slices that are thermal states, (n_physical,); couplings before and after them are equal.
    """

    bonds: IntArray = field(repr=False)
    spatial: FloatArray = field(repr=False)
    fields: FloatArray = field(repr=False)
    temporal: FloatArray = field(repr=False)
    physical: IntArray = field(repr=False)

    @classmethod
    def thermal(cls, model: IsingModel, beta: float, n_slices: int) -> Self:
        """Return the loop of |Psi|^2 with ``n_slices`` / 2 symmetric Trotter steps in Psi.

        Args:
            model: H, in the frame in which transverse fields are positive.
            beta: Inverse temperature, positive.
            n_slices: Slices, even.

        Raises:
            InvalidInputError: If beta is not positive, or the number of slices is odd or less than 2.
        """
        if not (math.isfinite(beta) and beta > 0.0):
            raise InvalidInputError(f"beta is {beta!r}; it must be positive")
        if n_slices < 2 or n_slices % 2:
            raise InvalidInputError(f"the number of slices must be even, got {n_slices}")
        step = beta / n_slices
        coupling = [
            min(FROZEN, transverse_coupling(step * g)) if g > 0.0 else FROZEN
            for g in model.transverse
        ]
        shape = (n_slices, 1)
        return cls(
            bonds=model.bonds,
            spatial=np.tile(step * model.couplings, shape),
            fields=np.tile(step * model.longitudinal, shape),
            temporal=np.tile(coupling, shape),
            physical=np.arange(n_slices),
        )

    @property
    def n_slices(self) -> int:
        """Slices of the loop."""
        return len(self.temporal)

    @property
    def n_sites(self) -> int:
        """Spins of a slice."""
        return int(self.temporal.shape[1])

    def log_weight(self, spins: Spins) -> FloatArray:
        """Return the logarithm of the weight of configurations, (n_chains,).

        Args:
            spins: +1 and -1, (n_chains, n_slices, n_sites).
        """
        s = spins.astype(float)
        pairs = s[:, :, self.bonds[:, 0]] * s[:, :, self.bonds[:, 1]]
        later = np.roll(s, -1, axis=1)
        return np.asarray(
            np.einsum("ctb,tb->c", pairs, self.spatial)
            + np.einsum("cti,ti->c", s, self.fields)
            + np.einsum("cti,cti,ti->c", s, later, self.temporal)
        )

    def features(self, spins: Spins) -> FloatArray:
        """Return sums over slices of pairs, spins, and pairs in time, (n_chains, n_bonds + 2 n_sites).

        They are what log-weights of loops without changes from slice to slice are linear in.
        """
        s = spins.astype(np.float32)
        pairs = s[:, :, self.bonds[:, 0]] * s[:, :, self.bonds[:, 1]]
        later = np.roll(s, -1, axis=1) * s
        sums = [pairs.sum(axis=1), s.sum(axis=1), later.sum(axis=1)]
        return np.concatenate(sums, axis=1).astype(float)

    def local_fields(self, spins: Spins) -> FloatArray:
        """Return sum_j K_ij s_j + f_i of each spin in its slice, (n_chains, n_slices, n_sites)."""
        s = spins.astype(float)
        found = np.broadcast_to(self.fields, s.shape).copy()
        for b, (i, j) in enumerate(self.bonds):
            found[:, :, i] += self.spatial[:, b] * s[:, :, j]
            found[:, :, j] += self.spatial[:, b] * s[:, :, i]
        return found


def transverse_values(loop: IsingLoop, spins: Spins) -> FloatArray:
    """Return purified estimates of x_i, averaged over the spin itself, (n_chains, n_physical, n_sites).

        <x_i> = < cosh(L (l - r)) / cosh(L (l + r) + f_i) >,  l and r the neighbors in time

    Args:
        loop: Couplings.
        spins: (n_chains, n_slices, n_sites).
    """
    t = loop.physical
    before, after = spins[:, t - 1].astype(float), spins[:, (t + 1) % loop.n_slices].astype(float)
    coupling = loop.temporal[t]
    apart = coupling * (before - after)
    together = coupling * (before + after) + loop.local_fields(spins)[:, t]
    # cosh(a) / cosh(b) without overflow.
    a, b = np.abs(apart), np.abs(together)
    return np.asarray(np.exp(a - b) * (1.0 + np.exp(-2.0 * a)) / (1.0 + np.exp(-2.0 * b)))
