"""Train the shipped model of several temperatures, ``t-botan``, on ensembles of our own engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kakehashi_botan import _entry_points
from kakehashi_botan.propensity_model import PropensityModel, save_model
from kakehashi_botan.structure_features import InputKind
from kakehashi_botan.training.quenched_ensembles import quenched_ensembles
from kakehashi_botan.training.temperature_evaluation import (
    evaluate_temperatures,
    linear_thermometers,
)
from kakehashi_botan.training.temperature_series import SeriesSettings, make_series
from kakehashi_botan.training.temperature_training import (
    TemperatureSet,
    TemperatureSettings,
    fit_temperature_model,
    temperature_set,
)
from kakehashi_core.model_card import ModelCard
from kakehashi_core.process_pools import process_pool

TEMPERATURES = (0.56, 0.60, 0.64, 0.72, 0.80)
LEFT_OUT = (0.60, 0.72)
"""Interior temperatures that the evaluation does without."""
N_NETWORKS = 3


def train_temperatures(
    output: Path,
    *,
    directory: Path,
    seed: int = 1,
    workers: int = 1,
    device: str = "cpu",
    settings: TemperatureSettings | None = None,
    temperatures: Sequence[float] = TEMPERATURES,
    left_out: Sequence[float] = LEFT_OUT,
) -> PropensityModel:
    """Run all stages, from random positions to weights with their card.

    Args:
        output: File to write, ending in .safetensors.
        directory: Where ensembles, quenches and run directories are kept; an interrupted training goes on
            there.
        seed: Of the first network; further ones count up.
        workers: Processes for dynamics and quenches.
        device: Where networks are trained.
        settings: What is fitted.
        temperatures: Of the ensembles.
        left_out: Which of them the model does without whose scores go into the card.
    """
    settings = settings or TemperatureSettings()
    data = series_set(directory, temperatures, settings.kind, workers=workers)
    seeds = [seed + k for k in range(N_NETWORKS)]
    unseen = left_out_model(
        data, directory, settings=settings, seeds=seeds, left_out=left_out, device=device
    )
    model = fit_temperature_model(
        data,
        range(len(data.starts)),
        directory / "t-botan" / "all",
        settings=settings,
        seeds=seeds,
        device=device,
        label="all",
    )
    record = left_out_scores(unseen, data, left_out)
    model = replace(model, card=_card(record, len(data.starts), temperatures, seed))
    save_model(output, model)
    return model


def series_set(
    directory: Path, temperatures: Sequence[float], kind: InputKind, *, workers: int = 1
) -> TemperatureSet:
    """Make ensembles unless they are there, quench them, and read them."""
    with process_pool(workers) as executor:
        paths = make_series(
            directory / "series",
            temperatures,
            settings=SeriesSettings(),
            executor=executor,
        )
        ensembles = quenched_ensembles(paths, directory / "series-quenches", executor=executor)
    return temperature_set(ensembles, kind)


def left_out_model(
    data: TemperatureSet,
    directory: Path,
    *,
    settings: TemperatureSettings,
    seeds: Sequence[int],
    left_out: Sequence[float] = LEFT_OUT,
    device: str = "cpu",
) -> PropensityModel:
    """Fit a model to all temperatures but some."""
    known = [k for k, s in enumerate(data.starts) if s.temperature not in left_out]
    name = "without-" + "-".join(f"{t:g}" for t in left_out)
    variant = ("-conditioned" if settings.conditioned else "") + ("-law" if settings.lawful else "")
    return fit_temperature_model(
        data,
        known,
        directory / "t-botan" / f"{name}{variant}",
        settings=settings,
        seeds=seeds,
        device=device,
        label=name,
    )


def left_out_scores(
    model: PropensityModel, data: TemperatureSet, left_out: Sequence[float] = LEFT_OUT
) -> dict[str, Any]:
    """Return scores at temperatures that a model was not trained on, and the linear thermometers."""
    known = [k for k, s in enumerate(data.starts) if s.temperature not in left_out]
    asked = [k for k, s in enumerate(data.starts) if s.temperature in left_out]
    return {
        "temperatures": evaluate_temperatures(model, data, left_out),
        "linear thermometers, rms": linear_thermometers(data, known, asked),
    }


def _card(
    record: dict[str, Any], n_ensembles: int, temperatures: Sequence[float], seed: int
) -> ModelCard:
    metrics = {}
    for temperature, found in record["temperatures"].items():
        metrics[f"left out T = {temperature}: Pearson of propensities, A"] = found["Pearson, A"]
        metrics[f"left out T = {temperature}: predicted over true mean propensity"] = (
            found["predicted mean propensity"] / found["mean propensity"]
        )
        metrics[f"left out T = {temperature}: temperature error, rms"] = found[
            "temperature error, rms"
        ]
        metrics[f"left out T = {temperature}: predicted over true S4, q < 2"] = found["S4"][
            "ratio of all"
        ]
    spec = _entry_points.t_botan()
    shown = ", ".join(f"{t:g}" for t in temperatures)
    return ModelCard(
        name="t-botan",
        version="1",
        summary="propensities across temperatures of the Kob-Andersen mixture, with a thermometer",
        training_data=(
            f"{n_ensembles} isoconfigurational ensembles of our own engine (N = 1024, 8 NVE runs of one "
            f"relaxation time each) at T = {shown}, and the ends of all runs. Reads thermal and inherent "
            "structure (FIRE on the energy-shifted potential, largest force 1e-6). The metrics are those of "
            "models that were trained without the temperatures named."
        ),
        domain=spec.domain,
        units=dict(spec.units),
        limits=(
            "One density, one composition; the time is one relaxation time of the temperature.",
            "Single configurations are drawn to trained temperatures; ensemble means interpolate.",
        ),
        metrics={key: round(float(value), 4) for key, value in metrics.items()},
        seed=seed,
        script="kakehashi_botan.training.t_botan_training",
        weights_license="MIT",
        citation=spec.citation,
    )
