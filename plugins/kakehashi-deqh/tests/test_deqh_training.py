"""From geometries to weights: thermal samples, stored calculations, both stages of the fit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.units import kB

from kakehashi_core.errors import InvalidInputError, UnknownNameError
from kakehashi_deqh.evaluation import training_comparison
from kakehashi_deqh.evaluation.training_comparison import averages, compare_trainings
from kakehashi_deqh.hamiltonian_model import ModelSettings
from kakehashi_deqh.training import recipes
from kakehashi_deqh.training.accuracy import measured_accuracy
from kakehashi_deqh.training.dynamics import trajectory
from kakehashi_deqh.training.fine_tuning import fine_tune
from kakehashi_deqh.training.hamiltonian_fit import FitSettings, TrainingSet, fit, new_model
from kakehashi_deqh.training.model_hessian import model_hessian, model_modes
from kakehashi_deqh.training.normal_modes import normal_modes
from kakehashi_deqh.training.recipes import RECIPES, geometries, recipe
from kakehashi_deqh.training.scf_data import Level, load_calculations

pytest.importorskip("kakehashi_pyscf", reason="data are made with PySCF")
LEVEL = Level(xc="pbe", basis="sto-3g", grid=1, conv_tol=1e-8)


def mean_potential_energy(modes, geometries):
    """Return the mean above the minimum, eV, of ASE's EMT."""
    atoms = Atoms(modes.numbers, modes.positions, calculator=EMT())
    minimum = atoms.get_potential_energy()
    energies = []
    for positions in geometries:
        atoms.positions = positions
        energies.append(atoms.get_potential_energy() - minimum)
    return np.mean(energies)


def test_normal_modes():
    """Oracle: equipartition, kT / 2 for each mode in the harmonic energy; linear molecules have one more."""
    modes = normal_modes(molecule("H2O"), EMT())
    assert modes.displacements.shape == (3, 3, 3)
    assert normal_modes(molecule("N2"), EMT()).displacements.shape == (1, 2, 3)
    rng = np.random.default_rng(0)
    temperature = 0.5
    found = modes.sample(temperature, 400, rng)
    assert mean_potential_energy(modes, found) == pytest.approx(1.5 * kB * temperature, rel=0.15)
    assert np.abs(found.mean(axis=1)).max() < 1e-12
    assert (modes.wavenumbers > 100.0).all()


def test_molecular_dynamics():
    """Oracle: equipartition, kT / 2 for each of three modes; the same seed gives the same geometries."""
    modes = normal_modes(molecule("H2O"), EMT())
    request = {
        "numbers": modes.numbers,
        "positions": modes.positions,
        "temperature": 0.5,
        "n": 100,
        "interval": 15,
        "seed": 1,
    }
    found = trajectory(request, EMT())["positions"]
    assert mean_potential_energy(modes, found) == pytest.approx(1.5 * kB * 0.5, rel=0.25)
    again = trajectory({**request, "n": 2}, EMT())["positions"]
    assert again.shape == (2, 3, 3)
    assert np.allclose(
        np.linalg.norm(again[:, 1] - again[:, 0], axis=-1),
        [np.linalg.norm(x[1] - x[0]) for x in found[:2]],
    )


def trajectory_of_emt(request):
    return trajectory(request, EMT())


def test_recipes_with_dynamics(tmp_path, monkeypatch):
    """Oracle: numbers of geometries, all different; trajectories that are on disk are not computed again."""
    monkeypatch.setattr(recipes, "trajectory", trajectory_of_emt)
    monkeypatch.setattr(recipes, "INTERVAL", 2)
    monkeypatch.setattr(recipes, "TRAJECTORY", 3)
    chosen = dataclasses.replace(
        recipe("water"), sampling="dynamics", model_vibrations=True, n_train=7, n_test=2
    )
    train, test = geometries(chosen, tmp_path)
    assert (len(train), len(test)) == (7, 2)
    bonds = [np.linalg.norm(x[1] - x[0]) for _, x in (*train, *test)]
    assert len(np.unique(np.round(bonds, 8))) == 9
    monkeypatch.setattr("ase.md.langevin.Langevin", None)
    again, _ = geometries(chosen, tmp_path)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(train, again, strict=True))


