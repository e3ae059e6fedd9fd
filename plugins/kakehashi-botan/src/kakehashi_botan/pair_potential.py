"""Energy, forces and virial of a mixture of particles, with a pair list that is kept while it holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kakehashi_botan import pair_kernels
from kakehashi_botan.mixtures import Mixture
from kakehashi_botan.pair_list import PairList, build_pair_list
from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

SKIN = 0.3
"""sigma_AA; at temperatures around 0.5 and a timestep of 0.005 a list lives for about ten steps."""


@dataclass(frozen=True, slots=True)
class PairSums:
    """What a configuration's pairs add up to.

    Attributes:
        energies: Half of the energy of each pair on both particles, (n,), in epsilon_AA.
        forces: (n, 3), in epsilon_AA / sigma_AA.
        virial: Sum over pairs of v'(r) d_a d_b / r, xx, yy, zz, yz, xz, xy, in epsilon_AA; divided by the
            volume it is the stress, positive under tension.
    """

    energies: FloatArray
    forces: FloatArray
    virial: FloatArray

    @property
    def energy(self) -> float:
        """Potential energy, epsilon_AA."""
        return float(self.energies.sum())


class MixturePotential:
    """The potential of one mixture, for systems of any cell.

    The list of pairs reaches further than the cutoffs by the skin and is built again when a particle
    has moved by more than half of it, or when cell or species are others.
    """

    def __init__(self, mixture: Mixture, *, skin: float = SKIN) -> None:
        """Take a mixture.

        Args:
            mixture: What interacts how.
            skin: sigma_AA; changes the cost, never a result beyond rounding.

        Raises:
            InvalidInputError: If the skin is negative.
        """
        if not 0.0 <= skin < np.inf:
            raise InvalidInputError(f"skin is {skin}; it must be zero or positive, in sigma_AA.")
        self.mixture = mixture
        self.skin = skin
        self.terms = term_table(mixture)
        self.n_builds = 0
        self._pairs: PairList | None = None
        self._reference = np.empty((0, 3))
        self._system: tuple[IntArray, FloatArray, BoolArray] | None = None

    def pairs(
        self, positions: FloatArray, types: IntArray, cell: FloatArray, pbc: BoolArray
    ) -> PairList:
        """Return a list that holds for these positions; the last one if it does."""
        if self._pairs is None or not self._holds(positions, types, cell, pbc):
            self.build(positions, types, cell, pbc)
        assert self._pairs is not None  # noqa: S101  for the type checker
        return self._pairs

    def build(
        self, positions: FloatArray, types: IntArray, cell: FloatArray, pbc: BoolArray
    ) -> PairList:
        """Build the list anew, whatever there was."""
        reach = np.array(self.mixture.cutoff) + self.skin
        self._pairs = build_pair_list(positions, types, cell, pbc, reach)
        self._reference = positions.copy()
        self._system = (types.copy(), cell.copy(), pbc.copy())
        self.n_builds += 1
        return self._pairs

    def evaluate(
        self, positions: FloatArray, types: IntArray, cell: FloatArray, pbc: BoolArray
    ) -> PairSums:
        """Return energies, forces and virial.

        Args:
            positions: (n, 3), sigma_AA, also outside the cell.
            types: Species of each particle, (n,), 0 to n_species - 1.
            cell: Rows are lattice vectors.
            pbc: Which directions are periodic, (3,).
        """
        pairs = self.pairs(positions, types, cell, pbc)
        local, listed = _local(positions, pairs), _listed(pairs)
        energies, forces, virial = np.empty(len(types)), np.empty((len(types), 3)), np.empty(6)
        pair_kernels.write_forces(*local, *listed, self.terms, forces)
        pair_kernels.write_energies(*local, *listed, self.terms, energies, virial)
        return PairSums(energies, forces, virial)

    def forces(
        self, positions: FloatArray, types: IntArray, cell: FloatArray, pbc: BoolArray
    ) -> FloatArray:
        """Return the forces alone, (n, 3); otherwise as ``evaluate``."""
        pairs = self.pairs(positions, types, cell, pbc)
        forces = np.empty((len(types), 3))
        pair_kernels.write_forces(*_local(positions, pairs), *_listed(pairs), self.terms, forces)
        return forces

    @property
    def reference(self) -> FloatArray:
        """Positions for which the list was built, (n, 3); part of the state of a simulation."""
        return self._reference

    def _holds(
        self, positions: FloatArray, types: IntArray, cell: FloatArray, pbc: BoolArray
    ) -> bool:
        before = self._system
        if before is None or not all(
            np.array_equal(a, b) for a, b in zip(before, (types, cell, pbc), strict=True)
        ):
            return False
        square = pair_kernels.largest_square(positions, self._reference)
        return bool(square <= (0.5 * self.skin) ** 2)


def _local(positions: FloatArray, pairs: PairList) -> tuple[FloatArray, FloatArray, FloatArray]:
    x, y, z = (np.empty(len(pairs.owner)) for _ in range(3))
    pair_kernels.place(positions, pairs.owner, pairs.offset, x, y, z)
    return x, y, z


def _listed(pairs: PairList) -> tuple[IntArray, IntArray, IntArray, npt.NDArray[np.int32]]:
    return pairs.owner, pairs.species, pairs.bounds, pairs.neighbors


def term_table(mixture: Mixture) -> FloatArray:
    """Return what the kernels need of each pair of species, (5, n_species, n_species).

    Inside the cutoff v = (a s - b) s - c - d r with s = r^-6; the rows are a, b, cutoff squared, d, c.
    """
    epsilon, sigma, cutoff = (np.array(m) for m in (mixture.epsilon, mixture.sigma, mixture.cutoff))
    value, slope = mixture.shifts()
    return np.array(
        [
            4.0 * epsilon * sigma**12,
            4.0 * epsilon * sigma**6,
            cutoff**2,
            slope,
            value - slope * cutoff,
        ]
    )
