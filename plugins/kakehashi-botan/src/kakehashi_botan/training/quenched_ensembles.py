"""Configurations to train on: starts of ensembles and ends of their runs, with inherent structures.

Quenches are kept in a folder as they are made, and an interrupted call goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_botan.configuration_files import read_isoconfigurational
from kakehashi_botan.displacements import minimum_image
from kakehashi_botan.isoconfigurational_data import IsoconfigurationalData
from kakehashi_botan.mixtures import kob_andersen
from kakehashi_botan.reversed_ends import PropensitySample, reversed_end, start_sample
from kakehashi_botan.snapshots import Snapshot, snapshot
from kakehashi_core.ensembles import run_ensemble

FloatArray = npt.NDArray[np.float64]
START = -1
"""Stands for the start where others have the number of a run."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuenchedEnsemble:
    """One ensemble with what its configurations look like.

    Attributes:
        path: Where it was read.
        time_index: Which of its times is meant.
        snapshots: Of the start (``START``), and of the ends of runs by their number.
    """

    path: Path
    time_index: int
    snapshots: Mapping[int, Snapshot]

    @property
    def data(self) -> IsoconfigurationalData:
        """The trajectories, read again when they are needed."""
        return _read(str(self.path))

    def samples(self) -> Iterator[tuple[int, Snapshot, PropensitySample]]:
        """Yield every configuration with its targets; the start first."""
        data = self.data
        for run, found in self.snapshots.items():
            yield run, found, _sample(data, self.time_index, run)


def quenched_ensembles(
    paths: Sequence[Path],
    directory: Path,
    *,
    time_index: int = -1,
    n_ends: int | None = None,
    executor: Executor | None = None,
) -> list[QuenchedEnsemble]:
    """Quench starts and ends of ensembles, unless the folder has them.

    Args:
        paths: Files of ensembles of the Kob-Andersen mixture.
        directory: Where quenches are kept.
        time_index: Which of their times; the ends are those of runs up to it.
        n_ends: How many runs of each; None for all.
        executor: For quenches side by side.

    Raises:
        EnsembleError: If a quench does not converge.
    """
    tasks = []
    for path in paths:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        n_runs = _read(str(path)).n_runs
        tasks += [
            {"path": str(path), "sha256": digest, "time_index": time_index, "run": run}
            for run in (START, *range(n_runs if n_ends is None else min(n_ends, n_runs)))
        ]
    found = run_ensemble(
        _quenched, tasks, directory=directory, executor=executor, description="quenches"
    )
    snapshots: dict[str, dict[int, Snapshot]] = {str(path): {} for path in paths}
    for task, arrays in zip(tasks, found, strict=True):
        sample = _sample(_read(str(task["path"])), time_index, int(task["run"]))
        snapshots[str(task["path"])][int(task["run"])] = Snapshot(
            positions=sample.positions, types=sample.types, cell=sample.cell, **arrays
        )
    return [
        QuenchedEnsemble(path=path, time_index=time_index, snapshots=snapshots[str(path)])
        for path in paths
    ]


def pair_changes(sample: PropensitySample, pair_index: npt.NDArray[np.int64]) -> FloatArray:
    """Return the mean change of the distance of each pair, (n_pairs,), sigma_AA."""
    first, second = pair_index
    periodic = np.ones(3, dtype=bool)

    def lengths(positions: FloatArray) -> FloatArray:
        vectors = minimum_image(positions[second] - positions[first], sample.cell, periodic)
        return np.asarray(np.linalg.norm(vectors, axis=1))

    before = lengths(sample.positions)
    changes = [lengths(displaced) - before for displaced in sample.displaced]
    return np.asarray(np.mean(changes, axis=0))


def _sample(data: IsoconfigurationalData, time_index: int, run: int) -> PropensitySample:
    return start_sample(data, time_index) if run == START else reversed_end(data, run, time_index)


def _quenched(task: Mapping[str, Any]) -> dict[str, FloatArray]:
    data = _read(str(task["path"]))
    sample = _sample(data, int(task["time_index"]), int(task["run"]))
    found = snapshot(sample.positions, sample.types, sample.cell, kob_andersen())
    assert found.inherent_positions is not None  # noqa: S101  for the type checker
    assert found.inherent_energies is not None  # noqa: S101
    return {
        "energies": found.energies,
        "inherent_positions": found.inherent_positions,
        "inherent_energies": found.inherent_energies,
    }


@lru_cache(maxsize=2)
def _read(path: str) -> IsoconfigurationalData:
    return read_isoconfigurational(path)
