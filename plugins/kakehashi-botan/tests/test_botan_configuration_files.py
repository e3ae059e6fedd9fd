"""The public layout, other layouts, and round trips of our own files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kakehashi_botan.configuration_files import (
    ArchiveLayout,
    public_name,
    read_isoconfigurational,
    write_isoconfigurational,
)
from kakehashi_botan.isoconfigurational_data import IsoconfigurationalData
from kakehashi_core.errors import InvalidInputError

N_ATOMS, N_RUNS = 60, 3
EDGE = (N_ATOMS / 1.2) ** (1 / 3)
NAME = public_name(N_ATOMS, 0.44, 7, 7)


def public_arrays(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    start = EDGE * rng.random((N_ATOMS, 3))
    moved = 0.2 * rng.standard_normal((N_RUNS, N_ATOMS, 3))
    return {
        "types": (np.arange(N_ATOMS) % 5 == 4).astype(np.int8),
        "initial_positions": start,
        "positions": start + moved,
    } | changes


def saved(folder: Path, arrays: dict[str, Any], name: str = NAME) -> Path:
    np.savez(folder / name, **arrays)
    return folder / name


def data(n_times: int = 2, n_dimensions: int = 3, **changes: Any) -> IsoconfigurationalData:
    arrays = public_arrays()
    moved = np.random.default_rng(1).standard_normal((n_times, N_RUNS, N_ATOMS, 3))
    flat = np.arange(3) < n_dimensions
    fields: dict[str, Any] = {
        "types": arrays["types"],
        "initial_positions": arrays["initial_positions"] * flat,
        "positions": (arrays["initial_positions"] + 0.1 * moved) * flat,
        "cell": np.eye(3) * EDGE + np.array([[0, 0, 0], [1.0, 0, 0], [0, 0, 0]]),
        "pbc": flat,
        "times": np.arange(1, n_times + 1) * 2.5,
        "temperature": 0.6,
        "timestep": 0.005,
        "ensemble": "nvt",
        "metadata": {"seed": 5, "source": "µ", "damping": 0.1},
    }
    return IsoconfigurationalData(**fields | changes)


def test_public_layout(tmp_path: Path) -> None:
    """Oracle: the arrays that were saved, the density 1.2, and what the name says."""
    arrays = public_arrays()
    found = read_isoconfigurational(saved(tmp_path, arrays), timestep=0.003, ensemble="nve")
    assert NAME == "isoconfig_N60T0.44_7_tc07.npz"
    np.testing.assert_array_equal(found.positions, arrays["positions"][None])
    np.testing.assert_array_equal(found.types, arrays["types"])
    np.testing.assert_allclose(found.box_lengths, EDGE)
    assert found.density == pytest.approx(1.2)
    assert (found.temperature, found.timestep, found.ensemble) == (0.44, 0.003, "nve")
    assert found.times.tolist() == [4120.0]
    assert found.metadata == {"source": NAME, "configuration": "7", "time_index": 7}


def test_arguments_win_over_the_name(tmp_path: Path) -> None:
    path = saved(tmp_path, public_arrays())
    found = read_isoconfigurational(path, box=[4.0, 5.0, 6.0], temperature=0.5, times=3.0)
    assert found.box_lengths.tolist() == [4.0, 5.0, 6.0]
    assert found.temperature == 0.5
    assert found.times.tolist() == [3.0]
    thin = read_isoconfigurational(path, density=1.0)
    assert thin.density == pytest.approx(1.0)
    matrix = np.eye(3) * 5.0 + np.eye(3, k=-1)
    skewed = read_isoconfigurational(path, box=matrix)
    np.testing.assert_array_equal(skewed.cell, matrix)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"types": np.zeros(59, int)}, {}, "holds 59 particles, but its name says 60"),
        ({"positions": np.zeros((3, 59, 3))}, {}, r"positions have shape \(1, 3, 59, 3\)"),
        ({"positions": np.zeros((60, 3))}, {}, r"3 axes .* are expected"),
        ({"positions": np.zeros((3, 60, 4))}, {}, "two or three coordinates"),
        ({"initial_positions": np.full((60, 3), np.nan)}, {}, "is nan"),
        ({"positions": np.full((3, 60, 3), np.inf)}, {}, r"positions\[0, 0, 0, 0\] is inf"),
        ({"types": np.zeros(60)}, {}, "types have dtype float64"),
        ({"positions": np.zeros((3, 60, 3), object)}, {}, "pickle"),
        ({}, {"density": 2.0}, "more than the edge .* density 2"),
        ({}, {"density": -1.0}, "density is -1.0"),
        ({}, {"density": 0.0}, "density is 0.0"),
        ({}, {"density": 1.2, "box": 4.0}, "box and density"),
        ({"types": np.ones(60, int)}, {}, "none of type 0"),
        ({}, {"box": [1.0, 2.0, 3.0, 4.0]}, r"shape \(4,\).*one edge"),
        ({}, {"box": "large"}, "one edge"),
        (
            {},
            {"layout": ArchiveLayout(types="species")},
            "no array 'species'; it holds initial_pos",
        ),
    ],
)
def test_wrong_contents_are_refused(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_isoconfigurational(saved(tmp_path, public_arrays(**changes)), **options)


def test_missing_arrays_are_named(tmp_path: Path) -> None:
    arrays = public_arrays()
    del arrays["positions"]
    message = r"no array 'positions'; it holds initial_positions, types.*ArchiveLayout"
    with pytest.raises(InvalidInputError, match=message):
        read_isoconfigurational(saved(tmp_path, arrays))


def test_unknown_conditions_are_asked_for(tmp_path: Path) -> None:
    anonymous = saved(tmp_path, public_arrays(), "x.npz")
    with pytest.raises(InvalidInputError, match=r"temperature of x.npz is not known"):
        read_isoconfigurational(anonymous, times=1.0)
    with pytest.raises(InvalidInputError, match=r"times of x\.npz are not known.*Give times="):
        read_isoconfigurational(anonymous, temperature=0.5)
    assert read_isoconfigurational(anonymous, temperature=0.5, times=1.0).n_atoms == N_ATOMS
    warm = saved(tmp_path, public_arrays(), public_name(N_ATOMS, 0.5, 1, 7))
    with pytest.raises(InvalidInputError, match=r"times of .* are not known"):
        read_isoconfigurational(warm)


def test_wrapped_trajectories_are_refused_unless_told_otherwise(tmp_path: Path) -> None:
    arrays = public_arrays()
    path = saved(tmp_path, arrays | {"positions": arrays["positions"] % EDGE})
    with pytest.raises(InvalidInputError, match="trajectory jumps"):
        read_isoconfigurational(path)
    read_isoconfigurational(path, check_jumps=False)


def test_another_layout(tmp_path: Path) -> None:
    """Keys, order of axes, codes of species, box, times and temperature of a made-up flat set."""
    rng = np.random.default_rng(3)
    start = rng.random((N_ATOMS, 2)) * [6.0, 7.0]
    moved = start + 0.1 * rng.standard_normal((4, N_RUNS, N_ATOMS, 2))  # time, run
    codes = np.arange(N_ATOMS) % 3 + 1
    path = saved(
        tmp_path,
        {
            "species": codes,
            "r0": start,
            "r": moved.transpose(2, 0, 1, 3),
            "L": np.array([6.0, 7.0]),
            "t": np.array([1.0, 2.0, 4.0, 8.0]),
            "T": np.array(0.23),
        },
        "glass.npz",
    )
    layout = ArchiveLayout(
        types="species",
        initial_positions="r0",
        positions="r",
        axes=("atom", "time", "run", "space"),
        type_codes={1: 0, 2: 1, 3: 2},
        box="L",
        times="t",
        temperature="T",
    )
    found = read_isoconfigurational(path, layout=layout)
    assert found.n_dimensions == 2
    assert found.box_lengths.tolist() == [6.0, 7.0]
    np.testing.assert_array_equal(found.positions[..., :2], moved)
    np.testing.assert_array_equal(found.types, codes - 1)
    assert (found.temperature, found.n_times) == (0.23, 4)
    with pytest.raises(InvalidInputError, match=r"types \[3\]; the layout knows \[1, 2\]"):
        read_isoconfigurational(path, layout=replace(layout, type_codes={1: 0, 2: 1}))
    with pytest.raises(InvalidInputError, match="'atom' and 'space' must be there"):
        ArchiveLayout(axes=("time", "run"))


def test_a_square_is_derived_from_the_density(tmp_path: Path) -> None:
    """Oracle: 60 particles at 1.2 per area; a single run without an axis of runs."""
    edge = (N_ATOMS / 1.2) ** 0.5
    start = edge * np.random.default_rng(4).random((N_ATOMS, 2))
    path = saved(tmp_path, public_arrays(initial_positions=start, positions=start + 0.01), "x.npz")
    found = read_isoconfigurational(
        path, layout=ArchiveLayout(axes=("atom", "space")), temperature=0.5, times=1.0
    )
    np.testing.assert_allclose(found.box_lengths, [edge, edge])
    assert (found.n_runs, found.n_times, found.n_dimensions) == (1, 1, 2)


@pytest.mark.parametrize("n_times", [1, 3])
@pytest.mark.parametrize("n_dimensions", [2, 3])
@pytest.mark.parametrize("timestep", [None, 0.005])
def test_own_files_come_back_bit_by_bit(
    tmp_path: Path, n_times: int, n_dimensions: int, timestep: float | None
) -> None:
    """Oracle: the data that were written."""
    written = data(n_times, n_dimensions, timestep=timestep)
    write_isoconfigurational(tmp_path / "a.npz", written)
    found = read_isoconfigurational(tmp_path / "a.npz")
    for name in ("types", "initial_positions", "positions", "cell", "pbc", "times"):
        np.testing.assert_array_equal(getattr(found, name), getattr(written, name))
    for name in ("temperature", "timestep", "ensemble", "metadata"):
        assert getattr(found, name) == getattr(written, name)
    assert [f.name for f in tmp_path.iterdir()] == ["a.npz"]


def test_own_files_of_one_time_have_the_public_keys(tmp_path: Path) -> None:
    """Oracle: numpy.load of the three keys, with the shapes that scripts for the public layout expect."""
    written = data(1)
    write_isoconfigurational(tmp_path / NAME, written)
    with np.load(tmp_path / NAME, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["positions"], written.positions[0])
        np.testing.assert_array_equal(archive["initial_positions"], written.initial_positions)
        assert archive["types"].dtype == np.int8


def test_own_files_speak_for_themselves(tmp_path: Path) -> None:
    write_isoconfigurational(tmp_path / "a.npz", data())
    with pytest.raises(InvalidInputError, match="says itself what temperature, times are"):
        read_isoconfigurational(tmp_path / "a.npz", temperature=0.5, times=[1.0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": np.array(2)}, "version 2; this release reads .* version 1"),
        ({"format": np.array("other")}, "has format 'other'"),
        ({"metadata": np.array("{")}, "are no JSON"),
        ({"metadata": np.array("[1]")}, "a JSON object is needed"),
        ({"temperature": np.array([1.0, 2.0])}, r"'temperature' .* shape \(2,\).*one number"),
        ({"ensemble": np.array("npt")}, "ensemble is 'npt'"),
        ({"cell": np.zeros((3, 3))}, "spans no volume"),
    ],
)
def test_spoiled_own_files_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_isoconfigurational(tmp_path / "a.npz", data())
    with np.load(tmp_path / "a.npz") as archive:
        arrays = dict(archive)
    with pytest.raises(InvalidInputError, match=message):
        read_isoconfigurational(saved(tmp_path, arrays | changes, "b.npz"))
