"""The calculator ``ka-lj`` in ASE."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.lj import LennardJones
from ase.md.verlet import VelocityVerlet

from kakehashi_ase import CalculatorInputError, calculator
from kakehashi_botan import MolecularDynamics, kob_andersen
from kakehashi_botan.lennard_jones_calculator import LennardJonesMixture


def crystal(n: int = 3, spacing: float = 1.1) -> Atoms:
    """Return a rattled cubic crystal of A with every fifth particle B."""
    grid = spacing * np.indices((n, n, n)).reshape(3, -1).T
    symbols = ["Ne" if i % 5 == 0 else "Ar" for i in range(n**3)]
    atoms = Atoms(symbols, positions=grid, cell=[n * spacing] * 3, pbc=True, masses=np.ones(n**3))
    atoms.rattle(0.05, seed=2)
    return atoms


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_one_species_is_the_potential_of_ase(backend):
    """Oracle: ASE's Lennard-Jones, which shifts the energy too; energies, forces and stress."""
    atoms = crystal(5)
    atoms.symbols = "Ar125"
    ours = atoms.copy()
    ours.calc = calculator("ka-lj", backend=backend, device="cpu")
    atoms.calc = LennardJones(sigma=1.0, epsilon=1.0, rc=2.5)
    assert np.abs(atoms.get_forces()).max() > 1.0
    assert ours.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    assert ours.get_potential_energies() == pytest.approx(atoms.get_potential_energies(), abs=1e-10)
    assert ours.get_forces() == pytest.approx(atoms.get_forces(), abs=1e-10)
    assert ours.get_stress() == pytest.approx(atoms.get_stress(), abs=1e-10)


def test_species_by_symbol_by_array_and_by_option():
    """Oracle: each other; exchanging the species changes the energy."""
    atoms = crystal()
    atoms.calc = LennardJonesMixture()
    energy = atoms.get_potential_energy()
    types = (atoms.symbols == "Ne").astype(int)
    others = atoms.copy()
    others.symbols = np.where(types == 0, "Cu", "Zr")
    others.calc = LennardJonesMixture(species=("Cu", "Zr"))
    assert others.get_potential_energy() == energy
    others.calc = LennardJonesMixture()
    with pytest.raises(CalculatorInputError, match=r"atom 0 is Zr; Ar, Ne stand for the 2 species"):
        others.get_potential_energy()
    others.set_array("types", types)
    assert others.get_potential_energy() == energy
    others.arrays["types"][:] = 1 - types
    assert abs(others.get_potential_energy() - energy) > 0.1
    others.arrays["types"][3] = 2
    with pytest.raises(CalculatorInputError, match=r"arrays\['types'\]\[3\] is 2"):
        others.get_potential_energy()


def test_parameters_of_your_own():
    """Oracle: the preset with the same numbers."""
    atoms = crystal()
    mixture = kob_andersen()
    own = LennardJonesMixture(mixture="mine", epsilon=mixture.epsilon, sigma=mixture.sigma)
    preset = LennardJonesMixture()
    assert own.get_potential_energy(atoms) == preset.get_potential_energy(atoms)
    assert own.mixture.name == "mine"
    wider = LennardJonesMixture(cutoff_ratio=2.0)
    assert wider.get_potential_energy(atoms) != preset.get_potential_energy(atoms)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixture": "kob"}, "kob-andersen"),
        ({"epsilon": [[1.0]]}, "belong together"),
        ({"shift": "forces"}, "none, energy, force"),
        ({"backend": "cupy"}, "numba, torch"),
        ({"species": ("A", "B")}, "no chemical symbol"),
        ({"skin": -1.0}, "skin is -1.0"),
        ({"cutof_ratio": 2.0}, "cutoff_ratio"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(CalculatorInputError, match=message):
        LennardJonesMixture(**options)


def test_molecular_dynamics_of_ase_takes_the_same_path():
    """Oracle: the compiled loop; masses of 1, plain timestep."""
    atoms = crystal(4)
    velocities = np.random.default_rng(0).normal(0, 0.7, (64, 3))
    run = MolecularDynamics(
        kob_andersen(),
        atoms.positions,
        (atoms.symbols == "Ne").astype(int),
        atoms.cell.array,
        timestep=0.002,
        velocities=velocities,
    )
    atoms.calc = LennardJonesMixture()
    atoms.set_velocities(velocities)
    VelocityVerlet(atoms, timestep=0.002).run(50)
    run.run(50)
    assert np.abs(run.positions - crystal(4).positions).max() > 0.02
    assert atoms.positions == pytest.approx(run.positions, abs=1e-10)
    kelvin = 2 * run.kinetic_energy / (3 * 64) / units.kB
    assert atoms.get_temperature() == pytest.approx(kelvin, rel=1e-9)


def test_no_stress_without_three_periodic_directions():
    atoms = crystal()
    atoms.pbc = (True, True, False)
    atoms.calc = LennardJonesMixture()
    assert np.isfinite(atoms.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError, match="three periodic directions"):
        atoms.get_stress()


def test_coincident_particles_are_an_error():
    atoms = crystal()
    atoms.positions[1] = atoms.positions[0]
    atoms.calc = LennardJonesMixture()
    with pytest.raises(Exception, match=r"(?i)nan|finite"):
        atoms.get_potential_energy()


def test_copies_and_pickles():
    """Oracle: the original."""
    atoms = crystal()
    calc = LennardJonesMixture(shift="force", skin=0.1)
    energy = calc.get_potential_energy(atoms)
    for other in (copy.deepcopy(calc), pickle.loads(pickle.dumps(calc))):
        assert other.parameters == calc.parameters
        other.reset()
        assert other.get_potential_energy(atoms) == energy
