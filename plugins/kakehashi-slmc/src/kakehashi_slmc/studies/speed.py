"""CPU time and diagonalizations of an independent sample: exact kernels beside self-learning ones."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kakehashi_core.chains import ChainState, Kernel, warm_up
from kakehashi_slmc.effective_training import AttentionTraining, train_attention
from kakehashi_slmc.heat_bath import PairSweeps
from kakehashi_slmc.learned_models import model_kinds
from kakehashi_slmc.linear_model import LinearModel
from kakehashi_slmc.local_updates import LocalUpdates
from kakehashi_slmc.self_learner import LearnedModel, SelfLearner
from kakehashi_slmc.self_learning import Inner, Nested, SelfLearning
from kakehashi_slmc.spin_kernels import SphereHMC, SpinMetropolis
from kakehashi_slmc.studies.cases import Case, configurations
from kakehashi_slmc.studies.measured_steps import Contestant, CountedWeight, Measured, measure
from kakehashi_slmc.unit_vectors import random_spins

LARGEST_METROPOLIS = 64
"""Sites up to which Metropolis itself is run; beyond, local updates, which make the same moves, say how long
it remembers, and a few of its sweeps what it costs."""
METROPOLIS_SWEEPS = 3
PAYBACK = "m2"
N_GRADIENTS = 1680
ATTENTION_TIMES = 4
HYBRID_STEPS = 12
"""Leapfrog steps with an effective gradient, which costs next to nothing."""


def speed_study(task: Mapping[str, Any]) -> dict[str, Any]:
    """Measure all kernels on one case in turns.

    Args:
        task: "case", "n_chains", "n_steps" by kernel ("metropolis", "hmc", "self-learning"), and "seed". With
            "n_layers" and "steps" an attention model is trained and measured too.

    Returns:
        What each kernel did, ratios of costs to those of self-learning ones, and what learning cost.
    """
    case, seed = Case(**task["case"]), int(task["seed"])
    model, n_chains, steps = case.model, int(task["n_chains"]), dict(task["n_steps"])
    learners = {name: _learned(case, name, n_chains, seed) for name in ("linear", "auto")}
    learned = learners["auto"].learned
    if learned is not None and learned.kind == "linear":
        del learners["auto"]
    moves = {f"self-learning, {name}": (x.inner, x.seconds) for name, x in learners.items()}
    if task.get("n_layers"):
        moves["self-learning, attention"] = _attention(case, learners["linear"], task)
    state, linear = learners["linear"].state, learners["linear"].linear
    contestants: dict[str, Contestant] = {}
    hybrid = CountedWeight(model)
    contestants["hmc"] = Contestant(
        _tuned(SphereHMC(hybrid), state, seed), hybrid, state, int(steps["hmc"])
    )
    plain = CountedWeight(model)
    direct = model.n_sites <= LARGEST_METROPOLIS
    local: Kernel = SpinMetropolis(plain) if direct else LocalUpdates(model)
    few = int(task.get("n_metropolis", n_chains))
    part = ChainState(state.positions[:few], state.log_weights[:few])
    contestants["metropolis"] = Contestant(
        _tuned(local, part, seed), plain, part, int(steps["metropolis"])
    )
    for name, (inner, _) in moves.items():
        counted = CountedWeight(model)
        contestants[name] = Contestant(
            SelfLearning(counted, inner), counted, state, int(steps["self-learning"])
        )
    counted = CountedWeight(model)
    along = SphereHMC(linear, n_steps=HYBRID_STEPS, log_weight=counted)
    contestants["self-learning hmc"] = Contestant(
        _tuned(along, state, seed), counted, state, int(steps["self-learning"]) // 4
    )
    found = measure(contestants, model, case.signs, seed=seed)
    table = {name: m.as_dict() for name, m in found.items()}
    if not direct:
        table["metropolis"] = _as_metropolis(case, found["metropolis"], local, seed)
    seconds = {name: cpu for name, (_, cpu) in moves.items()}
    seconds["self-learning hmc"] = learners["linear"].seconds
    return {
        "case": case.state_dict(),
        "kernels": table,
        "learned": {
            name: {
                "kind": x.learned.kind,
                "times": x.learned.times,
                "variances": x.learned.variances,
            }
            for name, x in learners.items()
            if x.learned is not None
        },
        "training_cpu_seconds": seconds,
        "ratios": _ratios(table, seconds),
    }


@dataclass(frozen=True, slots=True)
class _Learner:
    """What a warm-up learned, where its chains stand, and what it cost."""

    inner: Inner
    linear: LinearModel
    learned: LearnedModel | None
    state: ChainState
    seconds: float


def _learned(case: Case, name: str, n_chains: int, seed: int) -> _Learner:
    model, shells = case.model, case.shells
    started = time.process_time()
    kernel = SelfLearner(model, shells, kinds=model_kinds(name, model, shells), seed=seed)
    rng = np.random.default_rng(seed)
    state = kernel.start(random_spins(rng, n_chains, model.n_sites))
    state = warm_up(kernel, state, rng, 2 * kernel.least_warmup)
    if kernel.linear is None:
        raise RuntimeError("the warm-up ended before anything was learned")
    return _Learner(
        kernel.inner, kernel.linear, kernel.learned, state, time.process_time() - started
    )


def _attention(case: Case, first: _Learner, task: Mapping[str, Any]) -> tuple[Inner, float]:
    """Train a network on configurations of the linear chain; return moves with it and the CPU seconds."""
    started = time.process_time()
    seed = int(task["seed"])
    data = configurations(case, n_gradients=N_GRADIENTS, seed=seed)
    network = train_attention(
        case.shells,
        data.sample,
        n_layers=int(task["n_layers"]),
        training=AttentionTraining(steps=int(task["steps"])),
        seed=seed,
    )[-1]
    sweeps = PairSweeps(first.linear.couplings, n_sweeps=1)
    inner = Nested(network.log_weight, sweeps, times=ATTENTION_TIMES)
    return inner, time.process_time() - started


def _tuned(kernel: Kernel, state: ChainState, seed: int, *, steps: int = 40) -> Kernel:
    few = ChainState(state.positions[:4], state.log_weights[:4])
    warm_up(kernel, few, np.random.default_rng([seed, 5]), steps)
    return kernel


def _as_metropolis(case: Case, local: Measured, kernel: Kernel, seed: int) -> dict[str, Any]:
    """Return what Metropolis would do, from local updates and the cost of a few of its sweeps."""
    weight = CountedWeight(case.model)
    scale = kernel.scale.value if isinstance(kernel, LocalUpdates) else 0.5
    exact = SpinMetropolis(weight, scale=scale, target_acceptance=None)
    rng = np.random.default_rng(seed)
    state = exact.start(random_spins(rng, 1, case.model.n_sites))
    started = time.process_time()
    for _ in range(METROPOLIS_SWEEPS):
        state = exact.step(state, rng).state
    cpu = 1e3 * (time.process_time() - started) / METROPOLIS_SWEEPS
    return {
        **local.as_dict(),
        "cpu_ms": cpu,
        "diagonalizations": float(case.model.n_sites),
        "local_updates_cpu_ms": local.cpu_ms,
        "note": "autocorrelation of local updates, which make the same moves; cost of single sweeps",
    }


def _ratios(
    table: Mapping[str, Mapping[str, Any]], training: Mapping[str, float]
) -> dict[str, Any]:
    """Return costs of an independent sample over that of each self-learning kernel, and the break-even."""
    ratios: dict[str, Any] = {}
    for name, own in table.items():
        if not name.startswith("self-learning"):
            continue
        entry: dict[str, Any] = {}
        for other in ("metropolis", "hmc"):
            for observable in ("m2", "energy"):
                taus = table[other]["tau"][observable] / own["tau"][observable]
                entry[f"{other}, {observable}"] = {
                    "diagonalizations": taus
                    * table[other]["diagonalizations"]
                    / own["diagonalizations"],
                    "cpu": taus * table[other]["cpu_ms"] / own["cpu_ms"],
                }
            saved = 2e-3 * (
                table[other]["tau"][PAYBACK] * table[other]["cpu_ms"]
                - own["tau"][PAYBACK] * own["cpu_ms"]
            )
            entry[f"independent samples that pay for learning, against {other}"] = (
                training[name] / saved if saved > 0.0 else None
            )
        ratios[name] = entry
    return ratios
