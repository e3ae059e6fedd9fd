"""``kakehashi train botan NAME`` and ``kakehashi train flow``: train from scratch."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from kakehashi_botan.training.botan_training import MODELS, train_propensities
from kakehashi_botan.training.flow_training import (
    DEGREE,
    LADDER,
    N_SAMPLES,
    FlowSettings,
    train_flow_ladder,
)
from kakehashi_botan.training.propensity_training import PropensitySettings
from kakehashi_botan.training.t_botan_training import train_temperatures
from kakehashi_core.consoles import result_console
from kakehashi_core.errors import InvalidInputError, unknown_name

T_BOTAN = "t-botan"


def train_botan(
    name: str,
    *,
    trajectories: Path | None = None,
    output: Path | None = None,
    data: Path = Path("kakehashi-train-botan"),
    seed: int = 1,
    workers: int = 1,
    device: str = "cpu",
    hold_out: int | None = None,
    patience: int = 5,
    steps: int | None = None,
) -> int:
    """Train a model and write its weights with a model card.

    Everything is kept in the data folder: the same call goes on after an interruption.

    Args:
        name: botan-ts, botan-is or botan-ts-is (thermal structure, inherent structure, both); or t-botan,
            which makes its own data with molecular dynamics first, in some hours.
        trajectories: Folder of files isoconfig_*_NUMBER_tc*.npz of one temperature: the public data of
            BOTAN, or ensembles of your own; not for t-botan.
        output: Weight file to write; NAME.safetensors in the data folder by default.
        data: Folder for quenches and run directories.
        seed: Seed of the first network.
        workers: Processes for dynamics and minimization.
        device: Where networks are trained: cpu, cuda or auto.
        hold_out: Validate the networks on this ensemble, counted from 1, and stop early; not for t-botan.
        patience: With --hold-out: validations without improvement until it stops.
        steps: Optimizer steps of each network, instead of those of the shipped models; few for a trial run.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if name not in (*MODELS, T_BOTAN):
        raise unknown_name("model to train", name, (*MODELS, T_BOTAN))
    path = output or data / f"{name}.safetensors"
    if path.suffix != ".safetensors":
        raise InvalidInputError(f"--output must end in .safetensors, got {str(path)!r}; rename it")
    if name == T_BOTAN:
        for option, value in (
            ("--trajectories", trajectories),
            ("--hold-out", hold_out),
            ("--steps", steps),
        ):
            if value is not None:
                raise InvalidInputError(f"{option} changes nothing for t-botan; leave it out")
        train_temperatures(path, directory=data, seed=seed, workers=workers, device=device)
        return 0
    if trajectories is None:
        raise InvalidInputError(
            "give the folder of isoconfigurational ensembles, those of BOTAN or your own, with --trajectories"
        )
    if steps is not None and steps < 1:
        raise InvalidInputError(f"--steps is {steps}; at least one is needed")
    settings = PropensitySettings()
    if steps is not None:
        settings = replace(settings, training=replace(settings.training, steps=steps))
    train_propensities(
        name,
        path,
        trajectories=trajectories,
        directory=data,
        seed=seed,
        workers=workers,
        device=device,
        settings=settings,
        hold_out=hold_out,
        patience=patience,
    )
    return 0


def train_flow(
    *,
    output: Path | None = None,
    data: Path = Path("kakehashi-train-flow"),
    temperatures: tuple[float, ...] = LADDER,
    n_samples: int = N_SAMPLES,
    degree: int = DEGREE,
    seed: int = 1,
) -> int:
    """Train a flow of the two-dimensional glass former and write its weights with a model card.

    Samples are kept in the data folder: the same call goes on after an interruption.

    Args:
        output: Weight file to write; flow-ka2d.safetensors in the data folder by default.
        data: Folder for samples.
        temperatures: Ladder, descending.
        n_samples: Samples of each temperature.
        degree: Of the polynomials in the logarithm of the temperature.
        seed: Of all samples.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = output or data / "flow-ka2d.safetensors"
    if path.suffix != ".safetensors":
        raise InvalidInputError(f"--output must end in .safetensors, got {str(path)!r}; rename it")
    settings = FlowSettings(n_samples=n_samples, degree=degree)
    _, scores = train_flow_ladder(
        path, directory=data, ladder=temperatures, seed=seed, settings=settings
    )
    table = Table(title="effective share of the samples from one temperature to the next")
    for column in ("from", "to", "plain", "carried"):
        table.add_column(column, justify="right")
    for score in scores:
        table.add_row(
            f"{score.start:g}", f"{score.end:g}", f"{score.plain:.3f}", f"{score.carried:.3f}"
        )
    result_console().print(table)
    return 0
