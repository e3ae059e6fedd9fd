"""Isoconfigurational ensembles at several temperatures, made with our own engine.

One equilibrium run per temperature gives configurations some relaxation times apart; each is the start of an
ensemble. Everything is kept as it is made, and a call that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from kakehashi_botan.configuration_files import write_isoconfigurational
from kakehashi_botan.inherent_structures import inherent_structure
from kakehashi_botan.isoconfigurational import isoconfigurational
from kakehashi_botan.lennard_jones_calculator import LennardJonesMixture
from kakehashi_botan.mixtures import cubic_box, kob_andersen
from kakehashi_botan.molecular_dynamics import MolecularDynamics
from kakehashi_botan.particle_types import SPECIES
from kakehashi_core.ensembles import run_ensemble
from kakehashi_core.files import directory_lock

RELAXATION_TIMES: Mapping[float, float] = {
    0.80: 4.0,
    0.72: 7.0,
    0.64: 16.5,
    0.60: 28.0,
    0.56: 52.0,
    0.50: 217.0,
}
"""Structural relaxation time at each temperature, tau_LJ; 0.64, 0.56 and 0.50 as in the literature on this
mixture, the others between and beyond them."""

DENSITY = 1.2
SHARE_OF_B = 0.2
TIMESTEP = 0.005
MELT_TEMPERATURE = 2.0
MELT_TIME = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesSettings:
    """How much data there is at each temperature.

    Attributes:
        n_atoms: Particles, a fifth of them B.
        n_configurations: Starts of ensembles.
        n_runs: Runs of each ensemble.
        equilibration: Relaxation times before the first start.
        spacing: Relaxation times between starts.
        durations: When positions are recorded, in relaxation times.
        seed: Of everything.
    """

    n_atoms: int = 1024
    n_configurations: int = 12
    n_runs: int = 8
    equilibration: float = 50.0
    spacing: float = 10.0
    durations: tuple[float, ...] = (0.1, 1.0)
    seed: int = 2026


def ensemble_path(directory: Path, temperature: float, number: int) -> Path:
    """Return where the ensemble of one configuration is kept."""
    return directory / f"T{temperature:.2f}" / f"configuration-{number:03d}.npz"


def make_series(
    directory: Path,
    temperatures: Sequence[float] = tuple(RELAXATION_TIMES),
    *,
    settings: SeriesSettings | None = None,
    executor: Executor | None = None,
) -> list[Path]:
    """Make all ensembles that are not there yet.

    Args:
        directory: Where they are kept; one folder per temperature.
        temperatures: epsilon_AA / k_B, keys of ``RELAXATION_TIMES``.
        settings: How much at each temperature.
        executor: Works on temperatures at the same time.

    Returns:
        All files, temperature after temperature.
    """
    settings = settings or SeriesSettings()
    tasks = [
        {"directory": str(directory), "temperature": t, "settings": _plain(settings)}
        for t in temperatures
    ]
    run_ensemble(_make_temperature, tasks, executor=executor, description="temperatures")
    return [
        ensemble_path(directory, t, k)
        for t in temperatures
        for k in range(settings.n_configurations)
    ]


def _plain(settings: SeriesSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__slots__}


def _make_temperature(task: Mapping[str, Any]) -> int:
    """Make the ensembles of one temperature; return how many there are."""
    settings = SeriesSettings(
        **{**task["settings"], "durations": tuple(task["settings"]["durations"])}
    )
    temperature, directory = float(task["temperature"]), Path(task["directory"])
    folder = ensemble_path(directory, temperature, 0).parent
    folder.mkdir(parents=True, exist_ok=True)
    tau = RELAXATION_TIMES[temperature]
    with directory_lock(folder):
        checkpoint = folder / "equilibrium.safetensors"
        run = (
            MolecularDynamics.resume(checkpoint)
            if checkpoint.exists()
            else _melt(temperature, settings)
        )
        for number in range(settings.n_configurations):
            target = _steps((settings.equilibration + settings.spacing * number) * tau)
            _advance(run, target, checkpoint)
            path = ensemble_path(directory, temperature, number)
            if not path.exists():
                if run.n_steps != target:
                    raise RuntimeError(
                        f"{path} is missing, but the equilibrium run is past its start; delete the folder "
                        f"{folder} and start again"
                    )
                _write_ensemble(path, run, temperature, number, settings)
    return settings.n_configurations


def _melt(temperature: float, settings: SeriesSettings) -> MolecularDynamics:
    """Return a run at the temperature, from a random start through a hot liquid."""
    rng = np.random.default_rng([settings.seed, round(1000 * temperature)])
    n = settings.n_atoms
    cell = cubic_box(n, DENSITY)
    types = np.zeros(n, dtype=np.int64)
    types[: round(SHARE_OF_B * n)] = 1
    relaxed = inherent_structure(kob_andersen(), rng.random((n, 3)) @ cell, types, cell)
    hot = MolecularDynamics(
        kob_andersen(),
        relaxed.positions,
        types,
        cell,
        timestep=TIMESTEP,
        ensemble="nvt",
        temperature=MELT_TEMPERATURE,
        seed=int(rng.integers(2**31)),
    )
    hot.run(_steps(MELT_TIME))
    return MolecularDynamics(
        kob_andersen(),
        hot.positions,
        types,
        cell,
        timestep=TIMESTEP,
        ensemble="nvt",
        temperature=temperature,
        velocities=hot.velocities * math.sqrt(temperature / MELT_TEMPERATURE),
        seed=int(rng.integers(2**31)),
    )


CHECKPOINT_STEPS = 100_000


def _advance(run: MolecularDynamics, target: int, checkpoint: Path) -> None:
    while run.n_steps < target:
        # Checkpoints stand at fixed steps, so that an interrupted run repeats the same pair lists.
        run.run(min(target, (run.n_steps // CHECKPOINT_STEPS + 1) * CHECKPOINT_STEPS) - run.n_steps)
        run.save(checkpoint)


def _write_ensemble(
    path: Path, run: MolecularDynamics, temperature: float, number: int, settings: SeriesSettings
) -> None:
    atoms = Atoms(
        [SPECIES[t] for t in run.types],
        positions=run.positions,
        cell=run.cell,
        pbc=True,
        masses=np.ones(len(run.types)),
    )
    tau = RELAXATION_TIMES[temperature]
    seed = np.random.SeedSequence([settings.seed, round(1000 * temperature), number])
    data = isoconfigurational(
        atoms,
        LennardJonesMixture(),
        n_runs=settings.n_runs,
        times=[_steps(d * tau) * TIMESTEP for d in settings.durations],
        temperature=temperature,
        timestep=TIMESTEP,
        ensemble="nve",
        seed=int(seed.generate_state(1, np.uint64)[0] >> 1),
    )
    write_isoconfigurational(path, data)


def _steps(time: float) -> int:
    return round(time / TIMESTEP)
