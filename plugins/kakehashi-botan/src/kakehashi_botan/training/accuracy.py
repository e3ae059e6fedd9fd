"""``kakehashi bench botan``: propensity models beside linear baselines, on the same configurations."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from kakehashi_botan.pearson_scores import PairedGain, paired_gain, pearson
from kakehashi_botan.propensity_model import PropensityModel, PropensityPrediction
from kakehashi_botan.training.botan_training import (
    MODELS,
    N_NETWORKS,
    TEST_CONFIGURATIONS,
    public_ensembles,
    public_training_set,
)
from kakehashi_botan.training.cross_validation import (
    PropensityScores,
    cross_validate,
    scores,
)
from kakehashi_botan.training.linear_baselines import BondBaseline, ridge_baseline
from kakehashi_botan.training.propensity_training import (
    PropensitySettings,
    StartReading,
    TrainingSet,
    fit_model,
    training_set,
)
from kakehashi_core.consoles import result_console
from kakehashi_core.errors import InvalidInputError, unknown_name
from kakehashi_core.files import write_json

Pairs = Sequence[tuple[StartReading, PropensityPrediction]]


def bench_botan(
    name: str,
    *,
    trajectories: Path,
    data: Path = Path("kakehashi-train-botan"),
    seed: int = 1,
    workers: int = 1,
    test: bool = False,
    json: Path | None = None,
) -> int:
    """Score a model and its linear baseline, type A, per configuration, with bootstrap intervals.

    Networks are trained as by ``kakehashi train botan``, from whose data folder they are taken if they are
    there.

    Args:
        name: botan-ts, botan-is or botan-ts-is.
        trajectories: Folder of the public data of BOTAN.
        data: Folder for quenches and run directories.
        seed: Seed of the first network.
        workers: Processes that minimize structures.
        test: Also look at the test configurations, 401 and 402.
        json: File for the results.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    settings = PropensitySettings()
    known = public_training_set(
        MODELS[name], trajectories, data, settings=settings, workers=workers
    )
    checked = cross_validate(known, data / name, settings=settings, seeds=[seed])
    baselines = [
        ridge_baseline(
            [known.starts[k] for k in range(len(known.starts)) if k not in fold], known.kind
        )
        for fold in checked.folds
    ]
    linear = [
        (known.starts[k], model.predict_reading(known.starts[k].reading))
        for model, fold in zip(baselines, checked.folds, strict=True)
        for k in fold
    ]
    bonds = [
        BondBaseline.fit(
            [known.starts[k] for k in range(len(known.starts)) if k not in fold], model
        ).predict(known.starts[number])
        for model, fold in zip(baselines, checked.folds, strict=True)
        for number in fold
    ]
    record = {"folds of two": comparison(list(checked.predictions()), linear, bonds)}
    if test:
        model = fit_model(
            known,
            range(len(known.starts)),
            data / name / "all",
            settings=settings,
            seeds=[seed + k for k in range(N_NETWORKS)],
            calibration=checked.calibration,
        )
        record["test"] = _on_test_set(model, known, trajectories, data, settings)
    console = result_console()
    for label, found in record.items():
        console.print(comparison_table(f"{name}, {label}", found))
    if json is not None:
        write_json(json, {"model": name, "seed": seed, **record})
    return 0


def comparison(model: Pairs, linear: Pairs, linear_bonds: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return scores of both, and the paired gain."""
    ours, theirs = scores(list(model)), scores(list(linear))
    record = {"model": _numbers(ours), "linear": _numbers(theirs)}
    record["gain of mobility"] = _gain(
        paired_gain(ours.mobility.per_configuration, theirs.mobility.per_configuration)
    )
    bonds = np.array(
        [pearson(b, s.changes[s.contacts]) for b, (s, _) in zip(linear_bonds, linear, strict=True)]
    )
    record["linear"]["bonds, per configuration"] = bonds.tolist()
    record["linear"]["bonds"] = float(bonds.mean())
    if ours.bonds is not None:
        record["gain of bonds"] = _gain(paired_gain(ours.bonds.per_configuration, bonds))
    return record


def comparison_table(title: str, record: Mapping[str, Any]) -> Table:
    """Return both models side by side."""
    table = Table(title=title)
    for column in ("", "model", "linear"):
        table.add_column(column, justify="left" if not column else "right")
    for key, label in (
        ("mobility", "Pearson of propensities, A"),
        ("pooled", "the same, pooled"),
        ("bonds", "Pearson of bond changes, A-A contacts"),
        ("spread", "predicted over true spread"),
        ("mean error, rms", "error of configuration means, rms"),
        ("calibration", "error over predicted error"),
    ):
        cells = [record[side].get(key) for side in ("model", "linear")]
        table.add_row(label, *("" if c is None else f"{c:.3f}" for c in cells))
    for key in ("gain of mobility", "gain of bonds"):
        if key in record:
            gain = record[key]
            low, high = gain["interval"]
            table.add_row(key, f"{gain['gain']:+.3f}", f"[{low:+.3f}, {high:+.3f}]")
    return table


def _on_test_set(
    model: PropensityModel,
    known: TrainingSet,
    trajectories: Path,
    data: Path,
    settings: PropensitySettings,
) -> dict[str, Any]:
    paths = [
        path
        for number in TEST_CONFIGURATIONS
        for path in sorted(trajectories.glob(f"isoconfig_*_{number}_tc*.npz"))
    ]
    if len(paths) != len(TEST_CONFIGURATIONS):
        raise InvalidInputError(
            f"{trajectories} does not hold the test configurations {', '.join(TEST_CONFIGURATIONS)}"
        )
    unseen = training_set(
        public_ensembles(paths, data, n_ends=0), known.kind, replace(settings, n_levels=1)
    ).starts
    baseline = ridge_baseline(known.starts, known.kind)
    bonds = BondBaseline.fit(known.starts, baseline)
    return comparison(
        [(s, model.predict_reading(s.reading)) for s in unseen],
        [(s, baseline.predict_reading(s.reading)) for s in unseen],
        [bonds.predict(s) for s in unseen],
    )


def _numbers(found: PropensityScores) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "mobility": found.mobility.mean,
        "mobility, interval": list(found.mobility.mean_interval),
        "mobility, per configuration": found.mobility.per_configuration.tolist(),
        "pooled": found.mobility.pooled,
        "spread": float(found.spread.mean()),
        "spread, per configuration": found.spread.tolist(),
        "mean error, rms": found.mean_error_rms,
        "calibration": None
        if not np.isfinite(found.calibration).all()
        else float(found.calibration.mean()),
    }
    if found.bonds is not None:
        numbers["bonds"] = found.bonds.mean
        numbers["bonds, per configuration"] = found.bonds.per_configuration.tolist()
    return numbers


def _gain(found: PairedGain) -> dict[str, Any]:
    return {"gain": found.gain, "interval": list(found.interval)}
