"""``kakehashi bench t-botan``: propensities and temperatures at temperatures that were left out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from kakehashi_botan.latent_distances import heat_map, temperature_distances
from kakehashi_botan.propensity_model import PropensityModel
from kakehashi_botan.training.t_botan_training import (
    LEFT_OUT,
    N_NETWORKS,
    TEMPERATURES,
    left_out_model,
    left_out_scores,
    series_set,
)
from kakehashi_botan.training.temperature_evaluation import latent_attraction
from kakehashi_botan.training.temperature_training import TemperatureSet, TemperatureSettings
from kakehashi_core.consoles import result_console
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.files import write_json


def bench_t_botan(
    *,
    data: Path = Path("kakehashi-train-botan"),
    left_out: Sequence[float] = LEFT_OUT,
    conditioned: bool = False,
    lawful: bool = False,
    seed: int = 1,
    workers: int = 1,
    json: Path | None = None,
    plot: Path | None = None,
) -> int:
    """Train without some temperatures, and score what the model says of them.

    Ensembles and networks are taken from the data folder if they are there.

    Args:
        data: Folder for ensembles, quenches and run directories.
        left_out: Temperatures to do without; repeat the option for several.
        conditioned: Tell the networks the temperature.
        lawful: Hold mean propensity and temperature to the relation that they have in training.
        seed: Seed of the first network.
        workers: Processes for dynamics and minimization.
        json: File for the results.
        plot: PNG file for the distances of all configurations in latent space.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    unknown = [t for t in left_out if t not in TEMPERATURES]
    if unknown:
        raise InvalidInputError(
            f"left out is {unknown[0]:g}; the data have {', '.join(f'{t:g}' for t in TEMPERATURES)}"
        )
    settings = TemperatureSettings(conditioned=conditioned, lawful=lawful)
    found = series_set(data, TEMPERATURES, settings.kind, workers=workers)
    model = left_out_model(
        found,
        data,
        settings=settings,
        seeds=[seed + k for k in range(N_NETWORKS)],
        left_out=tuple(left_out),
    )
    record = {
        "left out": list(left_out),
        "conditioned": conditioned,
        "lawful": lawful,
        "seed": seed,
        **left_out_scores(model, found, tuple(left_out)),
    }
    record["latent space"] = _latent_space(model, found, left_out)
    result_console().print(temperature_table(record))
    if json is not None:
        write_json(json, record)
    if plot is not None:
        states, temperatures = _states(model, found)
        heat_map(states, temperatures).savefig(plot, dpi=150)
    return 0


def temperature_table(record: Mapping[str, Any]) -> Table:
    """Return the scores of each temperature that was left out, and the thermometers."""
    table = Table(title="t-botan at temperatures that were left out")
    table.add_column("")
    for temperature in record["temperatures"]:
        table.add_column(f"T = {temperature}", justify="right")
    each = list(record["temperatures"].values())
    for key in ("Pearson, A", "ceiling", "temperature error, rms", "temperature error, mean"):
        table.add_row(key, *(f"{found[key]:.4f}" if key in found else "" for found in each))
    for label, said, true in (
        ("mean propensity, predicted / true", "predicted mean propensity", "mean propensity"),
        ("spread, predicted / true", "predicted spread", "spread"),
    ):
        table.add_row(label, *(f"{found[said] / found[true]:.3f}" for found in each))
    table.add_row(
        "S4 of q < 2, predicted / true",
        *(
            f"{found['S4']['ratio of all']:.3f} ± {found['S4']['relative standard error of all']:.3f}"
            for found in each
        ),
    )
    for name, error in record["linear thermometers, rms"].items():
        table.add_row(f"temperature error, rms, linear in {name}", f"{error:.4f}")
    return table


def _latent_space(
    model: PropensityModel, data: TemperatureSet, left_out: Sequence[float]
) -> dict[str, Any]:
    states, temperatures = _states(model, data)
    levels, distances = temperature_distances(states, temperatures)
    inside = [t for t in left_out if min(model.temperatures) < t < max(model.temperatures)]
    return {
        "temperatures": levels.tolist(),
        "distances over spread": distances.tolist(),
        "attraction": {
            f"{t:g}": latent_attraction(model, data, model.temperatures, t) for t in inside
        },
    }


def _states(model: PropensityModel, data: TemperatureSet) -> tuple[list[Any], list[float]]:
    states = [
        model.predict_reading(
            s.reading, temperature=s.temperature if model.conditioned else None
        ).state
        for s in data.starts
    ]
    return states, [s.temperature for s in data.starts]
