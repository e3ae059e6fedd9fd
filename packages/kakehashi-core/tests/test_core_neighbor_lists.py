"""Neighbor lists against brute force over lattice images."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys

import numpy as np
import pytest

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.neighbor_lists import NeighborList

TRICLINIC = np.array([[4.0, 0.3, 0.0], [-1.2, 3.5, 0.2], [0.7, 1.1, 5.0]])
ALL_PBC = list(itertools.product([False, True], repeat=3))
Pairs = set[tuple[int, ...]]


def brute_force(
    x: np.ndarray, cell: np.ndarray, pbc: tuple[bool, ...], reach: float, n_images: int = 4
) -> Pairs:
    """Every (i, j, shift) with a distance below ``reach``, by testing all of them."""
    found = set()
    # Shifts are counted from where the particles lie, however far from each other that is.
    inverse = np.linalg.inv(cell)
    images = np.array(
        list(itertools.product(*(range(-n_images, n_images + 1) if p else (0,) for p in pbc)))
    )
    for i, j in itertools.product(range(len(x)), repeat=2):
        shifts = images - np.round((x[j] - x[i]) @ inverse).astype(int) * np.array(pbc)
        near = np.linalg.norm(x[j] - x[i] + shifts @ cell, axis=1) < reach
        if i == j:
            near &= shifts.any(axis=1)
        found |= {(i, j, *map(int, shift)) for shift in shifts[near]}
    return found


def as_set(pairs: tuple[np.ndarray, ...]) -> Pairs:
    i, j, shifts = pairs
    rows = [(int(a), int(b), *map(int, s)) for a, b, s in zip(i, j, shifts, strict=True)]
    assert len(rows) == len(set(rows)), "a pair stands twice"
    return set(rows)


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(3).uniform(-2.0, 7.0, (12, 3))


@pytest.mark.parametrize("pbc", ALL_PBC)
@pytest.mark.parametrize("cutoff", [1.3, 2.9, 6.1])
def test_pairs_of_a_triclinic_cell(
    points: np.ndarray, pbc: tuple[bool, ...], cutoff: float
) -> None:
    """Oracle: brute force; 6.1 is more than the height of the cell, 1.3 less than half."""
    expected = brute_force(points, TRICLINIC, pbc, cutoff)
    assert expected
    assert as_set(NeighborList(cutoff).update(points, TRICLINIC, pbc)) == expected


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_left_handed_cell(points: np.ndarray, pbc: tuple[bool, ...]) -> None:
    """Oracle: brute force."""
    cell = TRICLINIC[[1, 0, 2]]
    assert np.linalg.det(cell) < 0
    assert as_set(NeighborList(2.5).update(points, cell, pbc)) == brute_force(
        points, cell, pbc, 2.5
    )


@pytest.mark.parametrize("pbc", ALL_PBC)
def test_half_list_is_half_of_the_full_list(points: np.ndarray, pbc: tuple[bool, ...]) -> None:
    """Oracle: the full list, in which each pair stands in both directions."""
    full = as_set(NeighborList(3.1).update(points, TRICLINIC, pbc))
    half = as_set(NeighborList(3.1, full=False).update(points, TRICLINIC, pbc))
    reverse = {(j, i, -a, -b, -c) for i, j, a, b, c in half}
    assert half | reverse == full
    assert not half & reverse
    assert all(i < j or (i == j and tuple(s) > (0, 0, 0)) for i, j, *s in half)


@pytest.mark.parametrize("offset", [1e6, -1e6])
def test_positions_far_outside_the_cell(points: np.ndarray, offset: float) -> None:
    """Oracle: the vectors of the same particles near the origin; some of them go far, each alone."""
    pbc = (True, True, True)
    near = NeighborList(2.5)
    near.update(points, TRICLINIC, pbc)
    far = points.copy()
    far[::2] += np.round(offset / 4.0) * TRICLINIC[0] - 3 * TRICLINIC[2]
    neighbors = NeighborList(2.5)
    i, _, shifts = neighbors.update(far, TRICLINIC, pbc)
    assert np.abs(shifts).max() > 1e5
    assert len(i) == len(near.vectors(points, TRICLINIC)) > 0
    lengths = [
        np.sort(np.linalg.norm(one.vectors(x, TRICLINIC), axis=1))
        for one, x in ((neighbors, far), (near, points))
    ]
    assert lengths[0] == pytest.approx(lengths[1], abs=1e-8)


def test_a_particle_on_the_face_of_the_box() -> None:
    """Oracle: distances by hand; 1e-17 below zero is wrapped to the upper face by rounding."""
    cell = np.eye(3) * 3.0
    for face in (0.0, 3.0, -1e-17, np.nextafter(3.0, 0.0), 6.0):
        x = np.array([[face, 1.0, 1.0], [0.4, 1.0, 1.0], [2.8, 1.0, 1.0]])
        neighbors = NeighborList(0.5)
        i, j, _ = neighbors.update(x, cell, True)
        assert list(zip(i, j, strict=True)) == [(0, 1), (0, 2), (1, 0), (2, 0)]
        lengths = np.linalg.norm(neighbors.vectors(x, cell), axis=1)
        assert lengths == pytest.approx([0.4, 0.2, 0.4, 0.2], abs=1e-12)


def test_one_particle_sees_its_images() -> None:
    """Oracle: a simple cubic lattice has 6 neighbors at a, 12 at sqrt(2) a."""
    x = [[0.2, 0.3, 0.4]]
    assert len(NeighborList(1.1).update(x, np.eye(3), True).i) == 6
    assert len(NeighborList(1.5).update(x, np.eye(3), True).i) == 18
    assert len(NeighborList(1.5, full=False).update(x, np.eye(3), True).i) == 9
    assert len(NeighborList(1.1).update(x, np.eye(3), [True, True, False]).i) == 4
    assert len(NeighborList(1.5).update(x, np.zeros((3, 3)), False).i) == 0


def test_no_particle() -> None:
    i, j, shifts = NeighborList(1.0).update(np.empty((0, 3)), np.eye(3), True)
    assert (i.shape, j.shape, shifts.shape) == ((0,), (0,), (0, 3))
    assert i.dtype == shifts.dtype == np.int64


def test_a_singular_cell_is_fine_where_nothing_is_periodic() -> None:
    """Oracle: brute force along the periodic direction only; ASE writes such cells for wires."""
    cell = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    x = np.array([[0.0, 0.0, 0.1], [0.5, 0.0, 1.9]])
    i, j, shifts = NeighborList(1.0).update(x, cell, [False, False, True])
    assert [*zip(i, j, shifts[:, 2], strict=True)] == [(0, 1, -1), (1, 0, 1)]


def test_particles_far_apart_without_periodicity() -> None:
    """Oracle: two pairs 1e6 apart; memory must not follow the volume between them."""
    x = np.array([[0.0, 0, 0], [0.5, 0, 0], [1e6, 1e6, -1e6], [1e6, 1e6, -1e6 + 0.5]])
    for pbc in (False, [True, False, False]):
        i, j, _ = NeighborList(0.6).update(x, np.eye(3) * 7.0, pbc)
        assert set(zip(i.tolist(), j.tolist(), strict=True)) == {(0, 1), (1, 0), (2, 3), (3, 2)}


@pytest.mark.parametrize("sides", [(7, 3000, 3000), (3000, 7, 3000), (3000, 3000, 7), (7, 7, 1e5)])
@pytest.mark.parametrize("pbc", [True, [True, False, True], False])
def test_long_and_flat_boxes(sides: tuple[float, ...], pbc: object) -> None:
    """Oracle: dimers of known length. Without care vesin 0.6.2 dies of a division by zero here."""
    rng = np.random.default_rng(2)
    first = rng.uniform(0.0, 1.0, (60, 3)) * sides
    step = rng.standard_normal((60, 3))
    x = np.stack([first, first + 0.3 * step / np.linalg.norm(step, axis=1)[:, None]], axis=1)
    x = x.reshape(-1, 3)
    neighbors = NeighborList(0.6)
    i, j, _ = neighbors.update(x, np.diag(sides), pbc)
    partners = np.arange(120) ^ 1
    assert set(zip(range(120), partners.tolist(), strict=True)) <= set(
        zip(i.tolist(), j.tolist(), strict=True)
    )
    assert len(i) < 130
    assert np.linalg.norm(neighbors.vectors(x, np.diag(sides)), axis=1).max() < 0.6


# Reuse.


def test_the_list_is_kept_within_the_skin(points: np.ndarray) -> None:
    """Oracle: half the skin, for one particle."""
    neighbors = NeighborList(2.0, skin=0.4)
    first = neighbors.update(points, TRICLINIC, True)
    moved = points.copy()
    moved[3, 1] += 0.199
    assert neighbors.update(moved, TRICLINIC, True) is first
    assert neighbors.n_builds == 1
    moved[3, 1] += 0.002
    neighbors.update(moved, TRICLINIC, True)
    assert neighbors.n_builds == 2
    assert np.array_equal(neighbors.reference_positions, moved)


def test_no_pair_is_missing_while_the_list_is_kept(points: np.ndarray) -> None:
    """Oracle: brute force at every step of a random walk. Control: the list is reused meanwhile."""
    rng = np.random.default_rng(8)
    neighbors = NeighborList(2.0, skin=0.4)
    x = points.copy()
    for _ in range(30):
        x += rng.normal(0.0, 0.03, x.shape)
        i, j, shifts = neighbors.update(x, TRICLINIC, True)
        near = np.linalg.norm(neighbors.vectors(x, TRICLINIC), axis=1) < 2.0
        found = as_set((i[near], j[near], shifts[near]))
        assert found == brute_force(x, TRICLINIC, (True,) * 3, 2.0)
    assert 1 < neighbors.n_builds < 15


@pytest.mark.parametrize(
    "change",
    [
        {"cell": TRICLINIC * 1.001},
        {"pbc": (True, True, False)},
        {"positions": np.zeros((1, 3))},
    ],
    ids=["cell", "pbc", "number"],
)
def test_other_changes_build_anew(points: np.ndarray, change: dict[str, object]) -> None:
    """Oracle: a fresh list."""
    neighbors = NeighborList(2.5, skin=1.0)
    arguments = {
        "positions": points,
        "cell": TRICLINIC,
        "pbc": (True, True, True),
    }
    neighbors.update(**arguments)  # type: ignore[arg-type]
    arguments |= change
    again = neighbors.update(**arguments)  # type: ignore[arg-type]
    assert neighbors.n_builds == 2
    assert as_set(again) == as_set(NeighborList(2.5, skin=1.0).update(**arguments))  # type: ignore[arg-type]


def test_moving_in_place_is_seen(points: np.ndarray) -> None:
    neighbors = NeighborList(2.0, skin=0.2)
    neighbors.update(points, TRICLINIC, True)
    points[0] += 0.3
    neighbors.update(points, TRICLINIC, True)
    assert neighbors.n_builds == 2


def test_wrapping_builds_anew(points: np.ndarray) -> None:
    """Oracle: vectors of a fresh list; the old shifts are wrong for a wrapped particle."""
    neighbors = NeighborList(2.0, skin=0.5)
    neighbors.update(points, TRICLINIC, True)
    points[2] += TRICLINIC[1]
    neighbors.update(points, TRICLINIC, True)
    assert np.linalg.norm(neighbors.vectors(points, TRICLINIC), axis=1).max() < 2.5
    assert neighbors.n_builds == 2


def test_a_run_continues_in_the_same_order(points: np.ndarray) -> None:
    """Oracle: the uninterrupted list, array by array."""
    neighbors = NeighborList(2.0, skin=0.6)
    neighbors.update(points, TRICLINIC, True)
    moved = points + 0.05
    expected = neighbors.update(moved, TRICLINIC, True)
    resumed = NeighborList(2.0, skin=0.6)
    resumed.update(neighbors.reference_positions, TRICLINIC, True)
    for ours, theirs in zip(resumed.update(moved, TRICLINIC, True), expected, strict=True):
        assert np.array_equal(ours, theirs)
    # Control: a list built from the moved particles is another one.
    assert len(NeighborList(2.0, skin=0.6).update(points * 1.02, TRICLINIC, True).i) != len(
        expected.i
    )


def test_order_and_ownership(points: np.ndarray) -> None:
    pairs = NeighborList(3.0).update(points, TRICLINIC, True)
    rows = [(a, b, *s) for a, b, s in zip(pairs.i, pairs.j, pairs.shifts.tolist(), strict=True)]
    assert rows == sorted(rows)
    with pytest.raises(ValueError, match="read-only"):
        pairs.i[0] = 1


def test_a_list_travels_to_other_processes(points: np.ndarray) -> None:
    neighbors = NeighborList(2.0, skin=0.6)
    expected = neighbors.update(points, TRICLINIC, True)
    twin = pickle.loads(pickle.dumps(neighbors))
    assert np.array_equal(twin.update(points, TRICLINIC, True).shifts, expected.shifts)
    assert twin.n_builds == 1


# Input.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cutoff": 0.0}, "cutoff is 0.0"),
        ({"cutoff": float("nan")}, "cutoff is nan"),
        ({"cutoff": 1.0, "skin": -0.1}, "skin is -0.1"),
    ],
)
def test_bad_distances_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        NeighborList(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": np.zeros((4, 2))}, r"positions has shape \(4, 2\); \(n, 3\) is needed"),
        ({"positions": [[0, 0, 0], [0, np.nan, 0]]}, r"positions\[1, 1\] is nan"),
        ({"cell": np.eye(2)}, r"cell has shape \(2, 2\)"),
        ({"cell": np.diag([1.0, np.inf, 1.0])}, r"cell\[1, 1\] is inf"),
        ({"cell": np.zeros((3, 3))}, "zero or linearly dependent"),
        ({"cell": [[1, 0, 0], [0, 1, 0], [1, 1, 1e-9]]}, "zero or linearly dependent"),
        ({"pbc": [True, False]}, r"pbc has shape \(2,\)"),
    ],
)
def test_bad_input_is_refused(change: dict[str, object], message: str) -> None:
    good = {"positions": np.zeros((1, 3)), "cell": np.eye(3), "pbc": True}
    with pytest.raises(InvalidInputError, match=message):
        NeighborList(1.0).update(**{**good, **change})  # type: ignore[arg-type]


def test_vectors_need_an_update() -> None:
    with pytest.raises(InvalidInputError, match="call update with them first"):
        NeighborList(1.0).vectors(np.zeros((2, 3)), np.eye(3))


def test_importing_the_module_is_light() -> None:
    """Oracle: sys.modules of a fresh process."""
    code = "import sys, kakehashi_core.neighbor_lists; print({'vesin', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
