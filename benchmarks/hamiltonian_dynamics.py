"""Molecular dynamics of water with predicted Hamiltonians: conservation of energy, and Fock matrices.

    python benchmarks/hamiltonian_dynamics.py

writes benchmarks/results/hamiltonian_dynamics.json: the drift of 400 steps of 0.5 fs by plain PySCF and by
the modes "scf" and "corrected" of the calculator deqh, from the same start; and, along the way, Fock matrices
of an SCF from atomic densities, from the density of the step before, and from a prediction.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet
from pyscf import dft, gto

import kakehashi_pyscf as kp
from kakehashi_ase import calculator
from kakehashi_core.files import write_json
from kakehashi_core.threads import thread_limit

MODEL, XC, BASIS = "deqh-water", "pbe", "def2-svp"
N_STEPS, TIMESTEP = 400, 0.5
TEMPERATURE = 600.0
"""Of the velocities at the start, kelvin; half of it goes into the potential energy."""
EVERY = 20
PACKAGES = ("kakehashi-deqh", "kakehashi-pyscf", "pyscf", "ase", "torch", "numpy")


def start() -> Atoms:
    """Return water with velocities, without a net momentum."""
    atoms = molecule("H2O")
    rng = np.random.default_rng(1)
    widths = np.sqrt(atoms.get_masses() * units.kB * TEMPERATURE)[:, None]
    momenta = widths * rng.normal(size=(3, 3))
    atoms.set_momenta(
        momenta - atoms.get_masses()[:, None] * momenta.sum(axis=0) / atoms.get_masses().sum()
    )
    return atoms


def trajectory(calc: Any) -> tuple[dict[str, float], list[np.ndarray]]:
    """Return drift and fluctuation of the total energy, and all positions."""
    atoms = start()
    atoms.calc = calc
    energies, positions, builds, full = [], [], [], []
    began = time.process_time()

    def watch() -> None:
        energies.append(atoms.get_total_energy())
        positions.append(atoms.positions.copy())
        if "n_builds" in calc.results:
            builds.append(calc.results["n_builds"])
            full.append(calc.results["from_scf"])

    moving = VelocityVerlet(atoms, TIMESTEP * units.fs)
    moving.attach(watch)
    moving.run(N_STEPS)
    t = np.arange(len(energies)) * TIMESTEP * 1e-3
    (slope, offset), covariance = np.polyfit(t, energies, 1, cov=True)
    rest = np.array(energies) - slope * t - offset
    found = {
        "drift, meV per atom and ps": 1e3 * float(slope) / len(atoms),
        "its standard error": 1e3 * float(np.sqrt(covariance[0, 0])) / len(atoms),
        "fluctuation, meV": 1e3 * float(rest.std()),
        "CPU seconds for each step": (time.process_time() - began) / N_STEPS,
    }
    if builds:
        found["Fock matrices for each step"] = float(np.mean(builds))
        found["steps by a full SCF"] = float(np.mean(full))
    return found, positions


def mean_field(positions: np.ndarray) -> Any:
    """Return an SCF of one geometry, not run."""
    mol = gto.M(
        atom=[("OHH"[k], tuple(x)) for k, x in enumerate(positions)], basis=BASIS, verbose=0
    )
    return dft.RKS(mol, xc=XC)


def fock_matrices(positions: list[np.ndarray]) -> dict[str, float]:
    """Return Fock matrices of an SCF with three starts, means over some steps."""
    found: dict[str, list[int]] = {"minao": [], "density of the step before": [], MODEL: []}
    spread = 0.0
    for k in range(EVERY, len(positions), EVERY):
        before = mean_field(positions[k - 1])
        before.kernel()
        starts: dict[str, tuple[Any, Any]] = {
            "minao": (mean_field(positions[k]), None),
            "density of the step before": (mean_field(positions[k]), before.make_rdm1()),
            MODEL: (kp.initial_guess(mean_field(positions[k]), MODEL), None),
        }
        energies = []
        for name, (mf, density) in starts.items():
            with kp.counted_builds(mf) as builds:
                energies.append(mf.kernel(density))
            found[name].append(builds.n)
        spread = max(spread, float(np.ptp(energies)))
    return {
        **{name: float(np.mean(values)) for name, values in found.items()},
        "largest difference of energies, hartree": spread,
    }


def main() -> None:
    """Run, print and write."""
    runs = {
        "pyscf": lambda: calculator("pyscf", xc=XC, basis=BASIS),
        "deqh, scf": lambda: calculator("deqh", model=MODEL, mode="scf"),
        "deqh, corrected": lambda: calculator("deqh", model=MODEL, mode="corrected"),
    }
    found: dict[str, Any] = {}
    with thread_limit(1):
        for name, made in runs.items():
            found[name], positions = trajectory(made())
            print(name, found[name], flush=True)
            if name == "pyscf":
                found["Fock matrices"] = fock_matrices(positions)
                print(found["Fock matrices"], flush=True)
    write_json(
        Path(__file__).parent / "results" / "hamiltonian_dynamics.json",
        {
            **found,
            "settings": {"steps": N_STEPS, "timestep, fs": TIMESTEP, "kelvin": TEMPERATURE},
            "versions": {k: version(k) for k in PACKAGES},
        },
    )


if __name__ == "__main__":
    main()
