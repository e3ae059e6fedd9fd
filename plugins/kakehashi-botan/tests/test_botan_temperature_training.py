"""T-BOTAN: training on some temperatures, scores on others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from botan_examples import liquid

from kakehashi_botan.configuration_files import write_isoconfigurational
from kakehashi_botan.isoconfigurational_data import IsoconfigurationalData
from kakehashi_botan.propensity_model import load_model

pytest.importorskip("lightning_fabric", reason="training needs kakehashi-botan[train]")

from kakehashi_botan.training import t_botan_training, temperature_accuracy
from kakehashi_botan.training.network_training import TrainingSettings
from kakehashi_botan.training.quenched_ensembles import quenched_ensembles
from kakehashi_botan.training.temperature_evaluation import (
    evaluate_temperatures,
    linear_thermometers,
)
from kakehashi_botan.training.temperature_training import (
    TemperatureSettings,
    fit_temperature_model,
    mobility_law,
    temperature_set,
)

TEMPERATURES = (0.56, 0.60, 0.64)
SETTINGS = TemperatureSettings(
    training=TrainingSettings(
        steps=3, batch_size=2, n_pairs=100, spread_weight=0.1, correlation_weight=0.1
    )
)


def ensemble(seed: int, temperature: float) -> IsoconfigurationalData:
    """Return made-up runs that reach further where it is hotter."""
    found = liquid(420, seed)
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(3, 420, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    lengths = temperature * (0.6 + 0.05 * rng.normal(size=(3, 420)))
    lengths += 0.05 * np.cos(2 * np.pi * found.positions[:, 0] / found.cell[0, 0])
    return IsoconfigurationalData(
        types=found.types,
        initial_positions=found.positions,
        positions=(found.positions + directions * lengths[..., None])[None],
        cell=found.cell,
        pbc=np.ones(3, dtype=bool),
        times=np.array([1.0]),
        temperature=temperature,
    )


@pytest.fixture(scope="module")
def ensembles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    paths = []
    for number in range(6):
        paths.append(folder / f"{number}.npz")
        write_isoconfigurational(paths[-1], ensemble(number, TEMPERATURES[number // 2]))
    return quenched_ensembles(paths, folder / "quenches", n_ends=1)


@pytest.fixture(scope="module")
def data(ensembles):
    return temperature_set(ensembles, "TS+IS")


@pytest.mark.parametrize("change", [{}, {"conditioned": True}, {"lawful": True}])
def test_all_variants_train_and_answer(data, tmp_path, change):
    """Oracle: shapes, finite numbers; S4 of the truth by the wave that made it."""
    settings = replace(SETTINGS, **change)
    known = data.ensembles((0.56, 0.64))
    assert known == [0, 1, 4, 5]
    model = fit_temperature_model(data, known, tmp_path, settings=settings, seeds=[1])
    assert model.temperatures == (0.56, 0.64)
    found = evaluate_temperatures(model, data, [0.60])["0.6"]
    assert found["configurations"] == 2
    assert found["mean propensity"] == pytest.approx(0.36, abs=0.02)
    # N_A / 4 times the square of the amplitude, shared among the three shortest wave vectors.
    n_a = float((liquid(420, 2).types == 0).sum())
    assert found["S4"]["true"][0] == pytest.approx(n_a / 4 * 0.05**2 / 3, rel=0.3)
    assert np.isfinite(found["S4"]["predicted"]).all()
    assert np.isfinite(found["temperature error, rms"])


def test_the_law_is_that_of_the_samples(data):
    """Oracle: the rule that made the lengths."""
    law = mobility_law([s for s in data.samples if s.n_runs > 1])
    assert sum(c * 0.6**k for k, c in enumerate(law)) == pytest.approx(0.36, abs=0.01)


def test_thermometers_are_read_where_they_were_not_fitted(data):
    errors = linear_thermometers(data, data.ensembles((0.56, 0.64)), data.ensembles((0.60,)))
    assert set(errors) == {"U/N", "e_IS", "U/N and e_IS"}
    assert all(error > 0 for error in errors.values())


def test_commands(data, tmp_path, monkeypatch):
    """Oracle: the files that are written; no network is trained on what was left out."""
    seen = []
    original = t_botan_training.fit_temperature_model

    def remember(found, chosen, *arguments, **options):
        seen.append({found.starts[k].temperature for k in chosen})
        return original(found, chosen, *arguments, **options)

    for module in (t_botan_training, temperature_accuracy):
        monkeypatch.setattr(module, "series_set", lambda *_, **__: data)
        monkeypatch.setattr(module, "N_NETWORKS", 1)
    monkeypatch.setattr(t_botan_training, "fit_temperature_model", remember)
    monkeypatch.setattr(
        temperature_accuracy, "TemperatureSettings", lambda **options: replace(SETTINGS, **options)
    )
    record, plot = tmp_path / "scores.json", tmp_path / "latent.png"
    temperature_accuracy.bench_t_botan(data=tmp_path, left_out=(0.60,), json=record, plot=plot)
    assert seen == [{0.56, 0.64}]
    found = json.loads(record.read_text())
    assert abs(found["latent space"]["attraction"]["0.6"]) < 10
    assert plot.read_bytes().startswith(b"\x89PNG")
    output = tmp_path / "model.safetensors"
    t_botan_training.train_temperatures(
        output,
        directory=Path(tmp_path),
        settings=SETTINGS,
        temperatures=TEMPERATURES,
        left_out=(0.60,),
    )
    assert load_model(output).predict(liquid()).temperature is not None
