"""Folds of two ensembles: what a model says of configurations that it has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kakehashi_botan.pearson_scores import PearsonScores, pearson_scores
from kakehashi_botan.propensity_model import Calibration, PropensityModel, PropensityPrediction
from kakehashi_botan.sampling_noise import sampling_noise
from kakehashi_botan.training.propensity_training import (
    PropensitySettings,
    StartReading,
    TrainingSet,
    calibrate,
    fit_model,
)

FloatArray = npt.NDArray[np.float64]
FOLD_SIZE = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CrossValidation:
    """Models of all folds, and what they say of what they have not seen.

    Attributes:
        models: One for each fold, calibrated by the others.
        folds: Numbers of the ensembles that each has not seen.
        starts: What there is to be predicted, of all ensembles.
        calibration: From all folds together.
    """

    models: Sequence[PropensityModel]
    folds: Sequence[tuple[int, ...]]
    starts: Sequence[StartReading]
    calibration: Calibration

    def predictions(self) -> Iterator[tuple[StartReading, PropensityPrediction]]:
        """Yield every start with the prediction of the model that has not seen it."""
        for model, fold in zip(self.models, self.folds, strict=True):
            for number in fold:
                yield self.starts[number], model.predict_reading(self.starts[number].reading)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PropensityScores:
    """How good predictions of several configurations are; type A, and A-A contacts.

    Attributes:
        mobility: Of propensities.
        bonds: Of bond changes; None from models without networks.
        spread: Standard deviation of predictions over that of the truth without sampling noise, (n,).
        mean_error: Predicted less true mean of each configuration, (n,), sigma_AA.
        calibration: Root mean square error over predicted standard deviation, (n,); infinite for models that
            predict none.
    """

    mobility: PearsonScores
    bonds: PearsonScores | None
    spread: FloatArray
    mean_error: FloatArray
    calibration: FloatArray

    @property
    def mean_error_rms(self) -> float:
        """Root mean square error of the means of configurations, sigma_AA."""
        return float(np.sqrt((self.mean_error**2).mean()))


def folds_of_two(n_ensembles: int) -> list[tuple[int, ...]]:
    """Return neighbors in pairs, (0, 1), (2, 3), ...; the last one alone if their number is odd."""
    return [
        tuple(range(first, min(first + FOLD_SIZE, n_ensembles)))
        for first in range(0, n_ensembles, FOLD_SIZE)
    ]


def cross_validate(
    data: TrainingSet,
    directory: Path,
    *,
    settings: PropensitySettings,
    seeds: Sequence[int],
    device: str = "cpu",
) -> CrossValidation:
    """Fit a model for each fold to all the others.

    Args:
        data: All ensembles.
        directory: One folder of run directories for each fold.
        settings: What is fitted.
        seeds: One for each network of a fold; none for linear models.
        device: Where networks are trained.
    """
    folds = folds_of_two(len(data.starts))
    models = []
    for fold in folds:
        others = [k for k in range(len(data.starts)) if k not in fold]
        name = "fold-" + "-".join(str(k) for k in fold)
        models.append(
            fit_model(
                data,
                others,
                directory / name,
                settings=settings,
                seeds=seeds,
                device=device,
                label=name,
            )
        )
    unseen = [[data.starts[k] for k in fold] for fold in folds]
    calibrated = []
    for number, model in enumerate(models):
        # Factors from other folds: at configurations that are not those of this one.
        rest = [k for k in range(len(models)) if k != number] or [number]
        factors = calibrate([models[k] for k in rest], [unseen[k] for k in rest])
        calibrated.append(replace(model, calibration=factors))
    return CrossValidation(
        models=calibrated,
        folds=folds,
        starts=data.starts,
        calibration=calibrate(models, unseen),
    )


def scores(pairs: Sequence[tuple[StartReading, PropensityPrediction]]) -> PropensityScores:
    """Compare predictions with the truth.

    Args:
        pairs: Configurations and what was said of them.
    """
    masks = [start.reading.types == 0 for start, _ in pairs]
    mobility = pearson_scores(
        [p.propensity for _, p in pairs], [s.propensity for s, _ in pairs], masks=masks
    )
    bonds = None
    if all(len(p.bond_change) for _, p in pairs):
        bonds = pearson_scores(
            [p.bond_change[s.contacts] for s, p in pairs], [s.changes[s.contacts] for s, _ in pairs]
        )
    spread, mean_error, calibration = [], [], []
    for (start, predicted), chosen in zip(pairs, masks, strict=True):
        runs = start.lengths[:, chosen]
        field = predicted.propensity[chosen]
        noise = runs.var(axis=0, ddof=1).mean() / len(runs)
        truth = sampling_noise(runs, center_runs=True).corrected_standard_deviation
        spread.append(float(field.std()) / truth if truth > 0.0 else np.inf)
        mean_error.append(float(field.mean() - runs.mean()))
        left = field - field.mean() - runs.mean(axis=0) + runs.mean()
        square = max(float((left**2).mean()) - noise, 0.0)
        said = float((predicted.propensity_std[chosen] ** 2).mean())
        calibration.append(np.sqrt(square / said) if said > 0.0 else np.inf)
    return PropensityScores(
        mobility=mobility,
        bonds=bonds,
        spread=np.array(spread),
        mean_error=np.array(mean_error),
        calibration=np.array(calibration),
    )