def test_model_vibrations():
    """Oracle: what displaces nothing costs nothing; numbers of modes; frequencies of the right size."""
    for name, n_modes in (("H2O", 3), ("C2H2", 7), ("CH3CH2OH", 21), ("HCN", 4)):
        atoms = molecule(name)
        hessian = model_hessian(np.asarray(atoms.numbers), atoms.positions / 0.529177)
        assert hessian == pytest.approx(hessian.T)
        x = atoms.positions - atoms.positions.mean(axis=0)
        for axis in np.eye(3):
            shift = np.tile(axis, len(atoms))
            turn = np.cross(axis, x).ravel()
            assert np.abs(hessian @ shift).max() < 1e-10
            assert np.abs(hessian @ turn).max() < 1e-8
        modes = model_modes(np.asarray(atoms.numbers), atoms.positions)
        assert len(modes.constants) == n_modes
        assert modes.wavenumbers.min() > 80.0
        assert 3000.0 < modes.wavenumbers.max() < 4600.0


@pytest.fixture(scope="module")
def calculated(tmp_path_factory):
    rng = np.random.default_rng(0)
    equilibrium = molecule("H2O").positions
    geometries = [([8, 1, 1], equilibrium + 0.05 * rng.normal(size=(3, 3))) for _ in range(6)]
    folder = tmp_path_factory.mktemp("calculations")
    return geometries, folder, load_calculations(geometries, folder, level=LEVEL, n_forces=1)


def test_calculations_are_made_once(calculated, monkeypatch):
    """Oracle: the first call; nothing is computed again."""
    geometries, folder, first = calculated
    monkeypatch.setattr("kakehashi_pyscf.record_scf", None)
    again = load_calculations(geometries, folder, level=LEVEL, n_forces=1)
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.hamiltonian, b.hamiltonian)
        assert a.energy == b.energy
    assert first[0].forces is None
    assert first[-1].forces.shape == (3, 3)
    assert first[0].request.start_hamiltonians.keys() == {"minao", "sap", "hcore"}
    assert len(first[0].iterates) == len(first[0].images) >= 4
    assert 0.001 < first[0].reference_error < 1.0


@pytest.mark.parametrize(
    ("target", "optimizer"),
    [("direct", "adam"), ("refine", "adam"), ("scf-map", "adam"), ("refine", "soap")],
)
def test_both_stages_of_a_fit(calculated, target, optimizer, tmp_path):
    """Oracle: the start Hamiltonian, which a fit has to beat by far; the fixed point converges."""
    data = TrainingSet(calculated[2], "sap")
    torch.manual_seed(0)
    model = new_model(ModelSettings(n_channels=4, n_layers=1), data, seed=1)
    settings = FitSettings(
        steps=60, feedback_steps=4, target=target, optimizer=optimizer, batch_size=6
    )
    fit(model, data, settings, tmp_path, seed=1, identity={"molecules": "water"})
    accuracy = measured_accuracy(model, calculated[2])
    start = np.mean(
        [np.abs(c.hamiltonian - c.request.start_hamiltonians["sap"]).mean() for c in calculated[2]]
    )
    assert accuracy["H MAE, uHa"] < 0.2e6 * start
    assert accuracy["converged, share"] == 1.0
    assert accuracy["evaluations of the network"] > 1.0
    assert 0.0 < accuracy["1 - similarity of densities"] < 0.01


def test_recipes_have_names():
    """Oracle: what is registered."""
    assert recipe("water") is recipe("deqh-water")
    with pytest.raises(UnknownNameError, match="deqh-water"):
        recipe("benzene")
    assert len({r.name for r in RECIPES}) == len(RECIPES)


