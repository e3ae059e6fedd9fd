"""Isoconfigurational ensembles through the compiled loop and through ASE."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones

from kakehashi_botan.displacements import mean_squared_displacement, propensity
from kakehashi_botan.inherent_structures import inherent_structure
from kakehashi_botan.isoconfigurational import isoconfigurational
from kakehashi_botan.lennard_jones_calculator import LennardJonesMixture
from kakehashi_botan.mixtures import cubic_box, kob_andersen
from kakehashi_botan.molecular_dynamics import MolecularDynamics
from kakehashi_core.errors import InvalidInputError

OPTIONS = {"times": (0.05, 0.2, 0.4), "temperature": 0.8, "timestep": 0.005, "seed": 3}


@pytest.fixture(scope="module")
def atoms() -> Atoms:
    n, rng = 60, np.random.default_rng(4)
    cell, types = cubic_box(n, 1.2), (np.arange(n) % 5 == 0).astype(np.int64)
    quenched = inherent_structure(kob_andersen(), rng.random((n, 3)) @ cell, types, cell)
    run = MolecularDynamics(
        kob_andersen(),
        quenched.positions,
        types,
        cell,
        timestep=0.005,
        ensemble="nvt",
        temperature=0.8,
        seed=1,
    )
    run.run(1000)
    return Atoms(
        np.where(types == 0, "Ar", "Ne"),
        positions=run.positions,
        cell=cell,
        pbc=True,
        masses=np.ones(n),
    )


def test_run_k_depends_on_the_seed_and_k_only(atoms):
    """Oracle: a longer ensemble, a pool of workers."""
    few = isoconfigurational(atoms, LennardJonesMixture(), n_runs=2, **OPTIONS)
    with ThreadPoolExecutor(2) as executor:
        many = isoconfigurational(
            atoms, LennardJonesMixture(), n_runs=4, executor=executor, **OPTIONS
        )
    assert few.positions.shape == (3, 2, 60, 3)
    assert np.array_equal(few.positions, many.positions[:, :2])
    assert not np.array_equal(many.positions[:, 2], many.positions[:, 3])
    assert np.array_equal(few.initial_positions, atoms.positions)
    assert few.times.tolist() == [0.05, 0.2, 0.4]
    assert few.metadata["seed"] == "3"


def test_compiled_loop_and_ase_give_the_same_statistics(atoms):
    """Oracle: the other engine, with other random numbers; ballistic motion <dr^2> = 3 T t^2 at first."""
    n_runs = 24
    options = {**OPTIONS, "times": (0.01, 0.1)}
    compiled = isoconfigurational(atoms, LennardJonesMixture(), n_runs=n_runs, **options)
    in_ase = isoconfigurational(
        atoms, LennardJonesMixture(backend="torch"), n_runs=n_runs, **options
    )
    for data in (compiled, in_ase):
        first = mean_squared_displacement(data, species=None)[0]
        assert first == pytest.approx(3 * 0.8 * 0.01**2, rel=0.1)
        assert np.abs(data.positions.mean(axis=2) - atoms.positions.mean(axis=0)).max() < 1e-9
    a, b = (propensity(data)[1] for data in (compiled, in_ase))
    spread = np.hypot(*(_error_of_mean(data, 1) for data in (compiled, in_ase)))
    pulls = (a - b) / spread
    assert abs(pulls.mean()) < 4 / np.sqrt(len(pulls))
    assert 0.65 < pulls.std() < 1.45


def _error_of_mean(data, time_index: int) -> np.ndarray:
    lengths = np.linalg.norm(data.positions[time_index] - data.initial_positions, axis=-1)
    return lengths.std(axis=0, ddof=1) / np.sqrt(data.n_runs)


def test_finished_runs_are_kept(atoms, tmp_path, monkeypatch):
    """Oracle: the same call without a folder. Control: a second call computes nothing."""
    options = {**OPTIONS, "n_runs": 2, "ensemble": "nvt"}
    kept = isoconfigurational(atoms, LennardJonesMixture(), directory=tmp_path, **options)
    plain = isoconfigurational(atoms, LennardJonesMixture(), **options)
    assert np.array_equal(kept.positions, plain.positions)
    monkeypatch.setattr(MolecularDynamics, "run", None)
    again = isoconfigurational(atoms, LennardJonesMixture(), directory=tmp_path, **options)
    assert np.array_equal(again.positions, plain.positions)


def test_a_calculator_of_ase(atoms):
    """Oracle: momentum; any calculator with plain parameters drives it."""
    argon = Atoms("Ar8", positions=1.2 * np.indices((2, 2, 2)).reshape(3, -1).T, masses=np.ones(8))
    argon.set_cell(3.0 * np.eye(3))
    argon.pbc = True
    data = isoconfigurational(argon, LennardJones(sigma=1.0, rc=1.4), n_runs=2, **OPTIONS)
    assert (propensity(data) > 0.01).all()
    assert np.abs(data.positions.mean(axis=2) - argon.positions.mean(axis=0)).max() < 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": (0.0051,)}, "multiples of the timestep"),
        ({"times": ()}, "at least one"),
        ({"times": (0.2, 0.1)}, "grow"),
        ({"timestep": 0.0}, "timestep is 0.0"),
        ({"n_runs": 0}, "n_runs is 0"),
        ({"times": "soon"}, "numbers are needed"),
        ({"ensemble": "npt"}, "ensemble is 'npt'"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"relaxation_time": 0.0}, "relaxation_time is 0"),
    ],
)
def test_nonsense_is_refused(atoms, change, message):
    with pytest.raises(InvalidInputError, match=message):
        isoconfigurational(atoms, LennardJonesMixture(), **{"n_runs": 1, **OPTIONS, **change})


def test_names_are_no_calculators(atoms):
    with pytest.raises(InvalidInputError, match="calculator is 'ka-lj'"):
        isoconfigurational(atoms, "ka-lj", n_runs=1, **OPTIONS)


def test_masses_of_argon_are_refused(atoms):
    """The masses that ASE gives to Ar and Ne would slow the dynamics down without a word."""
    heavy = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
    with pytest.raises(InvalidInputError, match=r"mass of atom 0 is 20\.1"):
        isoconfigurational(heavy, LennardJonesMixture(), n_runs=1, **OPTIONS)
