"""``kakehashi train botan NAME``: train propensity models from scratch."""

from __future__ import annotations

import logging
from pathlib import Path

from kakehashi_botan.training.botan_training import MODELS, train_propensities
from kakehashi_core.errors import InvalidInputError, unknown_name


def train_botan(
    name: str,
    *,
    trajectories: Path | None = None,
    output: Path | None = None,
    data: Path = Path("kakehashi-train-botan"),
    seed: int = 1,
    workers: int = 1,
    device: str = "cpu",
) -> int:
    """Train a model and write its weights with a model card.

    Everything is kept in the data folder: the same call goes on after an interruption.

    Args:
        name: botan-ts, botan-is or botan-ts-is (thermal structure, inherent structure, both).
        trajectories: Folder of the public data of BOTAN.
        output: Weight file to write; NAME.safetensors in the data folder by default.
        data: Folder for quenches and run directories.
        seed: Seed of the first network.
        workers: Processes that minimize structures.
        device: Where networks are trained: cpu, cuda or auto.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if name not in MODELS:
        raise unknown_name("model to train", name, MODELS)
    path = output or data / f"{name}.safetensors"
    if path.suffix != ".safetensors":
        raise InvalidInputError(f"--output must end in .safetensors, got {str(path)!r}; rename it")
    if trajectories is None:
        raise InvalidInputError(
            "give the folder of the public isoconfigurational data with --trajectories"
        )
    train_propensities(
        name,
        path,
        trajectories=trajectories,
        directory=data,
        seed=seed,
        workers=workers,
        device=device,
    )
    return 0
