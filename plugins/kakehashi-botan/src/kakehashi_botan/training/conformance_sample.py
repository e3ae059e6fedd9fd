"""Make the structure that conformance checks of ``botan`` run on: 320 particles like those of its training.

    python -m kakehashi_botan.training.conformance_sample

cools a liquid slowly to T = 0.44, waits for an energy like those of the training, and writes
``examples/sample.json`` of this package.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from kakehashi_botan.example_liquid import EXAMPLE
from kakehashi_botan.inherent_structures import inherent_structure
from kakehashi_botan.mixtures import cubic_box, kob_andersen
from kakehashi_botan.molecular_dynamics import MolecularDynamics
from kakehashi_core.files import write_json

SAMPLE = EXAMPLE.with_name("sample.json")
N_ATOMS = 320
TEMPERATURES = (1.0, 0.8, 0.7, 0.6, 0.55, 0.5, 0.47, 0.44)
TIME = 200.0
TIMESTEP = 0.005
DECIMALS = 6
LOWEST, HIGHEST = -7.05, -7.01
"""Potential energy per particle, epsilon_AA: well inside that of the training data."""


def make_sample(output: Path = SAMPLE, *, seed: int = 1) -> float:
    """Write the sample; return its potential energy per particle, epsilon_AA."""
    rng = np.random.default_rng(seed)
    cell = cubic_box(N_ATOMS, 1.2)
    types = (np.arange(N_ATOMS) % 5 == 2).astype(np.int64)
    mixture = kob_andersen()
    positions = inherent_structure(mixture, rng.random((N_ATOMS, 3)) @ cell, types, cell).positions
    velocities = None
    for before, temperature in zip((1.0, *TEMPERATURES[:-1]), TEMPERATURES, strict=True):
        run = MolecularDynamics(
            mixture,
            positions,
            types,
            cell,
            timestep=TIMESTEP,
            ensemble="nvt",
            temperature=temperature,
            velocities=None if velocities is None else velocities * math.sqrt(temperature / before),
            seed=int(rng.integers(2**31)),
        )
        run.run(round(TIME / TIMESTEP))
        positions, velocities = run.positions, run.velocities
    while not LOWEST < float(run.potential_sums().energies.mean()) < HIGHEST:
        run.run(round(1.0 / TIMESTEP))
    positions = run.positions
    write_json(
        output,
        {
            "symbols": ["Ar" if kind == 0 else "Ne" for kind in types],
            "positions": np.round(np.mod(positions, cell[0, 0]), DECIMALS).tolist(),
            "cell": [float(cell[0, 0])] * 3,
        },
    )
    return float(run.potential_sums().energies.mean())


if __name__ == "__main__":
    make_sample()
