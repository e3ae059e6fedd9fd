"""The compiled dynamics: conservation, sampling, and continuation to the last bit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from kakehashi_botan.inherent_structures import inherent_structure
from kakehashi_botan.mixtures import cubic_box, kob_andersen, ternary_kob_andersen
from kakehashi_botan.molecular_dynamics import (
    MolecularDynamics,
    UnstableRunError,
    maxwell_boltzmann,
)
from kakehashi_core.errors import CheckpointError, InvalidInputError


def start(n: int = 64, *, shift: str = "force", flat: bool = False):
    """Return mixture, positions, types and cell of a relaxed system."""
    rng = np.random.default_rng(7)
    mixture = ternary_kob_andersen() if flat else kob_andersen(shift=shift)
    cell = np.diag([(n / 1.19) ** 0.5] * 2 + [1.0]) if flat else cubic_box(n, 1.2)
    positions = rng.random((n, 3)) @ cell
    if flat:
        positions[:, 2] = 0.0
    types = (np.arange(n) % 5 == 0).astype(np.int64)
    pbc = np.array([True, True, not flat])
    quenched = inherent_structure(mixture, positions, types, cell, pbc=pbc)
    return mixture, quenched.positions, types, cell, pbc


def dynamics(system, **options) -> MolecularDynamics:
    mixture, positions, types, cell, pbc = system
    options = {"timestep": 0.002, "temperature": 0.5, "seed": 1, **options}
    return MolecularDynamics(mixture, positions, types, cell, pbc=pbc, **options)


def energies(run: MolecularDynamics, n_steps: int, every: int = 5) -> np.ndarray:
    """Return the total energy per particle along a run."""
    values = []
    for _ in range(n_steps // every):
        run.run(every)
        values.append(run.kinetic_energy + run.potential_sums().energy)
    return np.array(values) / len(run.types)


def test_energy_is_conserved_and_fluctuates_like_the_timestep_squared():
    """Oracle: velocity Verlet is of second order; CHECKS row 10: 1e-6 per particle and time, factor 4."""
    system = start()
    equilibrated = dynamics(system, ensemble="nvt")
    equilibrated.run(1000)
    system = (system[0], equilibrated.positions, *system[2:])
    spreads = []
    for timestep in (0.002, 0.004):
        run = dynamics(system, velocities=equilibrated.velocities, timestep=timestep)
        n_steps = round(20.0 / timestep)
        total = energies(run, n_steps)
        time = np.linspace(0.0, 20.0, len(total))
        slope = np.polyfit(time, total, 1)[0]
        if timestep == 0.002:
            assert abs(slope) < 1e-6
        spreads.append((total - slope * time).std())
    assert spreads[1] / spreads[0] == pytest.approx(4.0, rel=0.2)
    assert np.abs(run.velocities.sum(axis=0)).max() < 1e-10


def test_the_loop_takes_the_steps_of_velocity_verlet():
    """Oracle: velocity Verlet written out, with forces of the same potential from a fresh list."""
    system = start()
    run = dynamics(system)
    x, v = run.positions.copy(), run.velocities.copy()
    other = dynamics(system)
    force = other.potential.forces(x, *other._system)
    for _ in range(50):
        v += 0.001 * force
        x += 0.002 * v
        force = other.potential.forces(x, *other._system)
        v += 0.001 * force
    run.run(50)
    assert np.abs(x - system[1]).max() > 0.02
    assert run.positions == pytest.approx(x, abs=1e-11)
    assert run.velocities == pytest.approx(v, abs=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("ensemble", ["nvt", "langevin"])
def test_thermostats_sample_the_canonical_kinetic_energy(ensemble):
    """Oracle: the kinetic energy is gamma distributed, mean f T / 2 and variance f T^2 / 2."""
    run = dynamics(start(32), ensemble=ensemble, timestep=0.004, relaxation_time=0.2)
    run.run(1000)
    samples = []
    for _ in range(2000):
        run.run(50)
        samples.append(run.kinetic_energy)
    freedom = run.n_degrees_of_freedom
    assert freedom == (96 if ensemble == "langevin" else 93)
    mean, variance = 0.5 * freedom * 0.5, 0.5 * freedom * 0.5**2
    # Samples are one relaxation time apart; half of them count.
    assert np.mean(samples) == pytest.approx(mean, abs=4 * (variance / 1000) ** 0.5 + 0.003 * mean)
    assert np.var(samples) == pytest.approx(variance, rel=4 * (2 / 1000) ** 0.5)


def test_drawn_velocities():
    """Oracle: variance T of each component, no total momentum, nothing out of the plane."""
    velocities = maxwell_boltzmann(20000, 0.7, np.random.default_rng(0), n_dimensions=2)
    assert velocities[:, :2].var() == pytest.approx(0.7, rel=0.02)
    assert np.abs(velocities.sum(axis=0)).max() < 1e-9
    assert not velocities[:, 2].any()


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "langevin"])
def test_a_flat_system_stays_flat(ensemble):
    run = dynamics(start(43, flat=True), ensemble=ensemble)
    before = run.positions.copy()
    run.run(200)
    assert run.n_dimensions == 2
    assert np.abs(run.positions - before)[:, :2].max() > 0.05
    assert not run.positions[:, 2].any()
    assert not run.velocities[:, 2].any()


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "langevin"])
def test_a_resumed_run_is_the_same_to_the_last_bit(tmp_path, ensemble):
    """Oracle: the run that was not interrupted; the list was built several times before and after."""
    run = dynamics(start(), ensemble=ensemble, timestep=0.005)
    run.run(313)
    run.save(tmp_path / "run.safetensors")
    resumed = MolecularDynamics.resume(tmp_path / "run.safetensors")
    built = run.potential.n_builds
    assert built > 3
    for other in (run, resumed):
        other.run(400)
    assert run.potential.n_builds > built + 3
    assert np.array_equal(run.positions, resumed.positions)
    assert np.array_equal(run.velocities, resumed.velocities)
    assert np.array_equal(run.forces, resumed.forces)
    assert resumed.n_steps == 713
    assert resumed.time == run.time


@pytest.mark.thorough
def test_killed_while_saving_continues(tmp_path):
    """Oracle: the uninterrupted run; the process dies of SIGKILL in the middle of its work."""
    script = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_botan_molecular_dynamics import dynamics, start
run = dynamics(start(), ensemble="langevin", timestep=0.005)
path = Path(sys.argv[2]) / "run.safetensors"
while True:
    run.run(50)
    run.save(path)
    if run.n_steps == 300:
        run.run(17)
        os.kill(os.getpid(), 9)
"""
    folder = str(__import__("pathlib").Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", script, folder, str(tmp_path)])
    assert done.returncode == -9
    resumed = MolecularDynamics.resume(tmp_path / "run.safetensors")
    assert resumed.n_steps == 300
    resumed.run(200)
    whole = dynamics(start(), ensemble="langevin", timestep=0.005)
    for _ in range(10):
        whole.run(50)
    assert np.array_equal(resumed.positions, whole.positions)


def test_other_files_are_refused(tmp_path):
    run = dynamics(start())
    run.save(tmp_path / "run.safetensors")
    (tmp_path / "run.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(CheckpointError):
        MolecularDynamics.resume(tmp_path / "run.safetensors")


def test_a_timestep_that_is_too_long_is_noticed():
    run = dynamics(start(), timestep=0.5, temperature=5.0)
    with pytest.raises(UnstableRunError, match=r"not finite after step \d+; timestep 0.5"):
        run.run(200)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestep": 0.0}, "timestep is 0.0"),
        ({"ensemble": "npt"}, "nve, nvt, langevin"),
        ({"temperature": None}, "temperature is missing"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"velocities": np.zeros((3, 3))}, r"velocities has shape \(3, 3\)"),
        ({"skin": -0.1}, "skin is -0.1"),
    ],
)
def test_nonsense_is_refused(change, message):
    with pytest.raises(InvalidInputError, match=message):
        dynamics(start(), **change)


def test_bad_particles_are_named():
    mixture, positions, types, cell, _ = start()
    bad = positions.copy()
    bad[5, 1] = np.nan
    with pytest.raises(InvalidInputError, match=r"positions\[5, 1\] is nan"):
        MolecularDynamics(mixture, bad, types, cell, timestep=0.002, temperature=0.5)
    with pytest.raises(InvalidInputError, match=r"types\[0\] is 2"):
        MolecularDynamics(mixture, positions, types + 1, cell, timestep=0.002, temperature=0.5)
    with pytest.raises(InvalidInputError, match=r"positions has shape \(0, 3\)"):
        MolecularDynamics(mixture, np.empty((0, 3)), [], cell, timestep=0.002, temperature=0.5)
