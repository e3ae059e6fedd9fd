"""How the residual variance and the acceptance of attention models fall with the number of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.chains import LogWeight
from kakehashi_core.ensembles import run_ensemble
from kakehashi_slmc.distance_shells import DistanceShells
from kakehashi_slmc.effective_training import (
    PAPER_HEAD,
    AttentionTraining,
    expected_acceptance,
    residual_variance,
    train_attention,
)
from kakehashi_slmc.heat_bath import PairSweeps
from kakehashi_slmc.linear_model import LinearModel
from kakehashi_slmc.ridge_model import RidgeModel
from kakehashi_slmc.self_learning import Nested, SelfLearning
from kakehashi_slmc.spin_features import FourSpinFeatures
from kakehashi_slmc.studies.cases import Case, Configurations, configurations

FloatArray = npt.NDArray[np.float64]

VERSION = "1"
N_GRADIENTS = 1680
INNER_TIMES = 16
MEASURED_STEPS = 60
N_RESAMPLES = 500


def layer_study(
    case: Case,
    *,
    n_layers: int,
    seeds: Sequence[int],
    steps: int,
    directory: Path | None = None,
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Train networks of 1 ... n_layers layers, with few shells in the head and with all.

    Args:
        case: What is sampled.
        n_layers: Largest depth.
        seeds: One training, with data of its own, for each.
        steps: Optimizer steps for each depth.
        directory: Where finished trainings are kept.
        executor: Where they run.

    Returns:
        Rows of all models, and fits of variance over number of parameters.
    """
    heads = tuple(dict.fromkeys((PAPER_HEAD, case.shells.n_shells)))
    inputs = [
        {
            "case": case.state_dict(),
            "head": head,
            "n_layers": n_layers,
            "steps": steps,
            "seed": seed,
        }
        for head in heads
        for seed in seeds
    ]
    results = run_ensemble(
        train_depths,
        inputs,
        directory=directory,
        executor=executor,
        description="layers",
        version=VERSION,
    )
    rows = [row for result in results for row in result]
    return {
        "case": case.state_dict(),
        "rows": rows,
        "fits": {
            str(head): power_law(
                [r for r in rows if r["model"] == "attention" and r["head"] == head]
            )
            for head in heads
        },
    }


def train_depths(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Train one sequence of networks and score it beside linear and four-spin models."""
    case = Case(**task["case"])
    shells, seed, head = case.shells, int(task["seed"]), int(task["head"])
    labelled = configurations(case, n_gradients=N_GRADIENTS, seed=seed)
    plain = configurations(case, seed=seed)
    driver = LinearModel.fit(shells, plain.sample.spins, plain.sample.log_weights)
    rows = []
    linear = LinearModel.fit(shells, plain.sample.spins, plain.sample.log_weights, n_shells=head)
    rows.append(_row("linear", linear, head + 1, case, plain, driver, seed, head=head))
    if head == shells.n_shells:
        rows += _ridge_rows(case, shells, plain, driver, seed)
    networks = train_attention(
        shells,
        labelled.sample,
        n_layers=int(task["n_layers"]),
        n_head=head,
        training=AttentionTraining(steps=int(task["steps"])),
        seed=seed,
    )
    for network in networks:
        network.fit_head(torch.tensor(plain.sample.spins), torch.tensor(plain.sample.log_weights))
        row = _row(
            "attention",
            network.log_weight,
            network.settings.n_parameters,
            case,
            plain,
            driver,
            seed,
            head=head,
        )
        rows.append({**row, "n_layers": network.settings.n_layers})
    return rows


def power_law(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Fit variance = constant * parameters^exponent; the error is that of resampled seeds.

    Args:
        rows: With "seed", "n_parameters" and "variance".

    Returns:
        Exponent, error and number of seeds; nothing where all have one number of parameters.
    """
    if len({r["n_parameters"] for r in rows}) < 2:
        return {}
    seeds = sorted({r["seed"] for r in rows})
    by_seed = {
        s: np.array(
            [[np.log(r["n_parameters"]), np.log(r["variance"])] for r in rows if r["seed"] == s]
        )
        for s in seeds
    }

    def exponent(chosen: Sequence[int]) -> float:
        points = np.concatenate([by_seed[s] for s in chosen])
        return float(np.polyfit(points[:, 0], points[:, 1], 1)[0])

    rng = np.random.default_rng(0)
    resampled = [exponent(list(rng.choice(seeds, size=len(seeds)))) for _ in range(N_RESAMPLES)]
    return {"exponent": exponent(seeds), "error": float(np.std(resampled)), "n_seeds": len(seeds)}


def _ridge_rows(
    case: Case,
    shells: DistanceShells,
    data: Configurations,
    driver: LinearModel,
    seed: int,
) -> list[dict[str, Any]]:
    # A part of the fitted chains chooses the penalty: the validation chains only judge.
    n = len(data.sample.log_weights) * 4 // 5
    rows = []
    for n_fields in (3, 4, 5):
        model = RidgeModel.fit(
            FourSpinFeatures(shells, min(n_fields, shells.n_shells + 1)),
            data.sample.spins[:n],
            data.sample.log_weights[:n],
            validation=(data.sample.spins[n:], data.sample.log_weights[n:]),
        )
        rows.append(_row("four-spin", model, len(model.coefficients) + 1, case, data, driver, seed))
    return rows


def _row(
    name: str,
    model: LogWeight,
    n_parameters: int,
    case: Case,
    data: Configurations,
    driver: LinearModel,
    seed: int,
    *,
    head: int | None = None,
) -> dict[str, Any]:
    unseen = data.validation
    variance = residual_variance(unseen.log_weights, model(unseen.spins))
    measured, error = measured_acceptance(case, model, driver, data, seed=seed)
    return {
        "model": name,
        "head": case.shells.n_shells if head is None else head,
        "n_layers": 0,
        "n_parameters": n_parameters,
        "seed": seed,
        "variance": variance,
        "expected_acceptance": expected_acceptance(variance),
        "measured_acceptance": measured,
        "measured_error": error,
    }


def measured_acceptance(
    case: Case, model: LogWeight, driver: LinearModel, data: Configurations, *, seed: int
) -> tuple[float, float]:
    """Return the share of proposals that moved which the exact weight accepts, and its error.

    The proposals are decorrelated: many moves of the full linear model, each accepted by ``model``.
    """
    inner = Nested(model, PairSweeps(driver.couplings), times=INNER_TIMES)
    kernel = SelfLearning(case.model, inner)
    rng = np.random.default_rng([seed, 17])
    state = data.last
    shares = []
    for n in range(MEASURED_STEPS):
        step = kernel.step(state, rng)
        state = step.state
        if n >= MEASURED_STEPS // 6:
            shares.append([(step.accepted & step.moved).sum(), step.moved.sum()])
    accepted, moved = np.array(shares, dtype=float).T
    share = float(accepted.sum() / moved.sum())
    # Steps of one chain remember each other a little; blocks of ten do not.
    blocks = accepted[: len(accepted) // 10 * 10].reshape(-1, 10).sum(axis=1)
    return share, float(blocks.std(ddof=1) / np.sqrt(len(blocks)) / (10 * moved.mean()))
