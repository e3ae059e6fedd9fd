"""Data at several temperatures: the same to the last bit, however often it is interrupted."""

from __future__ import annotations

import numpy as np
import pytest

from kakehashi_botan.configuration_files import read_isoconfigurational
from kakehashi_botan.displacements import mean_squared_displacement
from kakehashi_botan.molecular_dynamics import MolecularDynamics
from kakehashi_botan.training import temperature_series
from kakehashi_botan.training.series_summary import recorded_summary, scatter, summary_of
from kakehashi_botan.training.temperature_series import (
    RELAXATION_TIMES,
    SeriesSettings,
    ensemble_path,
    make_series,
)

SETTINGS = SeriesSettings(
    n_atoms=80, n_configurations=2, n_runs=2, equilibration=1.0, spacing=0.5, durations=(0.01, 0.1)
)


def contents(paths) -> list[np.ndarray]:
    return [read_isoconfigurational(path).positions for path in paths]


def test_an_interrupted_series_is_the_uninterrupted_one(tmp_path, monkeypatch):
    """Oracle: the run without interruption; the dynamics stops in the middle of the equilibration."""
    monkeypatch.setattr(temperature_series, "CHECKPOINT_STEPS", 300)
    whole = make_series(tmp_path / "whole", [0.80], settings=SETTINGS)
    assert whole == [ensemble_path(tmp_path / "whole", 0.80, k) for k in (0, 1)]
    steps = MolecularDynamics.run
    calls = []

    def run(self, n_steps):
        calls.append(n_steps)
        if len(calls) == 4:
            raise KeyboardInterrupt
        steps(self, n_steps)

    monkeypatch.setattr(MolecularDynamics, "run", run)
    with pytest.raises(KeyboardInterrupt):
        make_series(tmp_path / "parts", [0.80], settings=SETTINGS)
    monkeypatch.setattr(MolecularDynamics, "run", steps)
    parts = make_series(tmp_path / "parts", [0.80], settings=SETTINGS)
    for a, b in zip(contents(whole), contents(parts), strict=True):
        assert np.array_equal(a, b)


def test_what_is_there_is_not_made_again(tmp_path, monkeypatch):
    paths = make_series(tmp_path, [0.80], settings=SETTINGS)
    before = [path.read_bytes() for path in paths]
    monkeypatch.setattr(temperature_series, "_write_ensemble", None)
    make_series(tmp_path, [0.80], settings=SETTINGS)
    assert [path.read_bytes() for path in paths] == before


def test_contents(tmp_path):
    """Oracle: the composition, ballistic motion at first, and different starts."""
    first, second = (
        read_isoconfigurational(path) for path in make_series(tmp_path, [0.80], settings=SETTINGS)
    )
    assert first.temperature == 0.80
    assert first.types.sum() == 16
    assert first.density == pytest.approx(1.2)
    assert first.times == pytest.approx(np.array([0.01, 0.1]) * RELAXATION_TIMES[0.80], abs=0.005)
    assert mean_squared_displacement(first, species=None)[0] == pytest.approx(
        3 * 0.8 * first.times[0] ** 2, rel=0.25
    )
    assert np.abs(first.initial_positions - second.initial_positions).max() > 0.1


@pytest.mark.thorough
def test_one_recorded_configuration_made_again(tmp_path):
    """Oracle: the recorded series. Chaos leaves agreement within the scatter of configurations."""
    (path,) = make_series(tmp_path, [0.80], settings=SeriesSettings(n_configurations=1))
    again, record = summary_of([path]), recorded_summary()["temperatures"]["0.80"]
    assert again["times"] == pytest.approx(record["times"])
    mean, width = scatter(record, "potential energy per particle")
    assert again["potential energy per particle"][0] == pytest.approx(mean, abs=4.0 * width)
    for column in (0, 1):
        mean, width = scatter(record, "mean propensity of A", column)
        assert again["mean propensity of A"][0][column] == pytest.approx(mean, abs=4.0 * width)
        assert width < 0.05 * mean
