"""Runs from one configuration with different velocities, as arrays. Reduced Lennard-Jones units."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Ensemble = Literal["nve", "nvt", ""]
Kind = TypeVar("Kind", bound=np.generic)

_SMALLEST_SINE = 1e-6
"""Cell vectors whose directions are closer to dependence than this span no volume."""

_WHOLE = 1e-6
"""How close to an integer the sum of all displacements over the cell counts as one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class IsoconfigurationalData:
    """An isoconfigurational ensemble: one start, several runs, positions at chosen times.

    Arrays are converted (float64, int64, bool), checked, and made read-only.

    Attributes:
        types: Species of every particle, (n_atoms,), 0 = A, 1 = B, ...
        initial_positions: Common start, (n_atoms, 3), wrapped into the cell or not.
        positions: (n_times, n_runs, n_atoms, 3), unwrapped: they continue ``initial_positions`` without jumps
            by lattice vectors.
        cell: Rows are lattice vectors, (3, 3).
        pbc: Periodic directions, (3,): all, or (True, True, False) for a system in two dimensions. That one
            has its first two cell vectors in the xy plane and every third coordinate zero; its third cell
            vector is ignored and may be zero.
        times: Since the start, (n_times,), growing, in tau_LJ.
        temperature: k_B T of the start and of the velocities, in epsilon_AA.
        timestep: Of the integrator, in tau_LJ; None if unknown.
        ensemble: "nve", "nvt", or "" if unknown.
        metadata: Anything else worth keeping: plain text and numbers by name.

    Raises:
        InvalidInputError: If shapes do not fit together, a value is not finite, or the box spans no volume.
    """

    types: IntArray = field(repr=False)
    initial_positions: FloatArray = field(repr=False)
    positions: FloatArray = field(repr=False)
    cell: FloatArray = field(repr=False)
    pbc: BoolArray = field(repr=False)
    times: FloatArray
    temperature: float
    timestep: float | None = None
    ensemble: Ensemble = ""
    metadata: Mapping[str, str | float | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._put("types", _types(self.types))
        n_atoms = len(self.types)
        self._put("initial_positions", _finite("initial_positions", self.initial_positions, 2))
        self._put("positions", _finite("positions", self.positions, 4))
        self._put("times", _finite("times", self.times, 1))
        self._put("cell", _finite("cell", self.cell, 2))
        self._put("pbc", _periodic(self.pbc))
        _require_shape("initial_positions", self.initial_positions, (n_atoms, 3), "(n_atoms, 3)")
        _require_shape("cell", self.cell, (3, 3), "(3, 3)")
        n_times, n_runs = len(self.times), self.positions.shape[1]
        expected = (n_times, n_runs, n_atoms, 3)
        _require_shape("positions", self.positions, expected, "(n_times, n_runs, n_atoms, 3)")
        if n_times == 0 or n_runs == 0:
            raise InvalidInputError(
                f"positions have shape {self.positions.shape}, (n_times, n_runs, n_atoms, 3); at least one "
                "time and one run are needed."
            )
        _check_box(self.cell, self.n_dimensions)
        _check_plane(self)
        _check_times(self.times)
        self._put("temperature", _positive("temperature", self.temperature, "epsilon_AA"))
        if self.timestep is not None:
            self._put("timestep", _positive("timestep", self.timestep, "tau_LJ"))
        if self.ensemble not in get_args(Ensemble):
            raise InvalidInputError(
                f"ensemble is {self.ensemble!r}; it must be 'nve', 'nvt', or '' for unknown."
            )
        self._put("metadata", _plain_metadata(self.metadata))

    def _put(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def n_times(self) -> int:
        """Number of recorded times."""
        return len(self.times)

    @property
    def n_runs(self) -> int:
        """Number of runs from the common start."""
        return int(self.positions.shape[1])

    @property
    def n_atoms(self) -> int:
        """Number of particles of all species."""
        return len(self.types)

    @property
    def n_dimensions(self) -> int:
        """3, or 2 for a system that is periodic in x and y only."""
        return int(self.pbc.sum())

    @property
    def spanning_cell(self) -> FloatArray:
        """The cell, (3, 3), with the unit vector along z in place of the third row in two dimensions."""
        return spanning_cell(self.cell, self.pbc)

    @property
    def volume(self) -> float:
        """Volume, in sigma_AA^3; area in two dimensions, in sigma_AA^2."""
        return float(abs(np.linalg.det(self.spanning_cell)))

    @property
    def density(self) -> float:
        """Particles per volume, or per area in two dimensions."""
        return self.n_atoms / self.volume

    @property
    def box_lengths(self) -> FloatArray:
        """Edges of an orthorhombic box along the axes, (n_dimensions,), in sigma_AA.

        Raises:
            InvalidInputError: If the cell is not orthorhombic.
        """
        n = self.n_dimensions
        block = self.cell[:n, :n]
        if np.any(block != np.diag(np.diag(block))):
            raise InvalidInputError(
                f"the cell {self.cell.tolist()} is not orthorhombic; box lengths exist only for cells along "
                "the axes. Use data.cell."
            )
        lengths: FloatArray = np.abs(np.diag(block))
        return lengths

    def mask(self, species: int | None) -> BoolArray:
        """Return which particles belong to a species, (n_atoms,); all of them for None.

        Raises:
            InvalidInputError: If there is no particle of that species.
        """
        if species is None:
            return np.ones(self.n_atoms, dtype=bool)
        chosen: BoolArray = self.types == species
        if not chosen.any():
            raise InvalidInputError(
                f"there is no particle of species {species!r}; the types present are "
                f"{np.unique(self.types).tolist()}. Choose one of these, or None for all particles."
            )
        return chosen

    def at(self, time_index: int) -> IsoconfigurationalData:
        """Return the same ensemble at one time only; negative indices count from the end."""
        k = self.checked_time_index(time_index)
        return replace(self, positions=self.positions[k : k + 1], times=self.times[k : k + 1])

    def with_runs(self, runs: Iterable[int]) -> IsoconfigurationalData:
        """Return the ensemble of the runs with these indices, in this order; positions are copied."""
        indices = np.array(list(runs), dtype=np.int64)
        if len(indices) == 0 or indices.min() < 0 or indices.max() >= self.n_runs:
            raise InvalidInputError(
                f"runs {indices.tolist()} cannot be selected; give at least one index, from 0 to "
                f"{self.n_runs - 1}."
            )
        return replace(self, positions=self.positions[:, indices])

    def checked_time_index(self, time_index: int) -> int:
        """Return the index counted from the start.

        Raises:
            InvalidInputError: If there is no such time.
        """
        index = operator.index(time_index)
        if not -self.n_times <= index < self.n_times:
            raise InvalidInputError(
                f"time index {index} does not exist; the data hold {self.n_times} times "
                f"{self.times.tolist()} tau_LJ, counted from 0. Choose one of these."
            )
        return index % self.n_times


def spanning_cell(cell: npt.ArrayLike, pbc: npt.ArrayLike) -> FloatArray:
    """Return lattice vectors that span space, (3, 3): the third row is the unit vector along z in 2D."""
    full = np.array(cell, dtype=float)
    if not np.asarray(pbc, dtype=bool)[2]:
        full[2] = (0.0, 0.0, 1.0)
    return full


def check_continuity(data: IsoconfigurationalData) -> None:
    """Raise if positions jump by lattice vectors, because somebody wrapped them into the cell.

    Three signs are looked for in each run: a displacement beyond half a cell although all particles lie
    inside one cell; displacements near a whole cell with none near half a cell; and, where the dynamics
    conserves momentum, displacements that add up to a whole number of cells instead of to zero.

    Raises:
        InvalidInputError: Naming time, run and particle of the largest jump.

    Source:
        Own criteria, tested on wrapped copies of continuous trajectories.
    """
    inverse = np.linalg.inv(data.spanning_cell)
    periodic = np.flatnonzero(data.pbc)
    start = (data.initial_positions @ inverse)[:, periodic]
    for k, run in np.ndindex(data.n_times, data.n_runs):
        now = (data.positions[k, run] @ inverse)[:, periodic]
        moved = now - start
        reason = _jump(now, moved)
        if reason:
            atom, axis = (int(v) for v in np.unravel_index(np.argmax(np.abs(moved)), moved.shape))
            raise InvalidInputError(
                f"the trajectory jumps: {reason} (time index {k}, run {run}; particle {atom} moved by "
                f"{moved[atom, axis]:.3f} of cell vector {axis}). Positions must be unwrapped and continue "
                "initial_positions; write the trajectory without wrapping (LAMMPS: xu yu zu), or pass "
                "check_jumps=False if the motion is real."
            )


def _jump(now: FloatArray, moved: FloatArray) -> str:
    """Return why a run looks wrapped, or ""; arguments in units of the cell, (n_atoms, n_axes)."""
    size = np.abs(moved)
    far = size > 0.5
    inside = (now.max(axis=0) - now.min(axis=0)) <= 1.0
    if (far.any(axis=0) & inside).any():
        return "particles moved beyond half the cell, yet all of them lie inside one cell"
    if (size > 0.75).any() and not ((size > 0.35) & (size < 0.65)).any():
        return "some particles moved by about a whole cell and none by about half of it"
    total = moved.sum(axis=0)
    whole = np.rint(total)
    if whole.any() and (np.abs(total - whole) < _WHOLE).all():
        return "the displacements add up to a whole number of cell vectors"
    return ""


def _types(values: npt.ArrayLike) -> IntArray:
    raw = np.asarray(values)
    if raw.ndim != 1 or len(raw) == 0:
        raise InvalidInputError(
            f"types have shape {raw.shape}, expected (n_atoms,) with at least one particle; give one "
            "integer per particle."
        )
    if raw.dtype.kind not in "iu":
        raise InvalidInputError(
            f"types have dtype {raw.dtype}; they must be integers, 0 = A, 1 = B, ... Convert names to "
            "numbers."
        )
    if raw.min() < 0:
        i = int(np.argmin(raw))
        raise InvalidInputError(
            f"type of particle {i} is {int(raw[i])}; types count from 0 (A). Renumber the species."
        )
    return _read_only(raw.astype(np.int64))


def _finite(name: str, values: npt.ArrayLike, n_axes: int) -> FloatArray:
    raw = np.asarray(values)
    if raw.dtype.kind not in "iuf":
        raise InvalidInputError(
            f"{name} have dtype {raw.dtype}; real numbers are needed. Look at what was handed in."
        )
    if raw.ndim != n_axes:
        raise InvalidInputError(
            f"{name} have shape {raw.shape}; {n_axes} axes are needed. See IsoconfigurationalData for their "
            "order."
        )
    array = raw.astype(np.float64, copy=False)
    finite = np.isfinite(array)
    if not finite.all():
        index = tuple(int(k) for k in np.argwhere(~finite)[0])
        raise InvalidInputError(
            f"{name}{list(index)} is {array[index]}; every value must be finite. Look for the run that blew "
            "up, or for a damaged file."
        )
    return _read_only(array)


def _read_only(array: npt.NDArray[Kind]) -> npt.NDArray[Kind]:
    view = array.view()
    view.setflags(write=False)
    return view


def _periodic(values: npt.ArrayLike) -> BoolArray:
    flags = np.asarray(values)
    if flags.shape != (3,) or tuple(bool(v) for v in flags) not in {
        (True, True, True),
        (True, True, False),
    }:
        raise InvalidInputError(
            f"pbc is {flags.tolist()}; bulk systems are periodic in all directions, systems in two "
            "dimensions in the first two: (True, True, True) or (True, True, False)."
        )
    return _read_only(flags.astype(bool))


def _require_shape(name: str, array: FloatArray, shape: tuple[int, ...], meaning: str) -> None:
    if array.shape != shape:
        raise InvalidInputError(
            f"{name} have shape {array.shape}; types and times ask for {shape} = {meaning}. Check the order "
            "of the axes and that nothing is cut off."
        )


def _check_box(cell: FloatArray, n_dimensions: int) -> None:
    vectors = cell[:n_dimensions]
    if n_dimensions == 2 and np.any(vectors[:, 2] != 0.0):
        raise InvalidInputError(
            f"cell vectors {vectors.tolist()} leave the xy plane; a system in two dimensions lies in it. "
            "Turn the cell, or set pbc to (True, True, True)."
        )
    lengths = np.linalg.norm(vectors, axis=1)
    flat = lengths.min() == 0.0
    if flat or np.linalg.svd(vectors / lengths[:, None], compute_uv=False)[-1] < _SMALLEST_SINE:
        raise InvalidInputError(
            f"the cell {vectors.tolist()} spans no {'area' if n_dimensions == 2 else 'volume'}; its rows "
            "must be independent lattice vectors, in sigma_AA. Set the box of the simulation."
        )


def _check_plane(data: IsoconfigurationalData) -> None:
    if data.n_dimensions == 3:
        return
    for name, array in (
        ("initial_positions", data.initial_positions),
        ("positions", data.positions),
    ):
        if array[..., 2].any():
            index = tuple(int(k) for k in np.argwhere(array[..., 2])[0])
            raise InvalidInputError(
                f"{name}{[*index, 2]} is {array[(*index, 2)]}; a system in two dimensions (pbc True, True, "
                "False) has every third coordinate zero. Project it, or use pbc = (True, True, True)."
            )


def _check_times(times: FloatArray) -> None:
    if len(times) and (times[0] < 0.0 or (np.diff(times) <= 0.0).any()):
        raise InvalidInputError(
            f"times are {times.tolist()} tau_LJ; they must be at least zero and grow. Sort the frames."
        )


def _positive(name: str, value: float, unit: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0.0):
        raise InvalidInputError(
            f"{name} is {value!r}; a positive number in {unit} is needed. Give that of the simulation."
        )
    return number


def _plain_metadata(metadata: Mapping[str, str | float | int]) -> dict[str, str | float | int]:
    for key, value in metadata.items():
        number = isinstance(value, int | float) and math.isfinite(value)
        if not isinstance(key, str) or not (isinstance(value, str) or number):
            raise InvalidInputError(
                f"metadata[{key!r}] is {value!r}; names must be text, values text or finite numbers. "
                "Convert it, or leave it out."
            )
    return dict(metadata)
