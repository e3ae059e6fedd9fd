"""An equilibrium configuration to try things on: 1024 particles at T = 0.64, not used in any training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kakehashi_botan.array_archives import read_arrays
from kakehashi_botan.particle_types import SPECIES

if TYPE_CHECKING:
    from ase import Atoms

EXAMPLE = Path(__file__).with_name("examples") / "liquid.npz"


def example_liquid() -> Atoms:
    """Return the example, Ar for A and Ne for B, masses 1.

    ``atoms.info`` holds "temperature" (epsilon_AA / k_B) and "time" (tau_LJ, one relaxation time); the array
    "measured_propensity" (sigma_AA) is the mean of 32 runs until then. Made by
    ``training/example_liquid.py``.
    """
    from ase import Atoms

    arrays = read_arrays(EXAMPLE)
    atoms = Atoms(
        [SPECIES[t] for t in arrays["types"]],
        positions=arrays["positions"],
        cell=arrays["cell"],
        pbc=True,
        masses=np.ones(len(arrays["types"])),
    )
    atoms.set_array("measured_propensity", np.array(arrays["propensity"]))
    atoms.info |= {"temperature": float(arrays["temperature"]), "time": float(arrays["time"])}
    return atoms
