"""The base class, exercised through a small analytic calculator."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
from collections.abc import Collection, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Unpack

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import (
    CalculationFailed,
    InputError,
    PropertyNotImplementedError,
    all_changes,
)
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.morse import MorsePotential
from ase.io.trajectory import Trajectory
from ase.optimize import BFGS

from kakehashi_ase import (
    Calculator,
    CalculatorInputError,
    CalculatorOptions,
    NonFiniteResultError,
    UnsupportedElementError,
)
from kakehashi_core.errors import CheckpointError, InvalidInputError


class Morse(Calculator):
    """Morse pairs (eV, Å) with all nearest images, a charge shift and counted evaluations."""

    implemented_properties = (
        "energy",
        "energies",
        "forces",
        "stress",
        "dipole",
    )
    supported_elements = ("H", "N", "Cu")
    minimum_distance = 0.1
    watched_info = ("charge", "field")
    watched_arrays = ("labels",)

    def __init__(
        self, *, depth: float = 1.0, length: float = 2.5, **common: Unpack[CalculatorOptions]
    ) -> None:
        self.n_evaluations = 0
        super().__init__({"depth": depth, "length": length}, **common)

    def configure(self) -> None:
        if self.parameters["depth"] <= 0.0:
            raise CalculatorInputError(
                f"depth is {self.parameters['depth']} eV; it must be positive"
            )
        self.buffer: np.ndarray | None = None

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        self.n_evaluations += 1
        self.asked = tuple(properties)
        depth, length = self.parameters["depth"], self.parameters["length"]
        n = len(atoms)
        energies, forces, virial = np.zeros(n), np.zeros((n, 3)), np.zeros((3, 3))
        ranges = [(-1, 0, 1) if periodic else (0,) for periodic in atoms.pbc]
        for shift in itertools.product(*ranges):
            vectors = atoms.positions[None] - atoms.positions[:, None] + shift @ atoms.cell.array
            distances = np.linalg.norm(vectors, axis=-1)
            real = ~np.eye(n, dtype=bool) if not any(shift) else np.ones((n, n), dtype=bool)
            r = np.where(real, distances, 1.0)
            decay = np.exp(-2.0 * (r - length))
            pair = np.where(real, depth * decay * (decay - 2.0), 0.0)
            slope = np.where(real, depth * -4.0 * decay * (decay - 1.0), 0.0)
            energies += 0.5 * pair.sum(axis=1)
            gradient = (slope / r)[..., None] * vectors
            forces += gradient.sum(axis=1)
            virial += 0.5 * np.einsum("ijx,ijy->xy", gradient, vectors)
        charge = np.asarray(atoms.info.get("charge", 0.0))
        energies += 0.1 * charge.sum() / n
        self.buffer = forces
        results: dict[str, object] = {
            "energy": energies.sum(),
            "energies": energies,
            "forces": forces,
            "distance_sum": 3.0,
        }
        if "dipole" in properties:
            results["dipole"] = [0.0, 0.0, float(charge.sum())]
        if atoms.cell.rank == 3:
            stress = virial / atoms.get_volume()
            results["stress"] = stress.flat[[0, 4, 8, 5, 2, 1]]
        return results


class Echo(Calculator):
    """Returns what it is told to, for testing the checks of results."""

    implemented_properties = (
        "energy",
        "forces",
    )

    def __init__(self, *, model: str = "a") -> None:
        super().__init__({"model": model})
        self.answer: dict[str, object] = {"energy": 1, "forces": np.zeros((2, 3))}

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        atoms.positions += 1.0
        atoms.numbers[:] = 2
        atoms.info["seen"] = True
        return self.answer

    @property
    def weights_digest(self) -> str:
        return DIGESTS[self.parameters["model"]]


DIGESTS = {"a": "12ab"}


@pytest.fixture
def cluster() -> Atoms:
    atoms = Atoms("Cu4", positions=[[0, 0, 0], [2.3, 0.1, 0], [0.2, 2.6, 0.1], [0.1, 0.3, 2.4]])
    atoms.calc = Morse()
    return atoms


@pytest.fixture
def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(
        atoms.cell.array @ [[1.03, 0.02, 0], [0.01, 0.98, 0.03], [0, 0, 1.01]], scale_atoms=True
    )
    atoms.rattle(0.05, seed=3)
    atoms.calc = Morse()
    return atoms


# Numbers.


def test_energy_agrees_with_ase_morse(cluster: Atoms) -> None:
    """Oracle: ase.calculators.morse with a cutoff beyond every pair."""
    energy = cluster.get_potential_energy()
    cluster.calc = MorsePotential(epsilon=1.0, r0=2.5, rho0=5.0, rcut1=90.0, rcut2=91.0)
    assert abs(energy) > 1.0
    assert energy == pytest.approx(cluster.get_potential_energy(), abs=1e-12)


def test_forces_are_minus_the_gradient(cluster: Atoms) -> None:
    """Oracle: central difference, ase.calculators.fd."""
    forces = cluster.get_forces()
    assert np.abs(forces).max() > 1e-3
    assert forces == pytest.approx(calculate_numerical_forces(cluster, eps=1e-4), abs=1e-6)


def test_stress_is_the_strain_derivative(crystal: Atoms) -> None:
    """Oracle: strain difference, ase.calculators.fd, which asks for the free energy."""
    stress = crystal.get_stress()
    assert stress.shape == (6,)
    assert np.abs(stress).max() > 1e-3
    assert stress == pytest.approx(calculate_numerical_stress(crystal, eps=1e-4), abs=1e-7)


def test_bfgs_finds_the_pair_distance() -> None:
    """Oracle: the minimum of a Morse pair lies at its length, with minus its depth."""
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 2.2]], calculator=Morse(depth=2.0))
    assert BFGS(atoms, logfile=None).run(fmax=1e-6, steps=100)
    assert atoms.get_distance(0, 1) == pytest.approx(2.5, abs=1e-6)
    assert atoms.get_potential_energy() == pytest.approx(-2.0, abs=1e-10)


# Properties.


def test_free_energy_equals_energy_and_is_asked_for_as_energy(cluster: Atoms) -> None:
    free_energy = cluster.get_potential_energy(force_consistent=True)
    assert cluster.calc.asked == ("energy",)
    assert free_energy == cluster.get_potential_energy()
    assert "free_energy" in cluster.calc.implemented_properties


def test_each_instance_has_its_own_property_list() -> None:
    first, second = Morse(), Morse()
    first.implemented_properties.remove("stress")
    assert "stress" in second.implemented_properties
    assert "free_energy" not in Morse.implemented_properties


@pytest.mark.parametrize("name", ["stress", "stresses", "magmoms"])
def test_what_is_not_offered_is_not_implemented(cluster: Atoms, name: str) -> None:
    """A molecule has no volume; the other two the model does not offer at all."""
    cluster.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError, match=r"not defined without|not implemented"):
        cluster.calc.get_property(name, cluster)
    assert cluster.calc.n_evaluations == 1
    assert "stress" not in cluster.calc.results


def test_a_property_outside_the_list_is_refused_with_the_list(cluster: Atoms) -> None:
    with pytest.raises(PropertyNotImplementedError, match="it offers energy, free_energy"):
        cluster.calc.calculate(cluster, ["magmom"], all_changes)


def test_a_property_missing_from_the_results_is_evaluated_and_joined(cluster: Atoms) -> None:
    energy = cluster.get_potential_energy()
    assert "dipole" not in cluster.calc.results
    assert cluster.get_dipole_moment() == pytest.approx([0, 0, 0])
    assert cluster.calc.n_evaluations == 2
    assert cluster.get_potential_energy() == energy
    assert cluster.calc.n_evaluations == 2


def test_a_box_without_periodicity_has_no_stress(cluster: Atoms) -> None:
    """Morse returns a stress whenever there is a cell; the base class must drop it."""
    cluster.set_cell([9, 9, 9])
    cluster.get_potential_energy()
    assert "stress" not in cluster.calc.results
    cluster.pbc = True
    assert cluster.get_stress().shape == (6,)


def test_results_of_another_structure_are_not_joined(cluster: Atoms) -> None:
    cluster.calc.calculate(cluster, ["dipole"])
    assert "dipole" in cluster.calc.results
    cluster.positions[0, 0] += 0.1
    cluster.calc.calculate(cluster, ["energy"])
    assert "dipole" not in cluster.calc.results


def test_results_are_fresh_float64_arrays(cluster: Atoms) -> None:
    forces = cluster.get_forces()
    assert forces.dtype == np.float64
    assert not np.shares_memory(cluster.calc.results["forces"], cluster.calc.buffer)
    cluster.calc.buffer[:] = 0.0
    forces[:] = 0.0
    assert np.abs(cluster.get_forces()).max() > 1e-3
    assert type(cluster.calc.results["energy"]) is float


def test_arrays_of_integers_stay_indices_where_ase_has_no_name_for_them() -> None:
    calc = Echo()
    calc.answer = {
        "energy": 1,
        "forces": np.zeros((2, 3), dtype=int),
        "pairs": np.array([[0], [1]]),
    }
    Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]], calculator=calc).get_potential_energy()
    assert calc.results["pairs"].dtype == np.int64
    assert calc.results["forces"].dtype == np.float64
    assert type(calc.results["energy"]) is float


def test_the_model_cannot_change_the_users_atoms() -> None:
    """Echo moves and renumbers what it is given."""
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]], calculator=Echo())
    before = atoms.copy()
    assert atoms.get_potential_energy() == 1.0
    assert atoms == before
    assert "seen" not in atoms.info
    assert atoms.calc.check_state(atoms) == []


def test_extra_results_stay_out_of_what_ase_exports(cluster: Atoms) -> None:
    cluster.get_potential_energy()
    assert cluster.calc.results["distance_sum"] == 3.0
    assert "distance_sum" not in cluster.calc.export_properties()
    assert cluster.calc.export_properties()["forces"].shape == (4, 3)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"energy": np.nan}, "returned energy = nan"),
        ({"energy": 0.0, "forces": [[0, 0, 0], [0, np.inf, 0]]}, r"returned forces\[1, 1\] = inf"),
    ],
)
def test_nonfinite_results_raise_and_leave_nothing_behind(
    answer: dict[str, object], message: str
) -> None:
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]], calculator=Echo())
    atoms.calc.answer = answer
    with pytest.raises(NonFiniteResultError, match=message) as caught:
        atoms.get_potential_energy()
    assert isinstance(caught.value, CalculationFailed)
    assert atoms.calc.results == {}


def test_nonfinite_results_pass_when_the_check_is_switched_off() -> None:
    class Permissive(Echo):
        check_finite = False

    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]], calculator=Permissive())
    atoms.calc.answer = {"energy": np.nan}
    assert np.isnan(atoms.get_potential_energy())


def test_a_wrong_shape_is_the_authors_mistake() -> None:
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]], calculator=Echo())
    atoms.calc.answer = {"energy": 0.0, "forces": np.zeros(6)}
    with pytest.raises(TypeError, match=r"shape \(6,\); ASE expects \(2, 3\)"):
        atoms.get_forces()


def test_the_base_class_is_abstract() -> None:
    with pytest.raises(TypeError, match="evaluate"):
        Calculator()


# Cache.


def test_asking_again_costs_nothing_and_a_move_costs_one_evaluation(cluster: Atoms) -> None:
    cluster.get_potential_energy()
    cluster.get_forces()
    cluster.get_potential_energy()
    assert cluster.calc.n_evaluations == 1
    cluster.positions[0, 0] += 1e-9
    cluster.get_forces()
    assert cluster.calc.n_evaluations == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (0, 1),
        (None, 1),
        (1, None),
        (np.array([0.0, 1.0]), np.array([0.0, 2.0])),
        (np.array([0.0, 1.0]), np.array([0.0, 1.0, 0.0])),
        ([1, 2], 3),
    ],
    ids=["number", "added", "removed", "array", "longer array", "other kind"],
)
def test_a_changed_watched_info_key_recomputes(cluster: Atoms, old: object, new: object) -> None:
    for key, value in (("charge", old), ("field", 0)):
        if value is not None:
            cluster.info[key] = value
    cluster.get_potential_energy()
    cluster.info.pop("charge", None)
    if new is not None:
        cluster.info["charge"] = new
    assert cluster.calc.check_state(cluster) == ["info:charge"]
    cluster.get_potential_energy()
    assert cluster.calc.n_evaluations == 2


def test_the_energy_follows_a_changed_charge(cluster: Atoms) -> None:
    """Oracle: the calculator adds 0.1 eV per charge."""
    neutral = cluster.get_potential_energy()
    cluster.info["charge"] = 2
    assert cluster.get_potential_energy() - neutral == pytest.approx(0.2, abs=1e-12)


def test_a_watched_array_changed_in_place_recomputes(cluster: Atoms) -> None:
    """Atoms.copy() copies info shallowly: without a deep copy the change would go unseen."""
    cluster.info["charge"] = np.array([0.0, 1.0])
    first = cluster.get_potential_energy()
    cluster.info["charge"][1] = 3.0
    assert cluster.get_potential_energy() - first == pytest.approx(0.2, abs=1e-12)


def test_equal_watched_values_and_unrelated_keys_keep_the_results(cluster: Atoms) -> None:
    cluster.info["charge"] = np.array([0.0, 1.0])
    cluster.get_potential_energy()
    cluster.info["charge"] = [0, 1]
    cluster.info["comment"] = "another"
    cluster.set_array("colors", np.arange(4))
    cluster.get_potential_energy()
    assert cluster.calc.n_evaluations == 1


def test_watched_per_atom_arrays_recompute_and_others_do_not(cluster: Atoms) -> None:
    cluster.get_potential_energy()
    cluster.set_array("labels", np.arange(4))
    cluster.get_potential_energy()
    assert cluster.calc.n_evaluations == 2
    cluster.arrays["labels"][3] = 7
    assert cluster.calc.check_state(cluster) == ["arrays:labels"]
    cluster.get_potential_energy()
    assert cluster.calc.n_evaluations == 3
    cluster.set_array("others", np.arange(4))
    cluster.get_potential_energy()
    assert cluster.calc.n_evaluations == 3


def test_values_that_cannot_be_compared_count_as_changed(cluster: Atoms) -> None:
    cluster.info["field"] = {"strength": np.zeros(3)}
    cluster.get_potential_energy()
    assert cluster.calc.check_state(cluster) == ["info:field"]


def test_a_failed_evaluation_does_not_pair_old_results_with_new_atoms(cluster: Atoms) -> None:
    energy = cluster.get_potential_energy()
    moved = cluster.copy()
    moved.positions[1] = moved.positions[0]
    with pytest.raises(CalculatorInputError):
        cluster.calc.calculate(moved, ["energy"], all_changes)
    assert cluster.get_potential_energy() == energy
    assert cluster.calc.n_evaluations == 1


def test_without_calculation_nothing_is_returned(cluster: Atoms) -> None:
    assert cluster.calc.get_property("energy", cluster, allow_calculation=False) is None
    assert cluster.calc.n_evaluations == 0


# Bad input.


def _nan_position(atoms: Atoms) -> None:
    atoms.positions[2, 1] = np.nan


def _infinite_position(atoms: Atoms) -> None:
    atoms.positions[3, 2] = -np.inf


def _nan_cell(atoms: Atoms) -> None:
    cell = np.eye(3) * 9
    cell[1, 2] = np.nan
    atoms.set_cell(cell)


def _zero_cell(atoms: Atoms) -> None:
    atoms.pbc = True


def _flat_cell(atoms: Atoms) -> None:
    atoms.set_cell([[5, 0, 0], [0, 5, 0], [5, 5, 1e-9]])
    atoms.pbc = True


def _missing_direction(atoms: Atoms) -> None:
    atoms.set_cell([[9, 0, 0], [0, 9, 0], [0, 0, 0]])
    atoms.pbc = [True, False, True]


def _duplicate(atoms: Atoms) -> None:
    atoms.positions[3] = atoms.positions[1] + [0, 0.01, 0]


def _image(atoms: Atoms) -> None:
    atoms.set_cell([9, 9, 2.42])
    atoms.pbc = [False, False, True]


def _nan_charge(atoms: Atoms) -> None:
    atoms.info["charge"] = np.array([0.0, np.nan])


def _nan_moment(atoms: Atoms) -> None:
    atoms.set_initial_magnetic_moments([0, 0, np.nan, 0])


def _placeholder(atoms: Atoms) -> None:
    atoms.numbers[1] = 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_nan_position, r"position of atom 2 \(Cu\) has y = nan Å"),
        (_infinite_position, r"position of atom 3 \(Cu\) has z = -inf Å"),
        (_nan_cell, "cell vector 1 has z = nan"),
        (_zero_cell, "cell vector 0 is zero although"),
        (_flat_cell, "the cell is singular"),
        (_missing_direction, "cell vector 2 is zero although"),
        (_duplicate, r"atoms [13] \(Cu\) and [13] \(Cu\) are 0.01 Å apart; at least 0.1 Å"),
        (_image, r"atoms [03] \(Cu\) and [03] \(Cu\) are 0\.\d+ Å apart"),
        (_nan_charge, r"atoms.info\['charge'\]\[1\] is nan"),
        (_nan_moment, r"initial_magmoms'\]\[2\] is nan"),
        (_placeholder, "atom 1 has atomic number 0"),
    ],
)
def test_bad_structures_are_refused_before_the_model_runs(
    cluster: Atoms, spoil: object, message: str
) -> None:
    cluster.positions[3] = [0.05, 0.0, 2.4]
    spoil(cluster)  # type: ignore[operator]
    with pytest.raises(CalculatorInputError, match=message) as caught:
        cluster.get_potential_energy()
    assert cluster.calc.n_evaluations == 0
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, InvalidInputError)


def test_an_empty_structure_is_refused() -> None:
    with pytest.raises(CalculatorInputError, match="has no atoms"):
        Morse().get_property("energy", Atoms())


def test_a_calculation_without_structure_is_refused() -> None:
    with pytest.raises(CalculatorInputError, match="has no structure"):
        Morse().calculate()


def test_unsupported_elements_are_refused_with_the_supported_ones() -> None:
    atoms = molecule("CO2")
    atoms.calc = Morse()
    with pytest.raises(UnsupportedElementError, match="does not support C, O; it knows Cu, H, N"):
        atoms.get_potential_energy()


def test_sound_but_unusual_structures_pass(crystal: Atoms) -> None:
    """Oracle: a left-handed description of the same crystal, and one far from the origin."""
    energy = crystal.get_potential_energy()
    swapped = crystal.copy()
    swapped.set_cell(crystal.cell.array[[1, 0, 2]])
    assert np.linalg.det(swapped.cell.array) < 0
    swapped.calc = Morse()
    assert swapped.get_potential_energy() == pytest.approx(energy, abs=1e-10)
    crystal.positions += 1e6
    assert crystal.get_potential_energy() == pytest.approx(energy, abs=1e-7)


# Options.


def test_unknown_options_are_refused_with_the_closest_name() -> None:
    with pytest.raises(CalculatorInputError, match=r"no option 'dept'\. Did you mean 'depth'"):
        Morse(dept=2.0)  # type: ignore[call-arg]
    with pytest.raises(CalculatorInputError, match=r"no option 'lenght'\. Did you mean 'length'"):
        Morse().set(lenght=2.0)


def test_values_that_cannot_be_stored_are_refused() -> None:
    with pytest.raises(CalculatorInputError, match="option 'depth' is a object"):
        Morse(depth=object())  # type: ignore[arg-type]
    with pytest.raises(CalculatorInputError, match="option 'depth' is nan"):
        Morse(depth=float("nan"))


def test_a_refused_value_leaves_the_calculator_as_it_was(cluster: Atoms) -> None:
    cluster.get_potential_energy()
    with pytest.raises(CalculatorInputError, match=r"depth is -1.0 eV"):
        cluster.calc.set(depth=-1.0)
    assert cluster.calc.parameters["depth"] == 1.0
    cluster.get_potential_energy()
    assert cluster.calc.n_evaluations == 1


def test_a_changed_option_discards_the_results(cluster: Atoms) -> None:
    """Oracle: the Morse energy is proportional to its depth."""
    energy = cluster.get_potential_energy()
    assert cluster.calc.set(depth=1.0) == {}
    assert cluster.calc.results
    assert cluster.calc.set(depth=2) == {"depth": 2}
    assert cluster.calc.results == {}
    assert cluster.get_potential_energy() == pytest.approx(2 * energy, abs=1e-12)


def test_todict_is_json_with_every_option_and_the_weights() -> None:
    calc = Morse(depth=np.float64(2.0), length=np.int64(3))  # type: ignore[arg-type]
    assert json.loads(json.dumps(calc.todict())) == {"depth": 2.0, "length": 3}
    assert Echo().todict() == {"model": "a", "weights_sha256": "12ab"}


def test_name_is_the_class_name_unless_given() -> None:
    calc = Morse()
    assert calc.name == "morse"
    calc.name = "cu-morse"
    assert calc.name == "cu-morse"
    assert Morse(name="other").name == "other"
    assert Morse.nolabel


def test_atoms_and_directory_are_accepted_and_nothing_is_written(tmp_path: Path) -> None:
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]])
    calc = Morse(atoms=atoms, directory=str(tmp_path / "run"))
    assert atoms.calc is calc
    atoms.get_potential_energy()
    assert not (tmp_path / "run").exists()


# Copies and storage.


def reloaded(data: bytes) -> Calculator:
    calc: Calculator = pickle.loads(data)
    return calc


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda calc: reloaded(pickle.dumps(calc))])
def test_copies_keep_options_name_and_results(cluster: Atoms, duplicate: object) -> None:
    calc = cluster.calc
    calc.set(depth=1.5)
    calc.name = "cu-morse"
    energy = cluster.get_potential_energy()
    twin = duplicate(calc)  # type: ignore[operator]
    assert (twin.name, twin.parameters) == ("cu-morse", calc.parameters)
    assert twin.get_property("energy", cluster) == energy
    assert twin.n_evaluations == 0
    assert twin.buffer is None
    cluster.positions[0] += 0.1
    assert twin.get_property("energy", cluster) == cluster.get_potential_energy() != energy
    assert twin.n_evaluations == 1


def test_a_pickle_refuses_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps(Echo())
    reloaded(data)
    monkeypatch.setitem(DIGESTS, "a", "34cd")
    with pytest.raises(CheckpointError, match="SHA-256 12ab, here they have 34cd"):
        reloaded(data)


def _energy(atoms: Atoms) -> float:
    return float(atoms.get_potential_energy())


def test_calculators_travel_to_other_processes(cluster: Atoms) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert pool.submit(_energy, cluster).result() == cluster.get_potential_energy()


def test_database_round_trip(crystal: Atoms, tmp_path: Path) -> None:
    crystal.calc.name = "cu-morse"
    energy, stress = crystal.get_potential_energy(), crystal.get_stress()
    with ase.db.connect(tmp_path / "test.db") as database:
        database.write(crystal)
        row = database.get(id=1)
    assert row.calculator == "cu-morse"
    assert row.calculator_parameters == {"depth": 1.0, "length": 2.5}
    assert (row.energy, row.free_energy) == (energy, energy)
    assert row.stress == pytest.approx(stress, abs=0)
    assert row.toatoms().get_forces() == pytest.approx(crystal.get_forces(), abs=0)


@pytest.mark.parametrize(("suffix", "tolerance"), [("traj", 0.0), ("extxyz", 5e-9)])
def test_file_round_trip(crystal: Atoms, tmp_path: Path, suffix: str, tolerance: float) -> None:
    """Oracle: traj is exact, extxyz writes eight digits (measured 5e-9 with ASE's own)."""
    energy, forces = crystal.get_potential_energy(), crystal.get_forces()
    path = tmp_path / f"test.{suffix}"
    ase.io.write(path, crystal)
    again = ase.io.read(path)
    assert again.get_potential_energy() == pytest.approx(energy, abs=tolerance)
    assert again.get_forces() == pytest.approx(forces, abs=tolerance)


def test_an_optimization_is_recorded_in_a_trajectory(tmp_path: Path) -> None:
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 2.2]], calculator=Morse())
    path = tmp_path / "opt.traj"
    BFGS(atoms, logfile=None, trajectory=str(path)).run(fmax=1e-3)
    with Trajectory(path) as frames:
        assert frames[-1].get_potential_energy() == atoms.get_potential_energy()
        assert frames[-1].calc.name == "morse"
