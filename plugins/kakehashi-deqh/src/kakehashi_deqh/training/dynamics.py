"""Geometries of a molecule from molecular dynamics: anharmonic, and with internal rotations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.random_streams import spawn
from kakehashi_deqh.training.normal_modes import turned

FloatArray = npt.NDArray[np.float64]

TIMESTEP = 0.5
"""Femtoseconds; hydrogen moves."""
FRICTION = 0.02
"""Inverse femtoseconds: a trajectory forgets its velocities within a hundred steps."""


def trajectory(request: dict[str, Any], calculator: Any = None) -> dict[str, FloatArray]:
    """Return geometries along one Langevin trajectory.

    Args:
        request: "numbers", "positions" (where it starts, Å), "temperature" (kelvin), "n" (geometries),
            "interval" (steps before each of them), "seed", and "xc" and "basis" of the forces.
        calculator: Of ASE, instead of PySCF with these.

    Returns:
        "positions", (n, n_atoms, 3), Å, each turned at random.
    """
    from ase import Atoms, units
    from ase.md.langevin import Langevin

    from kakehashi_ase import calculator as named

    (rng,), _ = spawn(int(request["seed"]), 1)
    atoms = Atoms(request["numbers"], np.asarray(request["positions"]))
    atoms.calc = calculator or named("pyscf", xc=request["xc"], basis=request["basis"])
    temperature = float(request["temperature"])
    widths = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(widths[:, None] * rng.normal(size=atoms.positions.shape))
    moving = Langevin(
        atoms,
        TIMESTEP * units.fs,
        temperature_K=temperature,
        friction=FRICTION / units.fs,
        fixcm=False,
        rng=rng,
    )
    found = []
    for _ in range(int(request["n"])):
        moving.run(int(request["interval"]))
        found.append(atoms.positions.copy())
    return {"positions": turned(np.array(found), rng)}
