"""Networks with and without self-consistency after equal CPU time: where feedback helps, and where not."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from kakehashi_core.ensembles import run_ensemble
from kakehashi_core.errors import InvalidInputError, unknown_name
from kakehashi_core.threads import thread_limit
from kakehashi_deqh.atomic_units import BOHR
from kakehashi_deqh.evaluation.guess_trials import guess_trial, summary
from kakehashi_deqh.hamiltonian_model import HamiltonianModel, ModelSettings
from kakehashi_deqh.training.accuracy import measured_accuracy
from kakehashi_deqh.training.hamiltonian_fit import FitSettings, TrainingSet, fit, new_model
from kakehashi_deqh.training.recipes import (
    Recipe,
    calculations,
    far_calculations,
    recipe,
    shuffled,
)
from kakehashi_deqh.training.scf_data import Calculation
from kakehashi_deqh.training_domain import TrainingDomain

TRIAL_STEPS = 12
"""Optimizer steps that tell what a step costs."""
PAPER_MODEL: dict[str, Any] = {
    "variant": "paper",
    "start": "none",
    "method": "picard",
    "tolerance": 4e-5,
    "max_evaluations": 5,
}
"""Published settings: no start Hamiltonian, five plain iterations. The published tolerance is of the norm of
the matrix, 1e-3 Ha; divided by 24 orbitals of water this is ours."""

VARIANTS = ("no feedback", "direct", "refine", "scf-map", "paper")
VERSION = "1"


def compare_trainings(
    name: str,
    *,
    data: Path,
    sizes: Sequence[int],
    seeds: Sequence[int],
    seconds: float,
    n_fock: int = 10,
    variants: Sequence[str] = VARIANTS,
    directory: Path | None = None,
    executor: Executor | None = None,
) -> list[dict[str, Any]]:
    """Fit all variants for the same CPU time, and measure them on unseen and on unusual geometries.

    Args:
        name: Recipe.
        data: Folder of its calculations.
        sizes: Geometries to learn from.
        seeds: Of the first weights and the order of molecules.
        seconds: CPU time of each fit.
        n_fock: Test molecules, near and far, of which PySCF runs with and without the prediction.
        variants: Which, of ``VARIANTS``.
        directory: Where finished fits are kept.
        executor: Where they run.

    Returns:
        One row for each fit.

    Raises:
        InvalidInputError: If a size or the time makes no sense.
        UnknownNameError: If there is no such variant.
    """
    chosen = recipe(name)
    for variant in variants:
        if variant not in VARIANTS:
            raise unknown_name("variant", variant, VARIANTS)
    if not seconds > 0.0 or any(not 1 <= n <= chosen.n_train for n in sizes):
        raise InvalidInputError(
            f"seconds must be positive and sizes between 1 and {chosen.n_train}, got {seconds} and "
            f"{list(sizes)}"
        )
    # Here once, so that tasks only read them.
    calculations(chosen, data / chosen.name, executor=executor)
    far_calculations(chosen, data / chosen.name, executor=executor)
    inputs = [
        {
            "recipe": chosen.name,
            "data": str(data),
            "n_train": int(n),
            "variant": variant,
            "seed": int(seed),
            "seconds": float(seconds),
            "n_fock": int(n_fock),
        }
        for n in sizes
        for seed in seeds
        for variant in variants
    ]
    return run_ensemble(
        compared,
        inputs,
        directory=directory,
        executor=executor,
        description="fits",
        version=VERSION,
    )


def compared(task: Mapping[str, Any]) -> dict[str, Any]:
    """Fit one variant and measure it.

    Args:
        task: "recipe", "data", "n_train", "variant", "seed", "seconds" and "n_fock".
    """
    chosen = recipe(task["recipe"])
    folder = Path(task["data"]) / chosen.name
    train, test = calculations(chosen, folder)
    far = far_calculations(chosen, folder)
    train = shuffled(train)[: int(task["n_train"])]
    with thread_limit(1), tempfile.TemporaryDirectory() as scratch:
        model, spent = fitted(
            chosen,
            train,
            task["variant"],
            seed=int(task["seed"]),
            seconds=float(task["seconds"]),
            directory=Path(scratch),
        )
        path = Path(scratch) / "model.safetensors"
        model.save(path)
        found: dict[str, Any] = {
            k: task[k] for k in ("recipe", "n_train", "variant", "seed", "seconds")
        }
        found |= {"parameters": sum(p.numel() for p in model.network.parameters()), **spent}
        for label, listed in (("near", test), ("far", far)):
            found[label] = measured_accuracy(model, listed)
            trials = [
                guess_trial(
                    f"{label} {k}",
                    (c.request.numbers, c.request.positions * BOHR),
                    predictor=chosen.name,
                    checkpoint=path,
                    xc=chosen.level.xc,
                    basis=chosen.level.basis,
                )
                for k, c in enumerate(listed[: int(task["n_fock"])])
            ]
            if trials:
                found[label] |= {
                    **summary(trials),
                    "one-shot energy error, median, hartree": float(
                        np.median([t.one_shot_error for t in trials])
                    ),
                }
    return found


def fitted(
    chosen: Recipe,
    train: Sequence[Calculation],
    variant: str,
    *,
    seed: int,
    seconds: float,
    directory: Path,
) -> tuple[HamiltonianModel, dict[str, float]]:
    """Fit one variant for a CPU time; half of it with feedback where there is any.

    Returns:
        The model, and steps and CPU seconds that were spent.
    """
    settings, how = variant_settings(chosen, variant)
    data = TrainingSet(list(train), settings.start)
    base = seconds * (1.0 if not settings.feedback else 0.0 if variant == "paper" else 0.5)
    cost = {
        stage: _step_cost(settings, tried, data, seed)
        for stage, share, tried in (
            ("steps", base, replace(how, steps=TRIAL_STEPS)),
            ("feedback_steps", seconds - base, replace(how, feedback_steps=TRIAL_STEPS)),
        )
        if share > 0.0
    }
    steps = round(base / cost["steps"]) if "steps" in cost else 0
    feedback = round((seconds - base) / cost["feedback_steps"]) if "feedback_steps" in cost else 0
    model = new_model(settings, data, seed)
    began = time.process_time()
    fit(
        model,
        data,
        replace(how, steps=steps, feedback_steps=feedback),
        directory,
        seed=seed,
        identity={"recipe": chosen.name, "n": len(train), "variant": variant},
        description=variant,
    )
    spent = time.process_time() - began
    model.domain = TrainingDomain.of(
        [c.request for c in train],
        [c.reference_error for c in train],
        same_compositions=len(chosen.molecules) == 1,
    )
    return model, {"steps": steps, "feedback_steps": feedback, "fit_cpu_seconds": spent}


def variant_settings(chosen: Recipe, variant: str) -> tuple[ModelSettings, FitSettings]:
    """Return shape and fit of a variant, without numbers of steps.

    Raises:
        UnknownNameError: If there is no such variant.
    """
    fit_settings = replace(chosen.fit, steps=0, feedback_steps=0)
    if variant == "no feedback":
        return replace(chosen.model, feedback=False), fit_settings
    if variant == "paper":
        return (
            replace(chosen.model, **PAPER_MODEL),
            replace(
                fit_settings,
                target="direct",
                gradient="phantom:1",
                tolerance=PAPER_MODEL["tolerance"],
                feedback_rate=fit_settings.learning_rate,
            ),
        )
    if variant in {"direct", "refine", "scf-map"}:
        return chosen.model, replace(fit_settings, target=variant)  # type: ignore[arg-type]
    raise unknown_name("variant", variant, VARIANTS)


def averages(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return means over seeds, with standard errors, for each size and variant."""
    found = []
    keys = dict.fromkeys((row["recipe"], row["n_train"], row["variant"]) for row in rows)
    for key in keys:
        own = [r for r in rows if (r["recipe"], r["n_train"], r["variant"]) == key]
        one: dict[str, Any] = {"recipe": key[0], "n_train": key[1], "variant": key[2]}
        for part in ("near", "far"):
            for quantity in own[0][part]:
                values = np.array([r[part][quantity] for r in own], dtype=float)
                error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
                one[f"{part}: {quantity}"] = {"mean": float(values.mean()), "stderr": float(error)}
        one["fit_cpu_seconds"] = float(np.mean([r["fit_cpu_seconds"] for r in own]))
        one["parameters"] = own[0]["parameters"]
        found.append(one)
    return found


def _step_cost(settings: ModelSettings, how: FitSettings, data: TrainingSet, seed: int) -> float:
    model = new_model(settings, data, seed)
    with tempfile.TemporaryDirectory() as scratch:
        # Sizes of inputs and the first step, with what is compiled then, are not counted.
        warm = replace(how, steps=min(how.steps, 1), feedback_steps=min(how.feedback_steps, 1))
        fit(model, data, warm, Path(scratch) / "warm", seed=seed, identity=asdict(settings))
        began = time.process_time()
        fit(
            model,
            data,
            how,
            Path(scratch) / "timed",
            seed=seed,
            identity=asdict(settings),
            keep_scales=True,
        )
        spent = time.process_time() - began
    return spent / max(how.steps, how.feedback_steps)
