"""Isoconfigurational ensembles from LAMMPS text dumps, one file per run, read through ASE. ``units lj``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kakehashi_botan.atoms_conversion import atoms_to_data
from kakehashi_botan.isoconfigurational_data import (
    Ensemble,
    IsoconfigurationalData,
    check_continuity,
)
from kakehashi_botan.particle_types import TYPES
from kakehashi_core.errors import InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms

_UNWRAPPED = ({"xu", "yu", "zu"}, {"xsu", "ysu", "zsu"})
_WRAPPED = {"x", "xs"}
_DUMP_COMMAND = "dump ... custom ... id type xu yu zu"
_SAME_START = 1e-4
"""Largest distance, sigma_AA, between the first frames of two runs; dumps have about six digits."""


def read_lammps_dumps(
    paths: Sequence[str | Path],
    *,
    temperature: float,
    timestep: float,
    ensemble: Ensemble = "",
    n_species: int = 2,
    check_jumps: bool = True,
) -> IsoconfigurationalData:
    """Read one text dump per run; the first frame of each is the common start, the others are the times.

    Args:
        paths: Dumps with the columns id, type and xu yu zu (or xsu ysu zsu); the frames of all files have
            the same steps. Types count from 1 (A).
        temperature: In epsilon_AA.
        timestep: Of the integrator, in tau_LJ.
        ensemble: "nve" or "nvt", if known.
        n_species: Largest number of types.
        check_jumps: Refuse trajectories that jump by lattice vectors.

    Raises:
        InvalidInputError: If a file is absent, truncated or of another kind, has wrapped or no positions, or
            runs do not share their start, particles and steps.
    """
    if not paths:
        raise InvalidInputError("no dump was given; one path per run is needed.")
    files = [Path(path) for path in paths]
    runs = [_frames(path, n_species) for path in files]
    start = runs[0][0]
    steps = [frame.info["timestep"] for frame in runs[0]]
    for path, frames in zip(files, runs, strict=True):
        found = [frame.info["timestep"] for frame in frames]
        if found != steps or len(steps) < 2:
            raise InvalidInputError(
                f"{path.name} has steps {found[:6]} ({len(found)} frames), {files[0].name} {steps[:6]} "
                f"({len(steps)}); every run needs the same steps, the start and at least one later. Cut the "
                "dumps to common frames."
            )
        if len(frames[0]) != len(start) or _largest_gap(frames[0], start) > _SAME_START:
            raise InvalidInputError(
                f"the first frame of {path.name} differs from that of {files[0].name}; runs of an "
                "isoconfigurational ensemble start from the same positions. Dump step 0 of every run."
            )
    times = timestep * (np.array(steps[1:], dtype=float) - steps[0])
    data = atoms_to_data(
        start,
        [frames[1:] for frames in runs],
        times=times,
        temperature=temperature,
        timestep=timestep,
        ensemble=ensemble,
        n_species=n_species,
        metadata={"source": "LAMMPS dump", "first_file": files[0].name},
    )
    if check_jumps:
        check_continuity(data)
    return data


def _largest_gap(first: Atoms, second: Atoms) -> float:
    return float(np.abs(first.positions - second.positions).max())


def _frames(path: Path, n_species: int) -> list[Atoms]:
    from ase.io import read

    _check_text(path)
    try:
        found = read(path, index=":", format="lammps-dump-text")
    except Exception as error:  # ASE's reader fails on foreign text with a dozen different classes
        raise InvalidInputError(
            f"{path.name} cannot be read as a LAMMPS text dump ({type(error).__name__}: {error}). Write it "
            f"with '{_DUMP_COMMAND}'."
        ) from error
    frames = found if isinstance(found, list) else [found]
    for frame in frames:
        types = frame.arrays["type"]
        if types.min() < 1 or types.max() > n_species:
            raise InvalidInputError(
                f"{path.name} has types {sorted(set(types.tolist()))}; types from 1 to {n_species} are "
                "allowed. Raise n_species for a mixture of more."
            )
        frame.set_array(TYPES, types.astype(np.int64) - 1)
    return frames


def _check_text(path: Path) -> None:
    """Check columns, ids and completeness: ASE takes wrapped columns first and keeps doubled ids."""
    if not path.is_file():
        raise InvalidInputError(f"there is no file {path}; check the name and the folder.")
    try:
        lines = path.read_text(encoding="ascii").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path.name} is no text; binary and compressed dumps are not read. Unpack it, or write a text "
            "dump."
        ) from error
    starts = [k for k, line in enumerate(lines) if line.startswith("ITEM: ATOMS")]
    if not starts or not lines[0].startswith("ITEM:"):
        raise InvalidInputError(
            f"{path.name} has no 'ITEM: ATOMS' line; it is no LAMMPS text dump. Write it with "
            f"'{_DUMP_COMMAND}'."
        )
    if lines[-1] != "":
        raise InvalidInputError(
            f"{path.name} ends in the middle of a line, {lines[-1][:40]!r}; it is truncated. Copy it again."
        )
    n_steps = sum(line.startswith("ITEM: TIMESTEP") for line in lines)
    if n_steps != len(starts):
        raise InvalidInputError(
            f"{path.name} has {n_steps} steps but {len(starts)} frames; it is truncated or damaged. Copy it "
            "again."
        )
    ids: list[str] | None = None
    for begin in starts:
        columns = lines[begin].split()[2:]
        _check_columns(path, columns)
        rows = _frame_rows(path, lines, begin)
        place = columns.index("id")
        found = sorted(row[place] for row in rows)
        if len(set(found)) != len(found) or (ids is not None and found != ids):
            raise InvalidInputError(
                f"{path.name}, line {begin + 1}: the ids of a frame are doubled or differ from the first "
                "frame; every frame needs the same particles. Dump all atoms."
            )
        ids = found


def _frame_rows(path: Path, lines: list[str], begin: int) -> list[list[str]]:
    header = next(
        (k for k in range(begin, -1, -1) if lines[k].startswith("ITEM: NUMBER OF ATOMS")), None
    )
    text = lines[header + 1].strip() if header is not None else ""
    expected = int(text) if text.isdecimal() else -1
    n_columns = len(lines[begin].split()) - 2
    rows = []
    for line in lines[begin + 1 :]:
        if line.startswith("ITEM:") or not line:
            break
        rows.append(line.split())
    if len(rows) != expected or expected < 1 or any(len(row) != n_columns for row in rows):
        raise InvalidInputError(
            f"{path.name}, line {begin + 1}: {len(rows)} complete or incomplete rows for "
            f"{text or 'no number of'} atoms with {n_columns} columns; the file is truncated or damaged. "
            "Copy it again."
        )
    return rows


def _check_columns(path: Path, columns: list[str]) -> None:
    missing = {"id", "type"} - set(columns)
    if missing:
        raise InvalidInputError(
            f"{path.name} has columns {' '.join(columns)}, without {' and '.join(sorted(missing))}; without "
            f"them the particles cannot be sorted and told apart. Write it with '{_DUMP_COMMAND}'."
        )
    if _WRAPPED & set(columns) or not any(names <= set(columns) for names in _UNWRAPPED):
        raise InvalidInputError(
            f"{path.name} has columns {' '.join(columns)}; unwrapped positions are needed, and no wrapped "
            f"ones beside them, which ASE would take instead. Write it with '{_DUMP_COMMAND}'."
        )
