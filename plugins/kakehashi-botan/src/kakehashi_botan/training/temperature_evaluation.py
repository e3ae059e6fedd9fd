"""What a model says of temperatures that it has not seen, beside linear thermometers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_botan.latent_distances import attraction
from kakehashi_botan.pearson_scores import pearson
from kakehashi_botan.propensity_model import PropensityModel, PropensityPrediction
from kakehashi_botan.structure_factors import (
    StructureFactor,
    average_structure_factors,
    structure_factor,
)
from kakehashi_botan.thermometers import LinearThermometer
from kakehashi_botan.training.temperature_training import TemperatureSet, TemperatureStart

FloatArray = npt.NDArray[np.float64]
MAX_WAVENUMBER = 2.0
ENERGIES: Mapping[str, tuple[int, ...]] = {"U/N": (0,), "e_IS": (1,), "U/N and e_IS": (0, 1)}
"""Which energies each linear thermometer reads."""


def evaluate_temperatures(
    model: PropensityModel,
    data: TemperatureSet,
    temperatures: Sequence[float],
    *,
    device: str = "cpu",
) -> dict[str, Any]:
    """Return scores at each temperature, and of the thermometers.

    Args:
        model: Trained on other temperatures, or on other configurations.
        data: All ensembles.
        temperatures: Where it is asked.
        device: Where networks run.
    """
    found = {}
    for temperature in temperatures:
        starts = [data.starts[k] for k in data.ensembles([temperature])]
        answers = [
            model.predict_reading(
                s.reading, temperature=temperature if model.conditioned else None, device=device
            )
            for s in starts
        ]
        found[f"{temperature:g}"] = _at_one_temperature(model, starts, answers)
    return found


def linear_thermometers(
    data: TemperatureSet, known: Sequence[int], asked: Sequence[int]
) -> dict[str, float]:
    """Return the rms error of temperatures read off energies, by thermometer.

    Args:
        data: All ensembles.
        known: Ensembles that thermometers are fitted to.
        asked: Ensembles that they are read at.
    """
    errors = {}
    for name, columns in ENERGIES.items():
        thermometer = LinearThermometer.fit(
            _energies(data, known)[:, columns], _temperatures(data, known)
        )
        read = thermometer.read(_energies(data, asked)[:, columns])
        errors[name] = float(np.sqrt(((read - _temperatures(data, asked)) ** 2).mean()))
    return errors


def latent_attraction(
    model: PropensityModel, data: TemperatureSet, temperatures: Sequence[float], between: float
) -> float:
    """Return where a temperature lies between its neighbors in latent space, see ``attraction``.

    Args:
        model: With a global head.
        data: All ensembles.
        temperatures: Trained ones, with neighbors on both sides.
        between: The temperature that is asked about.
    """
    numbers = data.ensembles([*temperatures, between])
    states = [
        model.predict_reading(
            data.starts[k].reading,
            temperature=data.starts[k].temperature if model.conditioned else None,
        ).state
        for k in numbers
    ]
    return attraction(np.array(states), _temperatures(data, numbers), between)


def _at_one_temperature(
    model: PropensityModel,
    starts: Sequence[TemperatureStart],
    answers: Sequence[PropensityPrediction],
) -> dict[str, Any]:
    chosen = [s.reading.types == 0 for s in starts]
    truth = [s.lengths[:, c].mean(axis=0) for s, c in zip(starts, chosen, strict=True)]
    said = [a.propensity[c] for a, c in zip(answers, chosen, strict=True)]
    noise = [
        s.lengths[:, c].var(axis=0, ddof=1).mean() / len(s.lengths)
        for s, c in zip(starts, chosen, strict=True)
    ]
    true_sd = np.sqrt(np.mean([t.var() - n for t, n in zip(truth, noise, strict=True)]))
    record: dict[str, Any] = {
        "configurations": len(starts),
        "Pearson, A": float(np.mean([pearson(a, b) for a, b in zip(said, truth, strict=True)])),
        "ceiling": float(
            np.mean(
                [np.sqrt(max(1.0 - n / t.var(), 0.0)) for t, n in zip(truth, noise, strict=True)]
            )
        ),
        "mean propensity": float(np.mean([t.mean() for t in truth])),
        "predicted mean propensity": float(np.mean([p.mean() for p in said])),
        "spread": float(true_sd),
        "predicted spread": float(np.sqrt(np.mean([p.var() for p in said]))),
        "S4": _compared(starts, said, chosen),
    }
    estimates = [a.temperature for a in answers if a.temperature is not None]
    if estimates:
        errors = np.array(estimates) - starts[0].temperature
        record["temperature error, rms"] = float(np.sqrt((errors**2).mean()))
        record["temperature error, mean"] = float(errors.mean())
    trained = np.array(model.temperatures)
    nearest = trained[np.argmin(np.abs(trained - starts[0].temperature))]
    record["nearest trained temperature"] = float(nearest)
    return record


def _compared(
    starts: Sequence[TemperatureStart], said: Sequence[FloatArray], chosen: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Return S4 of truth and prediction by shells of wave vectors, and of all shells together."""
    true, predicted = [], []
    for start, field, mask in zip(starts, said, chosen, strict=True):
        positions, cell = start.snapshot.positions[mask], start.snapshot.cell
        options: dict[str, Any] = {"max_wavenumber": MAX_WAVENUMBER}
        lengths = start.lengths[:, mask]
        true.append(structure_factor(positions, lengths, cell, estimator="unbiased", **options))
        predicted.append(structure_factor(positions, field, cell, **options))
    a, b = average_structure_factors(true), average_structure_factors(predicted)
    weights = a.n_modes / a.n_modes.sum()
    overall = np.array([s.values @ weights for s in true])
    ours = np.array([s.values @ weights for s in predicted])
    return {
        "wavenumbers": a.wavenumbers.tolist(),
        "true": a.values.tolist(),
        "standard error": _errors(a).tolist(),
        "predicted": b.values.tolist(),
        "ratio of all": float(ours.mean() / overall.mean()),
        "relative standard error of all": float(
            overall.std(ddof=1) / np.sqrt(len(overall)) / overall.mean()
        ),
    }


def _errors(found: StructureFactor) -> FloatArray:
    return np.zeros(len(found.values)) if found.errors is None else found.errors


def _energies(data: TemperatureSet, numbers: Sequence[int]) -> FloatArray:
    snapshots = [data.starts[k].snapshot for k in numbers]
    return np.array([[s.thermal_energy, s.inherent_energy] for s in snapshots])


def _temperatures(data: TemperatureSet, numbers: Sequence[int]) -> FloatArray:
    return np.array([data.starts[k].temperature for k in numbers])
