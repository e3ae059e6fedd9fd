"""Isoconfigurational ensembles in ``.npz`` files: the public layout, others by a key map, our own superset.

A file of ours holds the three arrays of the public layout under the same names, so that scripts written for
that one can read it, and the box, times and conditions of the simulation in addition.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kakehashi_botan.array_archives import MAX_BYTES, Array, read_arrays
from kakehashi_botan.isoconfigurational_data import (
    Ensemble,
    FloatArray,
    IsoconfigurationalData,
    check_continuity,
)
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.files import atomic_write

Axis = Literal["time", "run", "atom", "space"]

FORMAT = "kakehashi-isoconfigurational"
FORMAT_VERSION = 1

PUBLIC_TEMPERATURE = 0.44
PUBLIC_DENSITY = 1.2
PUBLIC_TIMES = (0.13, 1.3, 13.0, 130.0, 412.0, 1300.0, 4120.0, 13000.0, 41200.0, 130000.0)
"""Times of the public sets at T = 0.44 by the index in their file names, which counts from 1, in tau_LJ."""

_PUBLIC_NAME = re.compile(
    r"isoconfig_N(?P<n>\d+)T(?P<temperature>\d+(?:\.\d+)?)_(?P<configuration>\w+)_tc(?P<time>\d+)\.npz"
)


@dataclass(frozen=True, kw_only=True)
class ArchiveLayout:
    """Under which names and in which order an archive keeps an ensemble.

    Attributes:
        types: Key of the species, (n_atoms,).
        initial_positions: Key of the start, (n_atoms, 2 or 3).
        positions: Key of the unwrapped trajectories.
        axes: Order of the axes of the trajectories; "time" and "run" may be absent if there is one of them.
        type_codes: Number in the file to species (0 = A); None if they agree.
        box: Key of the box: one edge, (2,) or (3,) edges, or (3, 3) rows of lattice vectors. None if not
            stored.
        times: Key of the times, (n_times,), in tau_LJ. None if not stored.
        temperature: Key of the temperature, one number. None if not stored.
    """

    types: str = "types"
    initial_positions: str = "initial_positions"
    positions: str = "positions"
    axes: tuple[Axis, ...] = ("run", "atom", "space")
    type_codes: Mapping[int, int] | None = None
    box: str | None = None
    times: str | None = None
    temperature: str | None = None

    def __post_init__(self) -> None:
        required, allowed = {"atom", "space"}, {"time", "run", "atom", "space"}
        if len(set(self.axes)) != len(self.axes) or not required <= set(self.axes) <= allowed:
            raise InvalidInputError(
                f"axes are {self.axes}; each of 'time', 'run', 'atom', 'space' may come once, and 'atom' "
                "and 'space' must be there."
            )


PUBLIC_LAYOUT = ArchiveLayout()
"""Layout of the published Kob-Andersen ensembles: one time per file, no box."""


def read_isoconfigurational(
    path: str | Path,
    *,
    layout: ArchiveLayout = PUBLIC_LAYOUT,
    box: npt.ArrayLike | None = None,
    density: float | None = None,
    temperature: float | None = None,
    times: npt.ArrayLike | None = None,
    timestep: float | None = None,
    ensemble: Ensemble = "",
    check_jumps: bool = True,
    max_bytes: int = MAX_BYTES,
) -> IsoconfigurationalData:
    """Read an ensemble from an ``.npz`` file; files of ``write_isoconfigurational`` are recognized.

    What neither the file nor an argument tells comes from the file name,
    ``isoconfig_N{N}T{T}_{id}_tc{nn}.npz``, or from the density. Positions with two columns, or a box with
    two edges, are a system in two dimensions.

    Args:
        path: The file.
        layout: Names and axes in files of others.
        box: One edge of a square or cube, (2,) or (3,) edges, or (3, 3) rows of lattice vectors, in sigma_AA.
        density: Particles per volume (area in two dimensions) of a cube (square) if the box is not known;
            1.2, that of the public data, by default.
        temperature: In epsilon_AA.
        times: Of the trajectories, (n_times,) or a number, in tau_LJ.
        timestep: Of the integrator, in tau_LJ, if known.
        ensemble: "nve" or "nvt", if known.
        check_jumps: Refuse trajectories that somebody wrapped into the cell.
        max_bytes: Largest unpacked size, bytes.

    Raises:
        InvalidInputError: If the file is damaged, truncated, unsafe or of another layout, if something is
            unknown or contradicts the file, or if the trajectories jump.
    """
    path = Path(path)
    arrays = read_arrays(path, max_bytes=max_bytes)
    if "format" in arrays:
        given = {
            "box": box,
            "density": density,
            "temperature": temperature,
            "times": times,
            "timestep": timestep,
        }
        _refuse_contradictions(path, {**given, "ensemble": ensemble or None})
        data = _own_data(path, arrays)
    else:
        name = _PUBLIC_NAME.fullmatch(path.name)
        types = _coded_types(path, _array(path, arrays, layout.types), layout.type_codes)
        start = _array(path, arrays, layout.initial_positions)
        positions = _ordered(path, _array(path, arrays, layout.positions), layout.axes)
        stored_box = _optional(path, arrays, layout.box)
        if box is not None and stored_box is not None:
            _refuse_contradictions(path, {"box": box})
        known_box = stored_box if box is None else box
        if density is not None and known_box is not None:
            raise InvalidInputError(
                f"box and density of {path.name} are both given; the box says the density, leave it out."
            )
        if density is None:
            density = PUBLIC_DENSITY
        n_dimensions = _n_dimensions(path, start, positions, known_box)
        _check_count(path, name, len(types))
        data = IsoconfigurationalData(
            types=types,
            initial_positions=_three_columns(start),
            positions=_three_columns(positions),
            cell=_cell(path, known_box, n_dimensions, start, density),
            pbc=np.array([True, True, n_dimensions == 3]),
            times=_times(path, name, times, _optional(path, arrays, layout.times)),
            temperature=_temperature(
                path, name, temperature, _optional(path, arrays, layout.temperature)
            ),
            timestep=timestep,
            ensemble=ensemble,
            metadata=_name_metadata(path, name),
        )
    if check_jumps:
        check_continuity(data)
    return data


def write_isoconfigurational(path: str | Path, data: IsoconfigurationalData) -> None:
    """Write an ensemble, atomically.

    The keys of the public layout come first; with a single time the positions have its shape
    (n_runs, n_atoms, 3), otherwise (n_times, n_runs, n_atoms, 3).

    Args:
        path: Target; its folder must exist.
        data: What to write.
    """
    small = data.types.max() < 128
    arrays: dict[str, Array] = {
        "types": data.types.astype(np.int8) if small else data.types,
        "initial_positions": data.initial_positions,
        "positions": data.positions[0] if data.n_times == 1 else data.positions,
        "cell": data.cell,
        "pbc": data.pbc,
        "times": data.times,
        "temperature": np.array(data.temperature),
        "timestep": np.array(math.nan if data.timestep is None else data.timestep),
        "ensemble": np.array(data.ensemble),
        "metadata": np.array(json.dumps(dict(data.metadata), sort_keys=True, allow_nan=False)),
        "format": np.array(FORMAT),
        "format_version": np.array(FORMAT_VERSION),
    }
    with atomic_write(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def public_name(n_atoms: int, temperature: float, configuration: str | int, time_index: int) -> str:
    """Return the file name of the public layout; the time index counts from 1."""
    return f"isoconfig_N{n_atoms}T{temperature:.2f}_{configuration}_tc{time_index:02d}.npz"


def _own_data(path: Path, arrays: Mapping[str, Array]) -> IsoconfigurationalData:
    name, version = (
        str(_array(path, arrays, "format")),
        _number(path, arrays, "format_version"),
    )
    if name != FORMAT or version != FORMAT_VERSION:
        raise InvalidInputError(
            f"{path.name} has format {name!r}, version {version:g}; this release reads {FORMAT!r}, version "
            f"{FORMAT_VERSION}. Update kakehashi-botan, or write the file again."
        )
    positions, times = _array(path, arrays, "positions"), _array(path, arrays, "times")
    timestep = _number(path, arrays, "timestep")
    return IsoconfigurationalData(
        types=_array(path, arrays, "types"),
        initial_positions=_array(path, arrays, "initial_positions"),
        positions=positions[None] if positions.ndim == 3 else positions,
        cell=_array(path, arrays, "cell"),
        pbc=_array(path, arrays, "pbc"),
        times=times,
        temperature=_number(path, arrays, "temperature"),
        timestep=None if math.isnan(timestep) else timestep,
        ensemble=str(_array(path, arrays, "ensemble")),  # type: ignore[arg-type]  # checked on construction
        metadata=_metadata(path, str(_array(path, arrays, "metadata"))),
    )


def _refuse_contradictions(path: Path, given: Mapping[str, object]) -> None:
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        raise InvalidInputError(
            f"{path.name} says itself what {', '.join(extra)} {'is' if len(extra) == 1 else 'are'}; leave "
            f"the argument{'s' * (len(extra) > 1)} out, or change the data with dataclasses.replace."
        )


def _metadata(path: Path, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidInputError(
            f"the metadata of {path.name} are no JSON ({error}): {text[:60]!r}; the file is damaged. Write "
            "it again."
        ) from error
    if not isinstance(found, dict):
        raise InvalidInputError(
            f"the metadata of {path.name} are {text[:60]!r}; a JSON object is needed. Write the file again."
        )
    return found


def _array(path: Path, arrays: Mapping[str, Array], key: str) -> Array:
    if key not in arrays:
        raise InvalidInputError(
            f"{path.name} has no array {key!r}; it holds {', '.join(sorted(arrays)) or 'nothing'}. Name the "
            "keys of this file with layout=ArchiveLayout(...)."
        )
    return arrays[key]


def _optional(path: Path, arrays: Mapping[str, Array], key: str | None) -> Array | None:
    return None if key is None else _array(path, arrays, key)


def _number(path: Path, arrays: Mapping[str, Array], key: str) -> float:
    value = _array(path, arrays, key)
    if value.size != 1 or value.dtype.kind not in "iuf":
        raise InvalidInputError(
            f"{key!r} of {path.name} has shape {value.shape} and dtype {value.dtype}; one number is needed."
        )
    return float(value.reshape(()))


def _coded_types(path: Path, types: Array, codes: Mapping[int, int] | None) -> Array:
    if types.dtype.kind not in "iu":
        return types
    if codes is None:
        if types.size and types.min() > 0:
            raise InvalidInputError(
                f"{path.name} has particles of types {np.unique(types).tolist()} and none of type 0, A. "
                "Say what they are with layout=ArchiveLayout(type_codes={1: 0, 2: 1})."
            )
        return types
    found = set(np.unique(types).tolist())
    if not found <= set(codes):
        raise InvalidInputError(
            f"{path.name} has particles of types {sorted(found - set(codes))}; the layout knows "
            f"{sorted(codes)}. Add them to type_codes."
        )
    mapped: Array = np.vectorize(dict(codes).__getitem__, otypes=[np.int64])(types)
    return mapped


def _ordered(path: Path, positions: Array, axes: tuple[Axis, ...]) -> Array:
    """Return trajectories as (time, run, atom, space)."""
    if positions.ndim != len(axes):
        raise InvalidInputError(
            f"positions of {path.name} have shape {positions.shape}; {len(axes)} axes {axes} are expected. "
            "Name the order of axes of this file with layout=ArchiveLayout(axes=...)."
        )
    order: tuple[Axis, ...] = ("time", "run", "atom", "space")
    ordered = positions.transpose([axes.index(axis) for axis in order if axis in axes])
    return np.expand_dims(ordered, [i for i, axis in enumerate(order) if axis not in axes])


def _n_dimensions(path: Path, start: Array, positions: Array, box: npt.ArrayLike | None) -> int:
    columns = {array.shape[-1] if array.ndim else 0 for array in (start, positions)}
    if len(columns) != 1 or not columns <= {2, 3}:
        raise InvalidInputError(
            f"initial positions {start.shape} and positions {positions.shape} of {path.name} need two or "
            "three coordinates as their last axis, the same number in both. Check the layout."
        )
    flat_box = box is not None and np.shape(box) == (2,)
    return 2 if columns == {2} or flat_box else 3


def _three_columns(positions: Array) -> Array:
    if positions.shape[-1] == 3:
        return positions
    return np.concatenate([positions, np.zeros((*positions.shape[:-1], 1))], axis=-1)


def _cell(
    path: Path, box: npt.ArrayLike | None, n_dimensions: int, start: Array, density: float
) -> FloatArray:
    if box is None:
        if not (math.isfinite(density) and density > 0.0):
            raise InvalidInputError(
                f"density is {density!r}; a positive number of particles per sigma_AA^{n_dimensions} is "
                "needed."
            )
        edge = (len(start) / density) ** (1.0 / n_dimensions)
        if len(start) and (start.max(axis=0) - start.min(axis=0)).max() > edge:
            raise InvalidInputError(
                f"the particles of {path.name} span {np.ptp(start, axis=0).max():.4f} sigma_AA, more than "
                f"the edge {edge:.4f} of a box of density {density:g}. Give the right density=, or box=."
            )
        box = edge
    values = np.asarray(box)
    if values.dtype.kind not in "iuf" or values.shape not in {(), (1,), (2,), (3,), (3, 3)}:
        raise InvalidInputError(
            f"the box of {path.name} has shape {values.shape} and dtype {values.dtype}; one edge, (2,) or "
            "(3,) edges, or (3, 3) rows of lattice vectors are allowed, in sigma_AA."
        )
    if values.shape == (3, 3):
        return values.astype(float)
    edges = np.ones(3)
    edges[:n_dimensions] = values[:n_dimensions] if values.size > 1 else values.reshape(())
    if n_dimensions == 3 and values.shape == (2,):
        raise InvalidInputError(f"the box of {path.name} has two edges, its particles three.")
    return np.diag(edges)


def _check_count(path: Path, name: re.Match[str] | None, n_atoms: int) -> None:
    if name is not None and int(name["n"]) != n_atoms:
        raise InvalidInputError(
            f"{path.name} holds {n_atoms} particles, but its name says {name['n']}; the file is damaged or "
            "misnamed."
        )


def _temperature(
    path: Path, name: re.Match[str] | None, given: float | None, stored: Array | None
) -> float:
    if given is not None:
        return given
    if stored is not None:
        return _number(path, {"temperature": stored}, "temperature")
    if name is not None:
        return float(name["temperature"])
    raise InvalidInputError(
        f"the temperature of {path.name} is not known: neither stored nor part of its name "
        "(isoconfig_N{N}T{T}_{id}_tc{nn}.npz). Give temperature=, in epsilon_AA."
    )


def _times(
    path: Path, name: re.Match[str] | None, given: npt.ArrayLike | None, stored: Array | None
) -> Array:
    if given is not None:
        return np.atleast_1d(np.asarray(given))
    if stored is not None:
        return np.atleast_1d(stored)
    if name is not None and float(name["temperature"]) == PUBLIC_TEMPERATURE:
        index = int(name["time"])
        if 1 <= index <= len(PUBLIC_TIMES):
            return np.array([PUBLIC_TIMES[index - 1]])
    raise InvalidInputError(
        f"the times of {path.name} are not known: not stored, and the table of published times covers file "
        f"names of T = {PUBLIC_TEMPERATURE} with tc01 to tc{len(PUBLIC_TIMES):02d}. Give times=, in tau_LJ."
    )


def _name_metadata(path: Path, name: re.Match[str] | None) -> dict[str, str | float | int]:
    found: dict[str, str | float | int] = {"source": path.name}
    if name is not None:
        found |= {"configuration": name["configuration"], "time_index": int(name["time"])}
    return found
