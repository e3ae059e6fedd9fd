"""Validation, derived quantities and selection of isoconfigurational ensembles."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from kakehashi_botan.isoconfigurational_data import IsoconfigurationalData, check_continuity
from kakehashi_core.errors import InvalidInputError

CUBE = np.diag([4.0, 5.0, 6.0])
BULK = np.array([True, True, True])
PLANE = np.array([True, True, False])


def fields(n_dimensions: int = 3, n_atoms: int = 6, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    start = rng.random((n_atoms, 3)) * np.diag(CUBE)
    moved = start + 0.3 * rng.standard_normal((2, 3, n_atoms, 3))
    if n_dimensions == 2:
        start[:, 2] = moved[..., 2] = 0.0
    return {
        "types": np.arange(n_atoms, dtype=np.int8) % 2,
        "initial_positions": start,
        "positions": moved,
        "cell": CUBE,
        "pbc": BULK if n_dimensions == 3 else PLANE,
        "times": [1.0, 10.0],
        "temperature": 0.5,
    } | changes


def test_derived_quantities_in_three_dimensions() -> None:
    """Oracle: 6 particles in a box of 4 x 5 x 6."""
    data = IsoconfigurationalData(**fields())
    assert (data.n_times, data.n_runs, data.n_atoms, data.n_dimensions) == (2, 3, 6, 3)
    assert data.volume == pytest.approx(120.0)
    assert data.density == pytest.approx(0.05)
    assert data.box_lengths.tolist() == [4.0, 5.0, 6.0]
    assert data.types.dtype == np.int64


@pytest.mark.parametrize("third", [0.0, 1.0, 7.0])
def test_derived_quantities_in_two_dimensions(third: float) -> None:
    """Oracle: area 4 x 5 whatever the third cell vector is."""
    cell = np.diag([4.0, 5.0, third])
    data = IsoconfigurationalData(**fields(2, cell=cell))
    assert data.n_dimensions == 2
    assert data.density == pytest.approx(6 / 20)
    assert data.box_lengths.tolist() == [4.0, 5.0]


def test_volume_of_a_skewed_cell() -> None:
    """Oracle: shear keeps the volume; box lengths do not exist."""
    cell = CUBE + np.array([[0, 0, 0], [1.5, 0, 0], [0, 2.5, 0]])
    data = IsoconfigurationalData(**fields(cell=cell))
    assert data.volume == pytest.approx(120.0)
    with pytest.raises(InvalidInputError, match="not orthorhombic"):
        _ = data.box_lengths


def test_arrays_are_read_only_and_the_input_is_not_frozen() -> None:
    given = fields()
    data = IsoconfigurationalData(**given)
    with pytest.raises(ValueError, match="read-only"):
        data.positions[0, 0, 0, 0] = 1.0
    given["positions"][0, 0, 0, 0] += 1.0  # the caller's array stays writable


def test_selection_of_times_and_runs() -> None:
    data = IsoconfigurationalData(**fields())
    late = data.at(-1)
    assert late.times.tolist() == [10.0]
    np.testing.assert_array_equal(late.positions, data.positions[1:])
    half = data.with_runs([2, 0])
    np.testing.assert_array_equal(half.positions, data.positions[:, [2, 0]])
    np.testing.assert_array_equal(data.mask(1), data.types == 1)
    assert data.mask(None).all()
    with pytest.raises(InvalidInputError, match="time index 2 does not exist"):
        data.at(2)
    with pytest.raises(InvalidInputError, match="from 0 to 2"):
        data.with_runs([3])
    with pytest.raises(InvalidInputError, match=r"no particle of species 4.*\[0, 1\]"):
        data.mask(4)


def test_pickles_and_keeps_metadata() -> None:
    data = IsoconfigurationalData(**fields(metadata={"source": "x", "seed": 3}, ensemble="nve"))
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again.positions, data.positions)
    assert again.metadata == {"source": "x", "seed": 3}
    assert again.ensemble == "nve"


NAN_POSITIONS = fields()["positions"].copy()
NAN_POSITIONS[1, 2, 3, 0] = np.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"types": np.zeros(5, int)}, r"initial_positions have shape \(6, 3\).*\(5, 3\)"),
        ({"types": np.zeros(6)}, "types have dtype float64.*integers"),
        ({"types": np.array([0, 0, -1, 0, 0, 0])}, "type of particle 2 is -1"),
        ({"types": np.zeros(0, int)}, "at least one particle"),
        ({"positions": np.zeros((3, 6, 3))}, r"positions have shape \(3, 6, 3\); 4 axes"),
        ({"positions": np.zeros((2, 0, 6, 3))}, "at least one time and one run"),
        ({"positions": np.zeros((1, 3, 6, 3))}, "n_times, n_runs, n_atoms, 3"),
        ({"positions": NAN_POSITIONS}, r"positions\[1, 2, 3, 0\] is nan.*finite"),
        ({"positions": np.zeros((2, 3, 6, 3), object)}, "dtype object; real numbers"),
        ({"times": [2.0, 1.0]}, r"times are \[2.0, 1.0\].*grow"),
        ({"times": [-1.0, 1.0]}, "at least zero"),
        ({"temperature": 0.0}, "temperature is 0.0; a positive"),
        ({"temperature": "cold"}, "temperature is 'cold'"),
        ({"timestep": -0.1}, "timestep is -0.1"),
        ({"ensemble": "npt"}, "ensemble is 'npt'"),
        ({"metadata": {"a": [1]}}, r"metadata\['a'\] is \[1\]"),
        ({"metadata": {"a": float("nan")}}, "finite numbers"),
        ({"pbc": [True, False, True]}, "pbc is"),
        ({"pbc": [False] * 3}, r"\(True, True, True\) or \(True, True, False\)"),
        ({"cell": np.zeros((3, 3))}, "spans no volume"),
        ({"cell": np.array([[1, 0, 0], [2, 0, 0], [0, 0, 1.0]])}, "spans no volume"),
        ({"pbc": PLANE}, r"initial_positions\[0, 2\] is .*third coordinate zero"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        IsoconfigurationalData(**fields(**changes))


def test_a_plane_must_lie_in_xy() -> None:
    tilted = CUBE.copy()
    tilted[1, 2] = 1.0
    with pytest.raises(InvalidInputError, match="leave the xy plane"):
        IsoconfigurationalData(**fields(2, cell=tilted))


# Continuity ------------------------------------------------------------------


def moving(sd: float, *, cell: Any = CUBE, n_dimensions: int = 3) -> dict[str, Any]:
    """150 particles; Gaussian displacements without total momentum."""
    rng = np.random.default_rng(8)
    start = rng.random((150, 3)) @ cell
    moved = sd * rng.standard_normal((1, 4, 150, 3))
    moved -= moved.mean(axis=2, keepdims=True)
    if n_dimensions == 2:
        start[:, 2] = moved[..., 2] = 0.0
    given = fields(n_dimensions, cell=cell, times=[1.0])
    return given | {
        "types": np.zeros(150, int),
        "initial_positions": start,
        "positions": start + moved,
    }


def wrapped(given: dict[str, Any]) -> dict[str, Any]:
    cell = given["cell"]
    fractional = given["positions"] @ np.linalg.inv(cell)
    return given | {"positions": (fractional % 1.0) @ cell}


SKEWED = CUBE + np.array([[0, 0, 0], [1.5, 0, 0], [-1.0, 2.5, 0]])


@pytest.mark.parametrize("cell", [CUBE, SKEWED])
@pytest.mark.parametrize("sd", [0.02, 0.1, 1.0, 3.0, 30.0])
def test_continuous_trajectories_pass_and_wrapped_ones_do_not(cell: Any, sd: float) -> None:
    """Control: the same trajectories before wrapping, from vibrations to several cells."""
    check_continuity(IsoconfigurationalData(**moving(sd, cell=cell)))
    with pytest.raises(InvalidInputError, match=r"trajectory jumps.*check_jumps=False"):
        check_continuity(IsoconfigurationalData(**wrapped(moving(sd, cell=cell))))


def test_wrapping_is_found_without_conserved_momentum() -> None:
    """A thermostat pushes the center of mass, so that displacements add up to nothing special."""
    given = moving(1.0)
    given["positions"] = given["positions"] + 0.0123
    check_continuity(IsoconfigurationalData(**given))
    with pytest.raises(InvalidInputError, match="all of them lie inside one cell"):
        check_continuity(IsoconfigurationalData(**wrapped(given)))


def test_wrapping_in_two_dimensions_is_found() -> None:
    flat = moving(0.2, n_dimensions=2)
    check_continuity(IsoconfigurationalData(**flat))
    with pytest.raises(InvalidInputError, match="trajectory jumps"):
        check_continuity(IsoconfigurationalData(**wrapped(flat)))


def test_one_particle_off_by_a_cell_is_found() -> None:
    """The gap between vibrations and whole cells, and, where motion fills it, the sum of displacements."""
    for sd, reason in ((0.1, "about a whole cell"), (1.2, "whole number of cell vectors")):
        given = moving(sd)
        check_continuity(IsoconfigurationalData(**given))
        given["positions"][0, 2, 7] += CUBE[1]
        with pytest.raises(InvalidInputError, match=rf"{reason}.*run 2"):
            check_continuity(IsoconfigurationalData(**given))
