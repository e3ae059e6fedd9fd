"""Small periodic liquids as numbers: which mixture, how many particles of each kind, how dense."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_botan.mixtures import Mixture, ternary_kob_andersen
from kakehashi_botan.pair_potential import term_table
from kakehashi_botan.sampling.particle_moves import write_energies
from kakehashi_core.errors import InvalidInputError, NonFiniteError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

OVERLAP = 0.3
"""Pairs closer than this part of their sigma do not occur at any temperature of interest: at 0.3 sigma the
energy is about 1e7 epsilon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Liquid:
    """A mixture in a periodic square or cubic box, reduced units.

    Attributes:
        mixture: What interacts how.
        composition: Number of particles of each species.
        density: Particles per sigma_AA^dimension.
        dimension: 2 or 3.
    """

    mixture: Mixture
    composition: tuple[int, ...]
    density: float
    dimension: int = 2

    def __post_init__(self) -> None:
        if len(self.composition) != self.mixture.n_species or min(self.composition) < 0:
            raise InvalidInputError(
                f"composition is {self.composition}; {self.mixture.name} has {self.mixture.n_species} "
                "species, give a number of particles for each"
            )
        if self.n_particles < 2:
            raise InvalidInputError(f"composition {self.composition} has fewer than two particles")
        if self.dimension not in (2, 3):
            raise InvalidInputError(f"dimension is {self.dimension}; it must be 2 or 3")
        if not 0.0 < self.density < np.inf:
            raise InvalidInputError(f"density is {self.density}; it must be positive")
        if self.mixture.largest_cutoff > 0.5 * self.edge:
            raise InvalidInputError(
                f"the cutoff {self.mixture.largest_cutoff:g} exceeds half the box, {0.5 * self.edge:.4g}: a "
                "particle would see another one twice. Take more particles or a smaller cutoff."
            )

    @property
    def n_particles(self) -> int:
        """Number of particles."""
        return sum(self.composition)

    @property
    def edge(self) -> float:
        """Edge of the box, sigma_AA."""
        return float((self.n_particles / self.density) ** (1.0 / self.dimension))

    @property
    def types(self) -> IntArray:
        """Species of each particle, those of A first, (n_particles,)."""
        return np.repeat(np.arange(len(self.composition)), self.composition)

    @property
    def terms(self) -> FloatArray:
        """What the kernels need of each pair of species, see ``pair_potential.term_table``."""
        return term_table(self.mixture)

    def energies(self, positions: npt.ArrayLike) -> FloatArray:
        """Return potential energies, (n_samples,), of positions (n_samples, n_particles, dimension).

        Raises:
            InvalidInputError: If the shape is wrong.
            NonFiniteError: If a coordinate is no number.
        """
        x = self._of_right_shape(np.ascontiguousarray(positions, dtype=np.float64))
        found = np.empty(len(x))
        write_energies(x, self.types, self.terms, self.edge, found)
        return found

    def checked(self, positions: npt.ArrayLike) -> FloatArray:
        """Return positions of samples, wrapped into the box, a fresh array.

        Raises:
            InvalidInputError: If the shape is wrong, or two particles overlap.
            NonFiniteError: If a coordinate is no number.
        """
        x = wrapped(self._of_right_shape(np.array(positions, dtype=np.float64)), self.edge)
        sigma = np.array(self.mixture.sigma)[self.types[:, None], self.types]
        for number, sample in enumerate(x):
            difference = sample[:, None] - sample[None]
            difference -= self.edge * np.rint(difference / self.edge)
            ratio = np.linalg.norm(difference, axis=-1) / sigma
            np.fill_diagonal(ratio, np.inf)
            if ratio.min() < OVERLAP:
                first, second = np.unravel_index(int(ratio.argmin()), ratio.shape)
                raise InvalidInputError(
                    f"sample {number}: particles {first} and {second} overlap, at {ratio.min():.3g} sigma"
                )
        return x

    def _of_right_shape(self, x: FloatArray) -> FloatArray:
        shape = (self.n_particles, self.dimension)
        if x.ndim != 3 or x.shape[1:] != shape:
            raise InvalidInputError(
                f"positions have shape {x.shape}; (n_samples, {shape[0]}, {shape[1]}) is needed for "
                f"{' + '.join(map(str, self.composition))} particles in {self.dimension} dimensions"
            )
        wrong = ~np.isfinite(x).all(axis=(1, 2))
        if wrong.any():
            raise NonFiniteError(
                f"sample {int(np.argmax(wrong))} holds a position that is no number"
            )
        return x

    def random_positions(self, n_samples: int, rng: np.random.Generator) -> FloatArray:
        """Return particles on a lattice in random order, to start a simulation from a hot state."""
        side = int(np.ceil(self.n_particles ** (1.0 / self.dimension)))
        axes = np.meshgrid(*[np.arange(side)] * self.dimension, indexing="ij")
        sites = np.stack(axes, axis=-1).reshape(-1, self.dimension) * (self.edge / side)
        chosen = [rng.permutation(len(sites))[: self.n_particles] for _ in range(n_samples)]
        return np.array([sites[c] for c in chosen])

    def describe(self) -> dict[str, Any]:
        """Return all numbers, for manifests and records."""
        return {
            "mixture": self.mixture.name,
            "epsilon": [list(row) for row in self.mixture.epsilon],
            "sigma": [list(row) for row in self.mixture.sigma],
            "cutoff": [list(row) for row in self.mixture.cutoff],
            "shift": self.mixture.shift,
            "composition": list(self.composition),
            "density": self.density,
            "dimension": self.dimension,
        }


def ternary_liquid() -> Liquid:
    """Return the two-dimensional ternary Kob-Andersen liquid of 43 particles, 20 + 11 + 12, density 1.19.

    The potential is cut at 2.5 sigma and shifted so that the force is continuous there.

    Source:
        G. Jung, G. Biroli, L. Berthier, Mach. Learn.: Sci. Technol. 5, 035053 (2024), arXiv:2404.09914, for
        the system; species C as in ``ternary_kob_andersen``.
    """
    return Liquid(mixture=ternary_kob_andersen(), composition=(20, 11, 12), density=1.19)


def small_ternary_liquid() -> Liquid:
    """Return ten particles of the same mixture with a cutoff of 1.4 sigma, to test methods on."""
    return Liquid(
        mixture=ternary_kob_andersen(cutoff_ratio=1.4), composition=(4, 3, 3), density=1.19
    )


def checked_temperature(temperature: float, label: str = "temperature") -> float:
    """Return a temperature.

    Raises:
        InvalidInputError: If it is not a positive number.
    """
    if not isinstance(temperature, Real) or not 0.0 < float(temperature) < np.inf:
        raise InvalidInputError(f"{label} is {temperature!r}; it must be a positive number")
    return float(temperature)


def wrapped(positions: FloatArray, edge: float) -> FloatArray:
    """Return positions inside [0, edge)."""
    x = positions - edge * np.floor(positions / edge)
    # A tiny negative number plus the edge is the edge itself.
    return np.where(x >= edge, 0.0, x)
