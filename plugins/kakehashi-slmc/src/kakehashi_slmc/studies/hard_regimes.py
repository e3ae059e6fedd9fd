"""Doped lattices at strong coupling: which effective model helps, and what an independent sample costs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from kakehashi_core.chains import LogWeight
from kakehashi_slmc.effective_training import (
    AttentionTraining,
    expected_acceptance,
    residual_variance,
    train_attention,
)
from kakehashi_slmc.heat_bath import PairSweeps
from kakehashi_slmc.linear_model import LinearModel
from kakehashi_slmc.ridge_model import RidgeModel
from kakehashi_slmc.self_learning import Nested, SelfLearning
from kakehashi_slmc.spin_features import BondFeatures, FourSpinFeatures, JoinedFeatures
from kakehashi_slmc.strong_coupling_model import StrongCouplingModel
from kakehashi_slmc.studies.cases import Case, Configurations, configurations
from kakehashi_slmc.studies.measured_steps import Contestant, CountedWeight, measure

TIMES = 4
"""Moves of the linear model for each exact weight, with a better model in between."""
N_GRADIENTS = 1680


def hard_study(task: Mapping[str, Any]) -> dict[str, Any]:
    """Fit all kinds of models on one case, and measure them in turns.

    Args:
        task: "case", "n_chains", "n_steps", "attention_steps" and "seed".

    Returns:
        Of each model: residual variance on other chains, measured acceptance, autocorrelation, CPU time.
    """
    case, seed = Case(**task["case"]), int(task["seed"])
    data = configurations(case, n_chains=int(task["n_chains"]), seed=seed)
    models, fit_seconds = _models(case, data, int(task["attention_steps"]), seed)
    linear = models["linear"]
    if not isinstance(linear, LinearModel):
        raise TypeError("the first model is the linear one")
    sweeps = PairSweeps(linear.couplings)
    contestants = {}
    for name, model in models.items():
        weight = CountedWeight(case.model)
        inner = sweeps if name == "linear" else Nested(model, sweeps, times=TIMES)
        kernel = SelfLearning(weight, inner)
        contestants[name] = Contestant(kernel, weight, data.last, int(task["n_steps"]))
    found = measure(contestants, case.model, case.signs, seed=seed)
    unseen = data.validation
    rows = {}
    for name, measured in found.items():
        variance = residual_variance(unseen.log_weights, models[name](unseen.spins))
        rows[name] = {
            "variance": variance,
            "expected_acceptance": expected_acceptance(variance),
            "fit_cpu_seconds": fit_seconds[name],
            **measured.as_dict(),
            "cost_ms": {o: measured.cost(o) for o in measured.tau},
        }
    return {
        "case": case.state_dict(),
        "seed": seed,
        "models": rows,
        "acceptance_over_linear": {
            name: row["acceptance"] / rows["linear"]["acceptance"] for name, row in rows.items()
        },
        "samples_per_cpu_second_over_linear": {
            name: {o: rows["linear"]["cost_ms"][o] / row["cost_ms"][o] for o in ("m2", "energy")}
            for name, row in rows.items()
        },
    }


def _models(
    case: Case, data: Configurations, attention_steps: int, seed: int
) -> tuple[dict[str, LogWeight], dict[str, float]]:
    exact, shells, sample = case.model, case.shells, data.sample
    n = len(sample.log_weights) * 4 // 5
    judged = sample.spins[n:], sample.log_weights[n:]
    four = FourSpinFeatures(shells, min(5, shells.n_shells + 1))
    bonds = BondFeatures(exact.hopping)
    models: dict[str, LogWeight] = {}
    seconds: dict[str, float] = {}

    def timed(name: str, model: LogWeight, started: float) -> None:
        models[name], seconds[name] = model, time.process_time() - started

    start = time.process_time()
    timed("linear", LinearModel.fit(shells, sample.spins, sample.log_weights), start)
    for name, features in (
        ("four-spin", four),
        ("four-spin and bonds", JoinedFeatures((four, bonds))),
    ):
        start = time.process_time()
        model = RidgeModel.fit(
            features, sample.spins[:n], sample.log_weights[:n], validation=judged
        )
        timed(name, model, start)
    for name, n_gradients in (("attention", 0), ("attention with gradients", N_GRADIENTS)):
        start = time.process_time()
        timed(name, _attention(case, data, attention_steps, n_gradients, seed), start)
    start = time.process_time()
    strong = StrongCouplingModel.fit(exact, shells, sample.spins, sample.log_weights)
    timed("strong-coupling", strong, start)
    return models, seconds


def _attention(
    case: Case, data: Configurations, steps: int, n_gradients: int, seed: int
) -> LogWeight:
    sample = data.sample
    learned = sample
    if n_gradients:
        rng = np.random.default_rng([seed, 3])
        n = min(n_gradients, len(sample.log_weights))
        chosen = rng.choice(len(sample.log_weights), size=n, replace=False)
        values, gradients = case.model.value_and_gradient(sample.spins[chosen])
        learned = type(sample)(spins=sample.spins[chosen], log_weights=values, gradients=gradients)
    network = train_attention(
        case.shells,
        learned,
        n_layers=2,
        training=AttentionTraining(steps=steps),
        seed=seed,
    )[-1]
    network.fit_head(torch.tensor(sample.spins), torch.tensor(sample.log_weights))
    return network.log_weight
