"""Lennard-Jones mixtures: which pairs of species interact how, and where the potential is cut.

v(r) = 4 epsilon [(sigma/r)^12 - (sigma/r)^6] for r below the cutoff of the pair, zero beyond; the shift says
what is subtracted from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError

Shift = Literal["none", "energy", "force"]
FloatArray = npt.NDArray[np.float64]
Matrix = tuple[tuple[float, ...], ...]

CUTOFF_RATIO = 2.5
"""Cutoff over sigma of each pair in the literature on these mixtures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """A mixture of Lennard-Jones particles of mass 1, in reduced units.

    Attributes:
        name: What messages and files call it.
        epsilon: Well depths, (n_species, n_species), symmetric, in epsilon_AA.
        sigma: Diameters, (n_species, n_species), symmetric, in sigma_AA.
        cutoff: Distances beyond which a pair does not interact, (n_species, n_species), in sigma_AA.
        shift: "none": truncated only; "energy": v(r) - v(rc), same forces; "force":
            v(r) - v(rc) - (r - rc) v'(rc), forces continuous.
    """

    name: str
    epsilon: Matrix
    sigma: Matrix
    cutoff: Matrix
    shift: Shift = "energy"

    def __post_init__(self) -> None:
        n = len(self.epsilon)
        for label in ("epsilon", "sigma", "cutoff"):
            matrix = np.array(getattr(self, label), dtype=float)
            if matrix.shape != (n, n) or n == 0:
                raise InvalidInputError(
                    f"{self.name}: {label} has shape {matrix.shape}, not ({n}, {n}) for {n} species; "
                    "give one row per species."
                )
            if not (np.isfinite(matrix) & (matrix > 0)).all() or not np.array_equal(
                matrix, matrix.T
            ):
                raise InvalidInputError(
                    f"{self.name}: {label} = {getattr(self, label)} must be symmetric, finite and positive; "
                    "a pair that does not interact gets a small epsilon."
                )
        if self.shift not in get_args(Shift):
            raise InvalidInputError(
                f"{self.name}: shift is {self.shift!r}; it must be one of {', '.join(get_args(Shift))}."
            )

    @classmethod
    def of(
        cls,
        name: str,
        epsilon: Sequence[Sequence[float]],
        sigma: Sequence[Sequence[float]],
        *,
        cutoff_ratio: float = CUTOFF_RATIO,
        shift: Shift = "energy",
    ) -> Self:
        """Build a mixture whose cutoffs are a multiple of sigma.

        Args:
            name: What messages and files call it.
            epsilon: (n_species, n_species), in epsilon_AA.
            sigma: (n_species, n_species), in sigma_AA.
            cutoff_ratio: Cutoff over sigma, the same for all pairs.
            shift: See ``Mixture``.
        """
        return cls(
            name=name,
            epsilon=_matrix(epsilon),
            sigma=_matrix(sigma),
            cutoff=_matrix([[cutoff_ratio * s for s in row] for row in sigma]),
            shift=shift,
        )

    @property
    def n_species(self) -> int:
        """Number of species."""
        return len(self.epsilon)

    @property
    def largest_cutoff(self) -> float:
        """Largest cutoff of all pairs, in sigma_AA."""
        return max(max(row) for row in self.cutoff)

    def pair_energy(self, distance: npt.ArrayLike, first: int = 0, second: int = 0) -> FloatArray:
        """Return v(r) of a pair of species, (any shape), in epsilon_AA; zero beyond the cutoff."""
        r = np.asarray(distance, dtype=float)
        offset, slope = self.shifts()
        cutoff = self.cutoff[first][second]
        attraction = (self.sigma[first][second] / r) ** 6
        value = 4.0 * self.epsilon[first][second] * attraction * (attraction - 1.0)
        value = value - offset[first, second] - (r - cutoff) * slope[first, second]
        return np.where(r < cutoff, value, 0.0)

    def shifts(self) -> tuple[FloatArray, FloatArray]:
        """Return what the shift subtracts: the constant and the slope in r - rc.

        Returns:
            Two arrays, (n_species, n_species): v(rc) or zero, v'(rc) or zero.
        """
        epsilon, sigma, cutoff = (np.array(m) for m in (self.epsilon, self.sigma, self.cutoff))
        sixth = (sigma / cutoff) ** 6
        value = 4.0 * epsilon * sixth * (sixth - 1.0)
        slope = -24.0 * epsilon / cutoff * sixth * (2.0 * sixth - 1.0)
        nothing = np.zeros_like(value)
        match self.shift:
            case "none":
                return nothing, nothing
            case "energy":
                return value, nothing
            case "force":
                return value, slope


def kob_andersen(*, shift: Shift = "energy", cutoff_ratio: float = CUTOFF_RATIO) -> Mixture:
    """Return the binary mixture of Kob and Andersen, 80:20 at density 1.2 in most of the literature.

    Source:
        W. Kob, H. C. Andersen, Phys. Rev. E 51, 4626 (1995).
    """
    return Mixture.of(
        "kob-andersen",
        ((1.0, 1.5), (1.5, 0.5)),
        ((1.0, 0.8), (0.8, 0.88)),
        cutoff_ratio=cutoff_ratio,
        shift=shift,
    )


def ternary_kob_andersen(*, shift: Shift = "force", cutoff_ratio: float = CUTOFF_RATIO) -> Mixture:
    """Return the ternary mixture whose third species lies between A and B, used in two dimensions.

    Source:
        A. D. S. Parmar, M. Ozawa, L. Berthier, Phys. Rev. Lett. 125, 085505 (2020), for the idea; the
        parameters of C are those that the literature on generative sampling of this system quotes.
    """
    return Mixture.of(
        "ternary-kob-andersen",
        ((1.0, 1.5, 1.25), (1.5, 0.5, 1.0), (1.25, 1.0, 0.75)),
        ((1.0, 0.8, 0.9), (0.8, 0.88, 0.84), (0.9, 0.84, 0.94)),
        cutoff_ratio=cutoff_ratio,
        shift=shift,
    )


def cubic_box(n_atoms: int, density: float) -> FloatArray:
    """Return the cell of a cube with this many particles per sigma_AA^3, (3, 3)."""
    return np.eye(3) * math.cbrt(n_atoms / density)


def checked_types(
    values: npt.ArrayLike, n_species: int, *, label: str = "types"
) -> npt.NDArray[np.int64]:
    """Return species as integers, (n,), a fresh array.

    Args:
        values: Species of each particle, 0 for A.
        n_species: How many species there are.
        label: What messages call the values.

    Raises:
        InvalidInputError: If a value is no integer or stands for no species, naming its index.
    """
    given = np.asarray(values)
    if given.dtype.kind not in "iuf" or given.ndim != 1:
        raise InvalidInputError(
            f"{label} have shape {given.shape} and dtype {given.dtype}; one integer for each particle is "
            "needed, 0 for A."
        )
    types: npt.NDArray[np.int64] = np.array(given, dtype=np.int64)
    wrong = np.flatnonzero((types != given) | (types < 0) | (types >= n_species))
    if wrong.size:
        raise InvalidInputError(
            f"{label}[{wrong[0]}] is {given[wrong[0]]}; with {n_species} species it must be an integer "
            f"between 0 and {n_species - 1}."
        )
    return types


def _matrix(rows: Sequence[Sequence[float]]) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in rows)
