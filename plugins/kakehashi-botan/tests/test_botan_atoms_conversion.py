"""Ensembles from and to ase.Atoms."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ase")

from ase import Atoms
from ase.io import read, write

from kakehashi_botan.atoms_conversion import atoms_to_data, data_to_atoms
from kakehashi_core.errors import InvalidInputError

SYMBOLS = ["Ar", "Ne", "Ar", "Ar"]


def start() -> Atoms:
    positions = np.random.default_rng(0).random((4, 3)) * 5
    return Atoms(SYMBOLS, positions=positions, cell=[5, 6, 7], pbc=True)


def moved(atoms: Atoms, by: float) -> Atoms:
    later = atoms.copy()
    later.positions += by
    return later


def test_frames_become_arrays_and_come_back() -> None:
    """Oracle: frames moved by 0.1 run + time along the diagonal; symbols Ar = 0, Ne = 1."""
    first = start()
    runs = [[moved(first, 0.1 * run + time) for time in (1, 2)] for run in range(3)]
    data = atoms_to_data(first, runs, times=[1.0, 2.0], temperature=0.5, metadata={"a": 1})
    assert data.types.tolist() == [0, 1, 0, 0]
    for (time, run), _ in np.ndenumerate(np.zeros((2, 3))):
        np.testing.assert_allclose(
            data.positions[time, run] - first.positions, 0.1 * run + time + 1
        )
    again = data_to_atoms(data, time_index=1, run=2)
    np.testing.assert_array_equal(again.positions, runs[2][1].positions)
    assert again.get_chemical_symbols() == SYMBOLS
    assert again.arrays["types"].tolist() == [0, 1, 0, 0]
    assert (again.get_masses() == 1.0).all()
    np.testing.assert_array_equal(again.cell.array, first.cell.array)
    np.testing.assert_array_equal(data_to_atoms(data).positions, first.positions)


def test_types_array_wins_over_symbols(tmp_path: object) -> None:
    first = start()
    first.set_array("types", np.array([1, 1, 0, 0]))
    data = atoms_to_data(first, [[first]], times=1.0, temperature=0.5)
    assert data.types.tolist() == [1, 1, 0, 0]
    write(f"{tmp_path}/a.extxyz", data_to_atoms(data))
    back = read(f"{tmp_path}/a.extxyz")
    assert isinstance(back, Atoms)
    assert back.arrays["types"].tolist() == [1, 1, 0, 0]


def test_other_symbols_and_more_species() -> None:
    first = start()
    first.symbols = "KrXeKrKr"
    data = atoms_to_data(first, [[first]], times=1.0, temperature=0.5, species=("Kr", "Xe"))
    assert data.types.tolist() == [0, 1, 0, 0]
    assert data_to_atoms(data, species=("Kr", "Xe")).get_chemical_symbols()[1] == "Xe"
    with pytest.raises(InvalidInputError, match="Kr"):
        atoms_to_data(first, [[first]], times=1.0, temperature=0.5)
    with pytest.raises(InvalidInputError, match="one symbol per type"):
        data_to_atoms(data, species=("Kr",))


def test_frames_that_do_not_fit_are_refused() -> None:
    first = start()
    shuffled, squeezed = first.copy()[[1, 0, 2, 3]], first.copy()
    squeezed.set_cell([5, 6, 6.9])
    for runs, message in (
        ([], "no runs"),
        ([[first, first]], "run 0 has 2 frames for 1 times"),
        ([[first], [shuffled]], "frame 0 of run 1 has other particles"),
        ([[first[:3]]], "other particles"),
        ([[squeezed]], "cell must not change"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            atoms_to_data(first, runs, times=1.0, temperature=0.5)
    data = atoms_to_data(first, [[first]], times=1.0, temperature=0.5)
    with pytest.raises(InvalidInputError, match="run 1 does not exist"):
        data_to_atoms(data, time_index=0, run=1)
    with pytest.raises(InvalidInputError, match="at least one particle"):
        atoms_to_data(first[:0], [[first[:0]]], times=1.0, temperature=0.5)
