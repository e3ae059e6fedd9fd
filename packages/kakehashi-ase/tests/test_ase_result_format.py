"""The file format that keeps all results."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io.formats import ioformats

from kakehashi_ase import Calculator
from kakehashi_core.errors import InvalidInputError


class Mobile(Calculator):
    """A toy with a result that ASE does not know."""

    implemented_properties = ("energy", "forces")

    def __init__(self, *, k: float = 1.0) -> None:
        super().__init__({"k": k}, name="mobile")

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        x = atoms.positions
        return {"energy": (x**2).sum() / 3, "forces": -x / 3, "propensity": np.exp(-x[:, 0])}


@pytest.fixture
def atoms() -> Atoms:
    atoms = Atoms("ArNe2", positions=np.random.default_rng(2).uniform(0, 3, (3, 3)), cell=[3, 4, 5])
    atoms.pbc = [True, False, True]
    atoms.set_masses([1.0, 1.0, 2.0])
    atoms.set_array("types", np.array([0, 1, 1]))
    atoms.calc = Mobile(k=2.0)
    return atoms


def test_everything_comes_back_exactly(atoms: Atoms, tmp_path: Path) -> None:
    """Oracle: the structure and the results that were written, to the last bit."""
    forces = atoms.get_forces()
    path = tmp_path / "a.kakehashi"
    ase.io.write(path, atoms)
    again = ase.io.read(path)
    assert again == atoms
    assert np.array_equal(again.get_masses(), [1.0, 1.0, 2.0])
    assert again.arrays["types"].tolist() == [0, 1, 1]
    assert np.array_equal(again.get_forces(), forces)
    assert again.get_potential_energy() == atoms.get_potential_energy()
    assert np.array_equal(again.calc.results["propensity"], atoms.calc.results["propensity"])
    assert (again.calc.name, again.calc.parameters["k"]) == ("mobile", 2.0)


def test_results_of_another_structure_are_not_written(atoms: Atoms, tmp_path: Path) -> None:
    atoms.get_forces()
    atoms.positions += 1.0
    ase.io.write(tmp_path / "a.kakehashi", atoms)
    assert ase.io.read(tmp_path / "a.kakehashi").calc is None


def test_results_of_ases_own_calculators(tmp_path: Path) -> None:
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.2]], calculator=EMT())
    energy = atoms.get_potential_energy()
    ase.io.write(tmp_path / "a.kakehashi", atoms)
    again = ase.io.read(tmp_path / "a.kakehashi")
    assert (again.get_potential_energy(), again.calc.name) == (energy, "emt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format is 'other'"),
        ({"format_version": 2}, "format_version is 2, this kakehashi-ase reads 1"),
        ({"positions": [[0, 0]]}, "is no kakehashi result"),
        ({"numbers": None}, "is no kakehashi result"),
    ],
)
def test_other_files_are_refused(atoms: Atoms, change: dict[str, object], message: str) -> None:
    file = io.StringIO()
    ase.io.write(file, atoms, format="kakehashi-result")
    content = json.loads(file.getvalue())
    with pytest.raises(InvalidInputError, match=message):
        ase.io.read(io.StringIO(json.dumps(content | change)), format="kakehashi-result")
    with pytest.raises(InvalidInputError, match="is no kakehashi result"):
        ase.io.read(io.StringIO("[1, 2"), format="kakehashi-result")


def test_the_format_is_announced_as_ase_expects() -> None:
    """A bare string as extension would be shown letter by letter."""
    assert ioformats["kakehashi-result"].extensions == ["kakehashi"]
    assert ioformats["kakehashi-result"].can_read
    assert ioformats["kakehashi-result"].can_write
