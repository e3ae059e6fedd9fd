"""Make the shipped example: an equilibrium configuration at T = 0.64 that no model was trained on.

    python -m kakehashi_botan.training.example_liquid FOLDER

writes ``examples/liquid.npz`` of this package, from molecular dynamics in FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from kakehashi_botan.configuration_files import read_isoconfigurational
from kakehashi_botan.displacements import propensity
from kakehashi_botan.example_liquid import EXAMPLE
from kakehashi_botan.training.temperature_series import SeriesSettings, make_series
from kakehashi_core.files import atomic_write

TEMPERATURE = 0.64
SETTINGS = SeriesSettings(n_configurations=1, n_runs=32, seed=2027)
"""Another seed than that of the training data."""


def make_example(folder: Path, output: Path = EXAMPLE) -> None:
    """Run the dynamics unless the folder has it, and write the example."""
    (path,) = make_series(folder, [TEMPERATURE], settings=SETTINGS)
    data = read_isoconfigurational(path)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as file:
        np.savez_compressed(
            file,
            positions=data.initial_positions,
            types=data.types.astype(np.int8),
            cell=data.cell,
            propensity=propensity(data)[-1],
            temperature=data.temperature,
            time=data.times[-1],
        )


if __name__ == "__main__":
    make_example(Path(sys.argv[1]))
