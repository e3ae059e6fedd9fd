"""Train the shipped flow: swap Monte Carlo samples, the continuity equation, a check on new samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from kakehashi_botan import _entry_points
from kakehashi_botan.sampling.field_fitting import ContinuityFit, fit_continuity
from kakehashi_botan.sampling.flow import Flow
from kakehashi_botan.sampling.liquid_samples import EQUILIBRATION, TemperedSamples, stored_samples
from kakehashi_botan.sampling.liquids import Liquid, ternary_liquid
from kakehashi_botan.sampling.reweighting import WeightedSamples
from kakehashi_botan.sampling.trained_flow import TrainedFlow, save_flow
from kakehashi_botan.sampling.transport_field import EXPONENTS, TransportField
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.model_card import ModelCard

LADDER = (1.85, 1.335, 0.975, 0.721, 0.54, 0.41)
"""Plain reweighting keeps about 4 percent of the samples from each to the next."""
N_SAMPLES = 6144
DEGREE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSettings:
    """How a field is trained.

    Attributes:
        n_samples: Samples of each temperature.
        equilibration: Sweeps before the first of them.
        between: Temperatures with samples between neighbors of the ladder.
        n_check: New samples of each temperature, for the numbers of the card.
        exponents: Of the powers in three-body terms.
        degree: Of the polynomials in the logarithm of the temperature.
        ridge: Penalty on the weights.
    """

    n_samples: int = N_SAMPLES
    equilibration: int = EQUILIBRATION
    between: int = 1
    n_check: int = 1000
    exponents: tuple[int, ...] = EXPONENTS
    degree: int = DEGREE
    ridge: float = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class RungScore:
    """Effective share of the samples from one temperature to the next, Kish.

    Attributes:
        start: Temperature of the samples.
        end: Temperature they are weighted for.
        plain: Weighted where they are.
        carried: Carried by the flow first.
    """

    start: float
    end: float
    plain: float
    carried: float


def train_flow_ladder(
    output: Path,
    *,
    directory: Path,
    liquid: Liquid | None = None,
    ladder: Sequence[float] = LADDER,
    seed: int = 1,
    settings: FlowSettings | None = None,
) -> tuple[TrainedFlow, list[RungScore]]:
    """Run all stages, from lattice positions to weights with their card.

    Args:
        output: File to write, ending in .safetensors.
        directory: Where samples are kept; an interrupted training goes on there.
        liquid: What is carried; None for ``ternary_liquid()``.
        ladder: Descending temperatures.
        seed: Of all samples.
        settings: How it is trained.

    Raises:
        InvalidInputError: If the temperatures do not descend.
    """
    settings, liquid = settings or FlowSettings(), liquid or ternary_liquid()
    rungs = [float(t) for t in ladder]
    if len(rungs) < 2 or any(b >= a for a, b in pairwise(rungs)) or not rungs[-1] > 0.0:
        raise InvalidInputError(f"a ladder of temperatures descends and is positive, got {rungs}")
    directory.mkdir(parents=True, exist_ok=True)
    grid = refined(rungs, settings.between)
    samples = stored_samples(
        directory,
        liquid,
        grid,
        settings.n_samples,
        seed=seed,
        equilibration=settings.equilibration,
    )
    field = TransportField(
        liquid, (rungs[-1], rungs[0]), exponents=settings.exponents, degree=settings.degree
    )
    by_temperature = dict(zip(grid, samples.positions, strict=True))
    fit = fit_continuity(field, by_temperature, ridge=settings.ridge)
    unseen = stored_samples(
        directory,
        liquid,
        grid,
        settings.n_check,
        seed=seed + 1,
        equilibration=settings.equilibration,
    )
    scores = rung_scores(Flow(field, tolerance=1e-4), rungs, unseen)
    trained = TrainedFlow(
        field=field, ladder=tuple(rungs), card=_card(liquid, fit, scores, settings, seed)
    )
    save_flow(output, trained)
    return trained, scores


def refined(ladder: Sequence[float], between: int) -> list[float]:
    """Return a ladder with temperatures between its rungs, in equal ratios."""
    found = [float(ladder[0])]
    for high, low in pairwise(ladder):
        ratio = (low / high) ** (1.0 / (between + 1))
        found += [high * ratio**k for k in range(1, between + 1)]
        found.append(float(low))
    return found


def rung_scores(flow: Flow, ladder: Sequence[float], samples: TemperedSamples) -> list[RungScore]:
    """Return what weights are worth between neighbors of a ladder."""
    found = []
    liquid = flow.liquid
    for start, end in pairwise(ladder):
        x = samples.at(start)
        before = liquid.energies(x) / start
        plain = WeightedSamples(x, before - liquid.energies(x) / end)
        found.append(
            RungScore(
                start=start,
                end=end,
                plain=plain.effective_share,
                carried=flow.weighted(x, start, end).effective_share,
            )
        )
    return found


def _card(
    liquid: Liquid,
    fit: ContinuityFit,
    scores: Sequence[RungScore],
    settings: FlowSettings,
    seed: int,
) -> ModelCard:
    spec = _entry_points.flow_ka2d()
    metrics = {}
    for score in scores:
        label = f"T = {score.start:g} to {score.end:g}: effective share"
        metrics[f"{label}, plain"] = round(score.plain, 4)
        metrics[f"{label}, carried"] = round(score.carried, 4)
    for t, share in zip(fit.temperatures, fit.explained_unseen, strict=True):
        if math.isfinite(share):
            metrics[f"T = {t:.3g}: variance of U taken up, unseen samples"] = round(share, 3)
    numbers = asdict(settings)
    return ModelCard(
        name="flow-ka2d",
        version="1",
        summary=spec.summary,
        training_data=(
            f"{settings.n_samples} samples of swap Monte Carlo with exchanges between "
            f"{len(fit.temperatures)} temperatures, of our own engine; {numbers}. "
            f"Liquid: {describe_liquid(liquid)}."
        ),
        domain=spec.domain,
        units=spec.units,
        limits=(
            "One composition, density and potential; carried samples are exact only with their weights.",
            "Steps longer than those of the ladder lose most of the samples.",
        ),
        metrics=metrics,
        seed=seed,
        script="kakehashi_botan.training.flow_training",
        code_license="MIT",
        weights_license="MIT",
        citation=spec.citation,
    )


def describe_liquid(liquid: Liquid) -> str:
    """Return all numbers of a liquid as one sentence."""
    m = liquid.mixture
    return (
        f"{m.name}, {' + '.join(map(str, liquid.composition))} particles, density {liquid.density:g}, "
        f"{liquid.dimension} dimensions, edge {liquid.edge:.6g}; epsilon {_rows(m.epsilon)}, sigma "
        f"{_rows(m.sigma)}, cutoff {_rows(m.cutoff)}, shift {m.shift!r}"
    )


def _rows(matrix: Sequence[Sequence[float]]) -> str:
    return np.array2string(np.array(matrix), separator=", ").replace("\n", "")
