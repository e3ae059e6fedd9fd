"""Gradient training of transport fields between two temperatures, with the objectives of the literature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_botan.sampling.field_fitting import (
    data_loss,
    energy_loss,
    matching_loss,
    paired,
    variance_loss,
)
from kakehashi_botan.sampling.transport_field import TransportField
from kakehashi_core.errors import unknown_name
from kakehashi_core.random_streams import spawn
from kakehashi_core.training import GradientTraining, RandomBatches, create_fabric, train

FloatArray = npt.NDArray[np.float64]
Objective = Literal["energy", "data", "both", "variance", "matching"]
Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementSettings:
    """How a field is refined.

    Attributes:
        objective: "energy" (reverse Kullback-Leibler divergence, samples of the hot end), "data" (forward,
            samples of the cold end), "both" of them, "variance" of the log-weights, or "matching" (flow
            matching on pairs of samples of both ends).
        steps: Optimizer steps.
        batch_size: Samples of a step.
        learning_rate: Of Adam, largest one of a single cycle.
        n_steps: Steps of the integration.
        clip_norm: Largest norm of the gradient.
    """

    objective: Objective = "both"
    steps: int = 200
    batch_size: int = 32
    learning_rate: float = 3e-4
    n_steps: int = 4
    clip_norm: float = 100.0


def refine(
    field: TransportField,
    hot: FloatArray,
    cold: FloatArray,
    start: float,
    end: float,
    directory: Path,
    *,
    settings: RefinementSettings | None = None,
    seed: int = 1,
    identity: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> None:
    """Train a field in place; the same call goes on after an interruption.

    Args:
        field: Zero, or a first guess such as that of ``fit_continuity``.
        hot: Samples of ``start``, (n_samples, n, dimension).
        cold: Samples of ``end``.
        start: Temperature of ``hot``.
        end: Temperature of ``cold``.
        directory: Run directory.
        settings: How it is trained.
        seed: Of the order of samples.
        identity: What samples and first guess are, JSON-able: a run with others is refused.
        device: "cpu", "cuda[:i]" or "auto".

    Raises:
        UnknownNameError: If there is no such objective.
    """
    settings = settings or RefinementSettings()
    if settings.objective not in get_args(Objective):
        raise unknown_name("objective", settings.objective, get_args(Objective))
    warm, frozen = field.liquid.checked(hot), field.liquid.checked(cold)
    if settings.objective == "matching":
        frozen = paired(field.liquid, warm, frozen)
    (rng,), _ = spawn(seed, 1)
    fabric = create_fabric(device=device)
    field.to(fabric.device)
    optimizer = torch.optim.Adam(field.parameters(), lr=settings.learning_rate)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.1
    )

    def choose(draws: np.random.Generator) -> Batch:
        first = draws.integers(len(warm), size=settings.batch_size)
        second = draws.integers(len(frozen), size=settings.batch_size)
        return first, second, float(draws.random())

    loss = _loss(settings, warm, frozen, start, end)
    trainable = GradientTraining(
        field,
        optimizer,
        loss=loss,
        batches=RandomBatches(choose, rng=rng),
        scheduler=scheduler,
        fabric=fabric,
        clip_norm=settings.clip_norm,
        seed=seed,
    )
    train(
        trainable,
        directory,
        config={
            "settings": asdict(settings),
            "from": start,
            "to": end,
            "seed": seed,
            "samples": dict(identity or {}),
        },
        steps=settings.steps,
        plot=False,
        description=f"field, {settings.objective}",
    )
    field.cpu()


def _loss(
    settings: RefinementSettings, hot: FloatArray, cold: FloatArray, start: float, end: float
) -> Callable[[Any, Batch], torch.Tensor]:
    def chosen(field: Any, samples: FloatArray, numbers: npt.NDArray[np.int64]) -> torch.Tensor:
        return torch.as_tensor(samples[numbers], device=field.pair_weights.device)

    def loss(field: Any, batch: Batch) -> torch.Tensor:
        first, second, place = batch
        steps = settings.n_steps
        if settings.objective == "matching":
            # Partners belong together.
            pair = chosen(field, hot, first), chosen(field, cold, first)
            return matching_loss(field, *pair, start, end, place)
        if settings.objective == "variance":
            return variance_loss(field, chosen(field, hot, first), start, end, n_steps=steps)
        parts = []
        if settings.objective in {"energy", "both"}:
            parts.append(energy_loss(field, chosen(field, hot, first), start, end, n_steps=steps))
        if settings.objective in {"data", "both"}:
            parts.append(data_loss(field, chosen(field, cold, second), start, end, n_steps=steps))
        return torch.stack(parts).mean()

    return loss
