"""``kakehashi train xc NAME``: train a functional of this plugin from scratch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from kakehashi_core.errors import InvalidInputError, unknown_name
from kakehashi_nnxc.training.flagship import FLAGSHIPS, N_ROUNDS, train_flagship
from kakehashi_nnxc.training.paper import FAMILIES, train_paper

MODES = ("gradient", "metropolis")
TRAINED_HERE = (*FLAGSHIPS, *FAMILIES)


def train_xc(
    name: str,
    *,
    output: Path | None = None,
    data: Path = Path("kakehashi-train-xc"),
    seed: int = 1,
    workers: int = 1,
    strict: bool = False,
    rounds: int | None = None,
    mode: str = "gradient",
) -> int:
    """Train a functional and write its weights with a model card.

    Densities and the state of the fit are kept in the data folder: the same call goes on after an
    interruption.

    Args:
        name: kh-mgga or kh-nra (constrained, many reactions); nn-lsda, nn-gga, nn-mgga or nn-nra (the paper's
            three molecules).
        output: Weight file to write; NAME.safetensors in the data folder by default.
        data: Folder for densities and run directories.
        seed: Seed of the initial weights.
        workers: Constrained forms: processes that run SCF calculations.
        strict: Constrained forms: no barrier in which a molecule of AE148 takes part.
        rounds: Number of fits, each but the first on self-consistent densities of the one before; 1
            by default. Not with --mode metropolis.
        mode: Forms of the paper: gradient, or metropolis as in the paper.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    key = name.lower().replace("_", "-")
    if key not in TRAINED_HERE:
        raise unknown_name("functional to train", name, TRAINED_HERE)
    path = output or data / f"{key}.safetensors"
    if mode not in MODES:
        raise unknown_name("training mode", mode, MODES)
    if path.suffix != ".safetensors":
        raise InvalidInputError(f"--output must end in .safetensors, got {str(path)!r}; rename it")
    for option, number, least in (
        ("--seed", seed, 0),
        ("--workers", workers, 1),
        ("--rounds", 1 if rounds is None else rounds, 1),
    ):
        if number < least:
            raise InvalidInputError(f"{option} must be at least {least}, got {number}; raise it")
    constrained, paper = " and ".join(FLAGSHIPS), ", ".join(FAMILIES)
    if key in FLAGSHIPS:
        _refuse({"--mode": None if mode == "gradient" else mode}, key, paper)
        train_flagship(
            "kh-nra" if key == "kh-nra" else "kh-mgga",
            path,
            data=data,
            seed=seed,
            workers=workers,
            strict=strict,
            rounds=N_ROUNDS if rounds is None else rounds,
        )
    else:
        unused = {"--workers": None if workers == 1 else workers, "--strict": strict or None}
        _refuse(unused, key, constrained)
        if mode == "metropolis":
            _refuse({"--rounds": rounds}, f"{key} with --mode metropolis", "all other trainings")
        train_paper(
            key,
            path,
            data=data,
            seed=seed,
            mode="metropolis" if mode == "metropolis" else "gradient",
            rounds=1 if rounds is None else rounds,
        )
    return 0


def _refuse(unused: Mapping[str, object], training: str, served: str) -> None:
    """Raise for an option that was given (is not None) and would change nothing."""
    for option, value in unused.items():
        if value is not None:
            raise InvalidInputError(
                f"{option} changes nothing in the training of {training}, got {value}; it belongs to "
                f"{served}. Leave it out."
            )