@pytest.mark.thorough
def test_fine_tuning(tmp_path):
    """Oracle: stretched structures that were held out, before and after."""
    rng = np.random.default_rng(3)
    structures = []
    for _ in range(12):
        atoms = molecule("H2O")
        atoms.positions *= 1.12
        atoms.positions += 0.02 * rng.normal(size=(3, 3))
        structures.append(atoms)
    found = fine_tune("deqh-water", structures, tmp_path, steps=40, learning_rate=3e-4)
    assert (found.n_train, found.n_held_out) == (10, 2)
    assert found.after["H MAE, uHa"] < 0.7 * found.before["H MAE, uHa"]
    assert found.before["used"] < found.after["used"] == 1.0
    assert found.after["Fock matrices over minao"] < 0.9
    assert "->" in str(found)
    again = fine_tune("deqh-water", structures, tmp_path, steps=40, learning_rate=3e-4)
    assert again.after["H MAE, uHa"] == found.after["H MAE, uHa"]
    for atoms in structures:
        atoms.positions *= 1.001
    with pytest.raises(InvalidInputError, match="another configuration"):
        fine_tune("deqh-water", structures, tmp_path, steps=40, learning_rate=3e-4)


def test_what_cannot_be_fine_tuned(tmp_path):
    """Oracle: what messages say, before anything is calculated."""
    structures = [molecule("H2O") for _ in range(12)]
    with pytest.raises(InvalidInputError, match="at least 10"):
        fine_tune("deqh-water", structures[:5], tmp_path)
    with pytest.raises(InvalidInputError, match="knows"):
        fine_tune("deqh-water", [molecule("CH4")] * 12, tmp_path)
    with pytest.raises(InvalidInputError, match="positive"):
        fine_tune("deqh-water", structures, tmp_path, steps=0)
    structures[3].info["charge"] = 1
    with pytest.raises(InvalidInputError, match="structure 3 has charge 1"):
        fine_tune("deqh-water", structures, tmp_path)
    structures[3].info.clear()
    structures[2].pbc = True
    with pytest.raises(InvalidInputError, match="structure 2 is periodic"):
        fine_tune("deqh-water", structures, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.thorough
def test_comparison_at_equal_time(monkeypatch, tmp_path):
    """Oracles: variants run, spend about what they may, and resume; the mean of two numbers."""
    small = dataclasses.replace(
        recipe("deqh-water"),
        level=Level(xc="pbe", basis="sto-3g", grid=1, conv_tol=1e-8),
        n_train=8,
        n_test=2,
        n_forces=0,
        n_far=2,
        model=ModelSettings(n_channels=4, n_layers=1, max_evaluations=6),
    )
    monkeypatch.setattr(training_comparison, "recipe", lambda _: small)
    variants = ("no feedback", "scf-map", "paper")
    options = {"data": tmp_path, "sizes": [4], "seconds": 0.5, "n_fock": 0, "directory": tmp_path}
    rows = compare_trainings("deqh-water", seeds=[1], variants=variants, **options)
    assert tuple(r["variant"] for r in rows) == variants
    for row in rows:
        assert row["steps"] + row["feedback_steps"] > 0
        assert (row["feedback_steps"] == 0) == (row["variant"] == "no feedback")
        assert (row["steps"] == 0) == (row["variant"] == "paper")
        assert row["fit_cpu_seconds"] < 5.0
    assert compare_trainings("deqh-water", seeds=[1], variants=variants, **options) == rows
    other = {**rows[0], "near": {k: v + 2.0 for k, v in rows[0]["near"].items()}}
    (mean,) = averages([rows[0], other])
    value = rows[0]["near"]["H MAE, uHa"]
    assert mean["near: H MAE, uHa"]["mean"] == pytest.approx(value + 1.0)
    assert mean["near: H MAE, uHa"]["stderr"] == pytest.approx(1.0)
    with pytest.raises(UnknownNameError, match="variant"):
        compare_trainings("deqh-water", seeds=[1], variants=["best"], **options)
    with pytest.raises(InvalidInputError, match="sizes"):
        compare_trainings("deqh-water", seeds=[1], **{**options, "sizes": [9]})
