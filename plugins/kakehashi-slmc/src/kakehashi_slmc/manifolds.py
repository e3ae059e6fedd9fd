"""What a degree of freedom may be: an Ising spin, an angle, a unit vector; all are unit vectors.

For log W_eff = sum over bonds M_ij V_i . V_j + h . sum_i V_i a site feels the field h + sum_j M_ij V_j, and
its distribution, all others fixed, is exp(field . V_i): heat bath draws from it directly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError, unknown_name
from kakehashi_slmc.heat_bath import heat_bath_directions
from kakehashi_slmc.unit_vectors import LENGTH_TOLERANCE, normalized

FloatArray = npt.NDArray[np.float64]
States = npt.NDArray[Any]


class Manifold(ABC):
    """States of many chains as users write them, (n_chains, n_sites, ...), and as unit vectors.

    Attributes:
        name: As in ``accelerate``.
        dimension: Numbers of a unit vector.
    """

    name: str
    dimension: int

    @abstractmethod
    def vectors(self, states: States) -> FloatArray:
        """Return unit vectors, (n_chains, n_sites, dimension).

        Raises:
            InvalidInputError: If a state is none of this manifold.
        """

    @abstractmethod
    def states(self, vectors: FloatArray) -> States:
        """Return states as users write them."""

    @abstractmethod
    def moved(self, vectors: FloatArray, scale: float, rng: np.random.Generator) -> FloatArray:
        """Return one site per chain moved symmetrically, by about ``scale``, (n_chains, dimension)."""

    @abstractmethod
    def drawn(self, fields: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Return vectors distributed as exp(field . v), (n_chains, dimension)."""

    def sweep(
        self,
        vectors: FloatArray,
        couplings: FloatArray,
        field: FloatArray,
        rng: np.random.Generator,
    ) -> FloatArray:
        """Draw every site anew by heat bath, in an order drawn anew: reversible. The given ones stay."""
        new = np.array(vectors)
        for site in rng.permutation(vectors.shape[1]):
            fields = field + np.einsum("j,bja->ba", couplings[site], new)
            new[:, site] = self.drawn(fields, rng)
        return new


class Ising(Manifold):
    """Spins +1 and -1, states (n_chains, n_sites)."""

    name, dimension = "ising", 1

    def vectors(self, states: States) -> FloatArray:
        """See the base class."""
        values = np.asarray(states)
        if values.ndim != 2 or not np.isin(values, (-1, 1)).all():
            raise InvalidInputError(
                f"Ising states have shape {values.shape} and values {np.unique(values)[:5].tolist()}; +1 and "
                "-1, one number for each site, are needed"
            )
        return values[..., None].astype(np.float64)

    def states(self, vectors: FloatArray) -> States:
        """See the base class."""
        return np.rint(vectors[..., 0]).astype(np.int64)

    def moved(
        self,
        vectors: FloatArray,
        scale: float,  # noqa: ARG002  there is one other state
        rng: np.random.Generator,  # noqa: ARG002
    ) -> FloatArray:
        """Return flipped spins."""
        return -vectors

    def drawn(self, fields: FloatArray, rng: np.random.Generator) -> FloatArray:
        """See the base class."""
        up = 0.5 * (1.0 + np.tanh(fields[:, 0]))
        return np.where(rng.random(len(fields)) < up, 1.0, -1.0)[:, None]


class Angle(Manifold):
    """Angles in radians, states (n_chains, n_sites)."""

    name, dimension = "angle", 2

    def vectors(self, states: States) -> FloatArray:
        """See the base class."""
        values = np.asarray(states, dtype=np.float64)
        if values.ndim != 2 or not np.isfinite(values).all():
            raise InvalidInputError(
                f"angles have shape {values.shape}; one finite number for each site is needed"
            )
        return np.stack([np.cos(values), np.sin(values)], axis=-1)

    def states(self, vectors: FloatArray) -> States:
        """Return angles between -pi and pi."""
        return np.asarray(np.arctan2(vectors[..., 1], vectors[..., 0]))

    def moved(self, vectors: FloatArray, scale: float, rng: np.random.Generator) -> FloatArray:
        """Return vectors turned by Gaussian angles."""
        angles = np.arctan2(vectors[:, 1], vectors[:, 0]) + scale * rng.normal(size=len(vectors))
        return np.stack([np.cos(angles), np.sin(angles)], axis=-1)

    def drawn(self, fields: FloatArray, rng: np.random.Generator) -> FloatArray:
        """See the base class; the distribution of von Mises."""
        directions = np.arctan2(fields[:, 1], fields[:, 0])
        angles = rng.vonmises(directions, np.linalg.norm(fields, axis=1))
        return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


class Sphere(Manifold):
    """Unit vectors, states (n_chains, n_sites, 3)."""

    name, dimension = "sphere", 3

    def vectors(self, states: States) -> FloatArray:
        """See the base class."""
        values = np.asarray(states, dtype=np.float64)
        if values.ndim != 3 or values.shape[2] != 3:
            raise InvalidInputError(
                f"spins have shape {values.shape}; three numbers for each site are needed"
            )
        if not values.shape[1]:
            raise InvalidInputError("a state of no sites; at least one spin is needed")
        wrong = ~(np.abs(np.linalg.norm(values, axis=-1) - 1.0) <= LENGTH_TOLERANCE)
        if wrong.any():
            chain, site = (int(k) for k in np.argwhere(wrong)[0])
            raise InvalidInputError(
                f"spin {site} of chain {chain} is {values[chain, site].tolist()}; spins are unit vectors"
            )
        return values

    def states(self, vectors: FloatArray) -> States:
        """See the base class."""
        return vectors

    def moved(self, vectors: FloatArray, scale: float, rng: np.random.Generator) -> FloatArray:
        """Return normalized sums with Gaussian vectors."""
        return normalized(vectors + scale * rng.normal(size=vectors.shape))

    def drawn(self, fields: FloatArray, rng: np.random.Generator) -> FloatArray:
        """See the base class; the distribution of von Mises and Fisher."""
        return heat_bath_directions(fields, 1.0 - rng.random((len(fields), 2)))


MANIFOLDS: dict[str, type[Manifold]] = {kind.name: kind for kind in (Sphere, Ising, Angle)}


def manifold(name: str) -> Manifold:
    """Return a manifold by name: "sphere", "ising" or "angle"."""
    if not isinstance(name, str):
        raise InvalidInputError(f"manifold is {name!r}; one of {', '.join(MANIFOLDS)} is needed")
    if name not in MANIFOLDS:
        raise unknown_name("manifold", name, MANIFOLDS)
    return MANIFOLDS[name]()
