"""Train the shipped models of one temperature: ``botan-ts``, ``botan-is``, ``botan-ts-is``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kakehashi_botan import _entry_points
from kakehashi_botan.propensity_model import PropensityModel, save_model
from kakehashi_botan.structure_features import InputKind
from kakehashi_botan.training.cross_validation import CrossValidation, cross_validate, scores
from kakehashi_botan.training.propensity_training import (
    PropensitySettings,
    TrainingSet,
    fit_model,
    training_set,
)
from kakehashi_botan.training.quenched_ensembles import QuenchedEnsemble, quenched_ensembles
from kakehashi_botan.training.training_conditions import TrainingConditions
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.model_card import ModelCard
from kakehashi_core.process_pools import process_pool

MODELS: dict[str, InputKind] = {"botan-ts": "TS", "botan-is": "IS", "botan-ts-is": "TS+IS"}
TEST_CONFIGURATIONS = ("401", "402")
"""The public test files: no training may look at them."""
N_NETWORKS = 3


def train_propensities(
    name: str,
    output: Path,
    *,
    trajectories: Path,
    directory: Path,
    seed: int = 1,
    workers: int = 1,
    device: str = "cpu",
    settings: PropensitySettings | None = None,
    hold_out: int | None = None,
    patience: int = 5,
) -> PropensityModel:
    """Run all stages and write the weights with their card.

    Args:
        name: "botan-ts", "botan-is" or "botan-ts-is".
        output: File to write, ending in .safetensors.
        trajectories: Folder with the public files; those of the test set are left alone.
        directory: Where quenches and run directories are kept; an interrupted training goes on there.
        seed: Of the first network; further ones count up.
        workers: Processes that quench.
        device: Where networks are trained.
        settings: What is fitted.
        hold_out: Place of an ensemble, from 1, that validates the networks of the final model instead of
            training them; None trains on all, for a fixed number of steps.
        patience: With ``hold_out``: stop after so many validations without improvement.
    """
    settings = settings or PropensitySettings()
    if hold_out is not None:
        _place(hold_out, len(training_files(trajectories)))
    data = public_training_set(
        MODELS[name], trajectories, directory, workers=workers, settings=settings
    )
    runs = directory / name
    checked = cross_validate(data, runs, settings=settings, seeds=[seed], device=device)
    held_out = [] if hold_out is None else [_place(hold_out, len(data.starts))]
    model = fit_model(
        data,
        [k for k in range(len(data.starts)) if k not in held_out],
        runs / ("all" if hold_out is None else f"all-but-{hold_out}"),
        settings=settings,
        seeds=[seed + k for k in range(N_NETWORKS)],
        device=device,
        calibration=checked.calibration,
        held_out=held_out,
        patience=patience if held_out else None,
        label="all",
    )
    model = replace(model, card=_card(name, checked, data.conditions, seed))
    save_model(output, model)
    return model


def public_training_set(
    kind: InputKind,
    trajectories: Path,
    directory: Path,
    *,
    settings: PropensitySettings,
    workers: int = 1,
) -> TrainingSet:
    """Read the public training files, with all ends of their runs, as one kind of model does."""
    return training_set(
        public_ensembles(training_files(trajectories), directory, workers=workers), kind, settings
    )


def public_ensembles(
    paths: Sequence[Path], directory: Path, *, workers: int = 1, n_ends: int | None = None
) -> list[QuenchedEnsemble]:
    """Quench public configurations, side by side if wanted."""
    with process_pool(workers) as pool:
        return quenched_ensembles(paths, directory / "quenches", n_ends=n_ends, executor=pool)


def training_files(folder: Path) -> list[Path]:
    """Return the public files without those of the test set, by number.

    Raises:
        InvalidInputError: If there are fewer than four.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"there is no folder {folder}; check --trajectories")
    numbered = {}
    for path in folder.glob("isoconfig_*_tc*.npz"):
        match = re.search(r"_(\d+)_tc\d+\.npz$", path.name)
        if match and match[1] not in TEST_CONFIGURATIONS:
            numbered[int(match[1])] = path
    if len(numbered) < 4:
        raise InvalidInputError(
            f"{folder} holds {len(numbered)} files isoconfig_*_NUMBER_tc*.npz besides the test set; at least "
            "four are needed. Give the folder of the public data of BOTAN with --trajectories."
        )
    return [numbered[k] for k in sorted(numbered)]


def _place(number: int, n_ensembles: int) -> int:
    if not 1 <= number <= n_ensembles:
        raise InvalidInputError(
            f"there is no ensemble {number} to hold out; there are {n_ensembles}, counted from 1"
        )
    return number - 1


def _card(
    name: str, checked: CrossValidation, conditions: TrainingConditions, seed: int
) -> ModelCard:
    found = scores(list(checked.predictions()))
    metrics = {
        "Pearson of propensities, A, mean over unseen configurations": found.mobility.mean,
        "Pearson of propensities, A, pooled": found.mobility.pooled,
        "predicted over true spread": float(found.spread.mean()),
        "error of configuration means, rms, sigma_AA": found.mean_error_rms,
    }
    if found.bonds is not None:
        metrics["Pearson of bond changes, A-A contacts"] = found.bonds.mean
    spec = _entry_points.botan()
    kind = MODELS[name]
    quench = {
        "TS": "Reads the thermal structure only.",
        "IS": "Reads the inherent structure only",
        "TS+IS": "Reads thermal and inherent structure",
    }[kind]
    if kind != "TS":
        quench += " (FIRE on the energy-shifted potential, largest force 1e-6)."
    return ModelCard(
        name=name,
        version="1",
        summary=f"propensities and bond changes of the Kob-Andersen mixture, input {kind}",
        training_data=(
            f"{conditions.describe()}, and the ends of all runs with the displacement back to the start. "
            f"{quench} Factors of spread and error from folds of two."
        ),
        domain=(
            spec.domain
            if conditions.public
            else replace(
                spec.domain,
                note=f"mixtures of two species, {100 * conditions.share_of_b:.0f} % B, at T = "
                f"{conditions.temperature:g}, density {conditions.density:g}",
            )
        ),
        units=dict(spec.units),
        limits=(
            "One temperature, one density, one composition, one time.",
            "Scores within a configuration; means follow the energies of few configurations.",
        ),
        metrics={key: round(value, 4) for key, value in metrics.items()},
        seed=seed,
        script="kakehashi_botan.training.botan_training",
        weights_license="MIT",
        citation=spec.citation,
    )
