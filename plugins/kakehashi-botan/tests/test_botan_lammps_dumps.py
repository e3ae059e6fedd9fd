"""LAMMPS text dumps written here line by line, in the format of its documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ase")

from kakehashi_botan.lammps_dumps import read_lammps_dumps
from kakehashi_core.errors import InvalidInputError

N_ATOMS, EDGE = 40, 5.0
TYPES = np.arange(N_ATOMS) % 5 // 4 + 1
OPTIONS: dict[str, Any] = {"temperature": 0.5, "timestep": 0.005}


def frame(step: int, positions: Any, order: Any, bounds: str, columns: str, types: Any) -> str:
    rows = [
        f"{i + 1} {types[i]} " + " ".join(f"{v:.9f}" for v in positions[i]) + "\n" for i in order
    ]
    return (
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(positions)}\n{bounds}"
        f"ITEM: ATOMS {columns}\n{''.join(rows)}"
    )


CUBIC = f"ITEM: BOX BOUNDS pp pp pp\n-1.0 {EDGE - 1}\n-1.0 {EDGE - 1}\n-1.0 {EDGE - 1}\n"
# xlo_bound xhi_bound xy with xy = 1.5: bounds widen by the tilt.
TILTED = f"ITEM: BOX BOUNDS xy xz yz pp pp pp\n0 {EDGE + 1.5} 1.5\n0 {EDGE} 0\n0 {EDGE} 0\n"
FLAT = f"ITEM: BOX BOUNDS pp pp ff\n0 {EDGE}\n0 {EDGE}\n-0.5 0.5\n"


def trajectories(n_dimensions: int = 3) -> Any:
    """(n_runs, n_frames, n_atoms, 3); the first frame is common."""
    rng = np.random.default_rng(0)
    start = EDGE * rng.random((N_ATOMS, 3))
    moved = 0.15 * rng.standard_normal((2, 3, N_ATOMS, 3)) * (np.arange(3) > -1)
    moved[:, 0] = 0.0
    return (start + moved) * (np.arange(3) < n_dimensions)


def dumps(
    folder: Path,
    runs: Any,
    *,
    bounds: str = CUBIC,
    columns: str = "id type xu yu zu",
    steps: Any = (0, 100, 1000),
    types: Any = TYPES,
) -> list[Path]:
    """One file per run; rows in another random order in every frame."""
    rng = np.random.default_rng(1)
    paths = []
    for number, frames in enumerate(runs):
        text = "".join(
            frame(step, positions, rng.permutation(len(positions)), bounds, columns, types)
            for step, positions in zip(steps, frames, strict=True)
        )
        paths.append(folder / f"run{number}.dump")
        paths[-1].write_text(text)
    return paths


@pytest.mark.parametrize(
    ("bounds", "cell"),
    [
        (CUBIC, np.eye(3) * EDGE),
        (TILTED, np.eye(3) * EDGE + np.array([[0, 0, 0], [1.5, 0, 0], [0, 0, 0]])),
    ],
)
def test_dumps_are_sorted_by_id(tmp_path: Path, bounds: str, cell: Any) -> None:
    """Oracle: the positions that were written, to the nine digits of the text."""
    runs = trajectories()
    found = read_lammps_dumps(dumps(tmp_path, runs, bounds=bounds), ensemble="nve", **OPTIONS)
    np.testing.assert_allclose(found.initial_positions, runs[0, 0], atol=1e-8)
    np.testing.assert_allclose(found.positions, runs[:, 1:].transpose(1, 0, 2, 3), atol=1e-8)
    np.testing.assert_allclose(found.cell, cell)
    np.testing.assert_array_equal(found.types, TYPES - 1)
    np.testing.assert_allclose(found.times, [0.5, 5.0])
    assert (found.temperature, found.timestep, found.ensemble) == (0.5, 0.005, "nve")


def test_two_dimensions(tmp_path: Path) -> None:
    runs = trajectories(2)
    found = read_lammps_dumps(dumps(tmp_path, runs, bounds=FLAT), **OPTIONS)
    assert found.n_dimensions == 2
    assert found.density == pytest.approx(N_ATOMS / EDGE**2)


def test_scaled_unwrapped_columns(tmp_path: Path) -> None:
    """Oracle: scaled coordinates are fractions of the box, counted from its lower corner."""
    runs = trajectories()
    paths = dumps(tmp_path, runs / EDGE, columns="id type xsu ysu zsu", bounds=CUBIC)
    found = read_lammps_dumps(paths, **OPTIONS)
    moved = found.positions - found.initial_positions
    np.testing.assert_allclose(moved, (runs[:, 1:] - runs[:, :1]).transpose(1, 0, 2, 3), atol=1e-7)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("id type x y z", "unwrapped positions are needed"),
        ("id type xs ys zs", "unwrapped positions are needed"),
        ("id mol xu yu zu", "without type"),
        ("tag type xu yu zu", "without id"),
        ("id type vx vy vz", "unwrapped positions are needed"),
    ],
)
def test_columns(tmp_path: Path, columns: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"{message}.*id type xu yu zu"):
        read_lammps_dumps(dumps(tmp_path, trajectories(), columns=columns), **OPTIONS)


def test_wrapped_columns_beside_unwrapped_ones(tmp_path: Path) -> None:
    """ASE would read x y z; control: it is only the columns that are refused."""
    runs = trajectories()
    both = np.concatenate([runs % EDGE, runs], axis=-1)
    with pytest.raises(InvalidInputError, match="no wrapped ones beside them"):
        read_lammps_dumps(dumps(tmp_path, both, columns="id type x y z xu yu zu"), **OPTIONS)
    harmless = dumps(tmp_path, both, columns="id type vx vy vz xu yu zu")
    assert read_lammps_dumps(harmless, **OPTIONS).n_runs == 2


def test_wrapped_positions_under_the_name_of_unwrapped_ones(tmp_path: Path) -> None:
    paths = dumps(tmp_path, trajectories() % EDGE)
    with pytest.raises(InvalidInputError, match="trajectory jumps"):
        read_lammps_dumps(paths, **OPTIONS)
    assert read_lammps_dumps(paths, check_jumps=False, **OPTIONS).n_runs == 2


def test_truncated_files_are_noticed_wherever_they_end(tmp_path: Path) -> None:
    paths = dumps(tmp_path, trajectories())
    text = paths[1].read_text()
    for part in range(1, 20):
        paths[1].write_text(text[: len(text) * part // 20])
        with pytest.raises(InvalidInputError, match=r"run1\.dump.*Copy it again"):
            read_lammps_dumps(paths, **OPTIONS)
    paths[1].write_text(text[:-4])  # in the last number
    with pytest.raises(InvalidInputError, match="ends in the middle of a line"):
        read_lammps_dumps(paths, **OPTIONS)
    lines = text.splitlines(keepends=True)
    paths[1].write_text("".join(lines[: 2 * (N_ATOMS + 9) + 2]))
    with pytest.raises(InvalidInputError, match="3 steps but 2 frames"):
        read_lammps_dumps(paths, **OPTIONS)
    paths[1].write_text("".join(lines[:-5]))
    with pytest.raises(InvalidInputError, match=r"rows for 40 atoms.*truncated"):
        read_lammps_dumps(paths, **OPTIONS)


def test_frames_that_do_not_fit(tmp_path: Path) -> None:
    runs = trajectories()
    with pytest.raises(InvalidInputError, match="no dump was given"):
        read_lammps_dumps([], **OPTIONS)
    with pytest.raises(InvalidInputError, match="there is no file"):
        read_lammps_dumps([tmp_path / "absent"], **OPTIONS)
    foreign = tmp_path / "foreign"
    foreign.write_text("hello\n")
    with pytest.raises(InvalidInputError, match="no LAMMPS text dump"):
        read_lammps_dumps([foreign], **OPTIONS)
    foreign.write_bytes(b"\x1f\x8b\xff\x00")
    with pytest.raises(InvalidInputError, match="is no text"):
        read_lammps_dumps([foreign], **OPTIONS)
    with pytest.raises(InvalidInputError, match="at least one later"):
        read_lammps_dumps(dumps(tmp_path, runs[:, :1], steps=[0]), **OPTIONS)
    with pytest.raises(InvalidInputError, match=r"first frame of run1.dump differs"):
        read_lammps_dumps(dumps(tmp_path, runs + np.arange(2)[:, None, None, None]), **OPTIONS)
    with pytest.raises(InvalidInputError, match=r"types \[1, 2, 3\]; types from 1 to 2"):
        read_lammps_dumps(dumps(tmp_path, runs, types=np.arange(N_ATOMS) % 3 + 1), **OPTIONS)
    first = dumps(tmp_path, runs)[0]
    first.rename(tmp_path / "other")
    mixed = [tmp_path / "other", dumps(tmp_path, runs, steps=(0, 100, 999))[1]]
    with pytest.raises(InvalidInputError, match=r"run1\.dump has steps \[0, 100, 999\]"):
        read_lammps_dumps(mixed, **OPTIONS)
    doubled = dumps(tmp_path, runs)[0]
    doubled.write_text(doubled.read_text().replace("\n7 1 ", "\n8 1 ", 1))
    with pytest.raises(InvalidInputError, match="ids of a frame are doubled"):
        read_lammps_dumps([doubled], **OPTIONS)
