"""Hopping matrices of the usual lattices, by name or from atoms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError, unknown_name

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NEIGHBORS: dict[str, tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]] = {
    "chain": (((1,),), ((2,),)),
    "square": (((1, 0), (0, 1)), ((1, 1), (1, -1))),
    "triangular": (((1, 0), (0, 1), (1, -1)), ((1, 1), (2, -1), (1, -2))),
    "cubic": (
        ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        ((1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)),
    ),
}
"""First and second neighbors of each lattice in units of its vectors, one of each pair of directions."""

VECTORS: dict[str, tuple[tuple[float, ...], ...]] = {
    "chain": ((1.0, 0.0, 0.0),),
    "square": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "triangular": ((1.0, 0.0, 0.0), (0.5, 0.5 * math.sqrt(3.0), 0.0)),
    "cubic": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Lattice:
    """Sites and the hopping between them.

    Attributes:
        hopping: K, (n_sites, n_sites), Hermitian.
        positions: Of the sites, (n_sites, 3), in lattice constants; Å if they came from atoms.
        cell: Rows are the vectors of the whole, (3, 3); zero rows where it is open or flat.
        sublattice: +1 and -1 on a bipartite lattice, (n_sites,); None if hopping connects equal signs.
    """

    hopping: npt.NDArray[np.complexfloating | np.floating] = field(repr=False)
    positions: FloatArray = field(repr=False)
    cell: FloatArray = field(repr=False)
    sublattice: FloatArray | None = field(repr=False)

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return len(self.positions)


def lattice(
    name: str,
    lengths: Sequence[int],
    *,
    t: float = 1.0,
    t_prime: float = 0.0,
    periodic: bool | Sequence[bool] = True,
    twist: Sequence[float] | None = None,
) -> Lattice:
    """Return a lattice by name.

    Args:
        name: "chain", "square", "triangular" or "cubic".
        lengths: Sites along each direction, in units of the vectors of the lattice.
        t: Hopping to first neighbors, K_ij = -t.
        t_prime: Hopping to second neighbors, K_ij = -t'.
        periodic: Boundary of each direction; False is open.
        twist: Phase in radians that a hop around each direction collects; makes K complex.

    Raises:
        InvalidInputError: If a length or option makes no sense.
    """
    if name not in NEIGHBORS:
        raise unknown_name("lattice", name, NEIGHBORS)
    n_directions = len(VECTORS[name])
    given = np.atleast_1d(np.asarray(lengths))
    if given.dtype.kind not in "iu" or given.shape != (n_directions,) or given.min() < 1:
        raise InvalidInputError(
            f"lengths are {lengths!r}; {name} needs {n_directions} positive numbers of sites, integers"
        )
    sizes = tuple(int(n) for n in given)
    for amplitude_name, value in (("t", t), ("t_prime", t_prime)):
        _check_real(amplitude_name, value)
    closed = np.broadcast_to(np.asarray(periodic, dtype=bool), (n_directions,))
    phases = np.zeros(n_directions) if twist is None else np.asarray(twist, dtype=float)
    if (
        phases.shape != (n_directions,)
        or not np.isfinite(phases).all()
        or (phases[~closed] != 0.0).any()
    ):
        raise InvalidInputError(
            f"twist is {twist!r}; one angle for each of the {n_directions} directions, finite, and "
            "zero where the boundary is open, is needed"
        )
    sites = np.indices(sizes).reshape(n_directions, -1).T
    hopping = np.zeros((len(sites), len(sites)), dtype=np.complex128)
    for steps, amplitude in zip(NEIGHBORS[name], (t, t_prime), strict=True):
        for step in steps:
            _add_hops(hopping, sites, np.array(step), np.array(sizes), closed, phases, amplitude)
    vectors = np.array(VECTORS[name])
    cell = np.zeros((3, 3))
    cell[:n_directions] = vectors * (np.array(sizes) * closed)[:, None]
    real = hopping.real.copy() if not phases.any() else hopping
    return Lattice(
        hopping=real,
        positions=sites @ vectors,
        cell=cell,
        sublattice=bipartition(hopping),
    )


def lattice_of(
    atoms: Atoms, *, cutoff: float, hopping: float | Callable[[FloatArray], FloatArray] = 1.0
) -> Lattice:
    """Return the lattice of atoms that hop to all others within a cutoff.

    Args:
        atoms: Sites; periodic images add up, so that small cells are allowed.
        cutoff: Å.
        hopping: t of every bond, or t as a function of the distances in Å; K_ij = -t. In eV, if the
            temperature is to be in eV.

    Raises:
        InvalidInputError: If no two atoms are that close, or a hopping is complex or not finite.
    """
    from ase.neighborlist import neighbor_list

    first, second, distances = neighbor_list("ijd", atoms, cutoff)
    if not len(first):
        raise InvalidInputError(f"no two atoms are closer than cutoff = {cutoff!r} Å; raise it")
    amplitude = hopping(distances) if callable(hopping) else np.full(len(distances), hopping)
    _check_real("hopping", amplitude)
    matrix = np.zeros((len(atoms), len(atoms)))
    np.add.at(matrix, (first, second), -np.asarray(amplitude, dtype=float))
    cell = np.where(np.asarray(atoms.pbc)[:, None], atoms.cell.array, 0.0)
    return Lattice(
        hopping=matrix,
        positions=np.array(atoms.positions),
        cell=cell,
        sublattice=bipartition(matrix),
    )


def bipartition(hopping: npt.NDArray[np.generic]) -> FloatArray | None:
    """Return +1 and -1 so that hopping connects unlike signs only, (n_sites,); None if that is impossible.

    Energies of sites, on the diagonal, are no bonds.
    """
    bonds = np.abs(np.asarray(hopping)) > 0.0
    np.fill_diagonal(bonds, val=False)
    signs = np.zeros(len(bonds))
    for start in range(len(bonds)):
        if signs[start]:
            continue
        signs[start] = 1.0
        reached = [start]
        while reached:
            site = reached.pop()
            for other in np.flatnonzero(bonds[site]):
                if signs[other] == signs[site]:
                    return None
                if not signs[other]:
                    signs[other] = -signs[site]
                    reached.append(int(other))
    return signs


def _check_real(name: str, values: npt.ArrayLike) -> None:
    found = np.asarray(values)
    if found.dtype.kind not in "biuf" or not np.isfinite(found).all():
        shown = values if found.ndim == 0 else f"an array of {found.dtype}"
        raise InvalidInputError(
            f"{name} is {shown!r}; real and finite hopping is needed. Phases come with twist, or with a "
            "matrix of your own."
        )


def _add_hops(
    hopping: npt.NDArray[np.complex128],
    sites: IntArray,
    step: IntArray,
    sizes: IntArray,
    closed: npt.NDArray[np.bool_],
    phases: FloatArray,
    amplitude: float,
) -> None:
    if amplitude == 0.0:
        return
    target = sites + step
    wraps = target // sizes
    allowed = ~((wraps != 0) & ~closed).any(axis=1)
    to = np.ravel_multi_index(tuple((target % sizes).T), tuple(sizes))
    here = np.arange(len(sites))
    values = -amplitude * np.exp(1j * (wraps @ phases))
    # A hop of two sites that meets the same bond twice adds up, as around a torus of length two.
    np.add.at(hopping, (here[allowed], to[allowed]), values[allowed])
    np.add.at(hopping, (to[allowed], here[allowed]), values[allowed].conj())
