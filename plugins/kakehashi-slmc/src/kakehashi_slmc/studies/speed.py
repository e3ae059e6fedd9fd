"""CPU time and diagonalizations of an independent sample: exact kernels beside self-learning ones."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from kakehashi_core.chains import ChainState, Kernel, warm_up
from kakehashi_slmc.learned_models import model_kinds
from kakehashi_slmc.local_updates import LocalUpdates
from kakehashi_slmc.self_learner import SelfLearner
from kakehashi_slmc.self_learning import SelfLearning
from kakehashi_slmc.spin_kernels import SphereHMC, SpinMetropolis
from kakehashi_slmc.studies.cases import Case
from kakehashi_slmc.studies.measured_steps import Contestant, CountedWeight, Measured, measure
from kakehashi_slmc.unit_vectors import random_spins

LARGEST_METROPOLIS = 64
"""Sites up to which Metropolis itself is run; beyond, local updates, which make the same moves, say how long
it remembers, and a few of its sweeps what it costs."""
METROPOLIS_SWEEPS = 3
PAYBACK = "m2"
HYBRID_STEPS = 12
"""Leapfrog steps with an effective gradient, which costs next to nothing."""


def speed_study(task: Mapping[str, Any]) -> dict[str, Any]:
    """Measure all kernels on one case in turns.

    Args:
        task: "case", "n_chains", "n_steps" by kernel ("metropolis", "hmc", "self-learning"), and "seed".

    Returns:
        What each kernel did, ratios of costs to that of the first self-learning one, and what learning cost.
    """
    case, seed = Case(**task["case"]), int(task["seed"])
    model, n_chains, steps = case.model, int(task["n_chains"]), dict(task["n_steps"])
    started = time.process_time()
    learned = {name: _learned(case, name, n_chains, seed) for name in ("linear", "auto")}
    if learned["auto"][0].learned is not None and learned["auto"][0].learned.kind == "linear":
        del learned["auto"]
    training = (time.process_time() - started) / len(learned)
    state = learned["linear"][1]
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
    for name, (kernel, last) in learned.items():
        counted = CountedWeight(model)
        contestants[f"self-learning, {name}"] = Contestant(
            _counted(kernel, counted), counted, last, int(steps["self-learning"])
        )
    gradient = learned["linear"][0].linear
    if gradient is not None:
        counted = CountedWeight(model)
        hybrid_learning = SphereHMC(gradient, n_steps=HYBRID_STEPS, log_weight=counted)
        contestants["self-learning hmc"] = Contestant(
            _tuned(hybrid_learning, state, seed), counted, state, int(steps["self-learning"]) // 4
        )
    found = measure(contestants, model, case.signs, seed=seed)
    table = {name: m.as_dict() for name, m in found.items()}
    if not direct:
        table["metropolis"] = _as_metropolis(case, found["metropolis"], local, seed)
    return {
        "case": case.state_dict(),
        "kernels": table,
        "learned": {
            name: {
                "kind": kernel.learned.kind,
                "times": kernel.learned.times,
                "variances": dict(kernel.learned.variances),
            }
            for name, (kernel, _) in learned.items()
            if kernel.learned is not None
        },
        "training_cpu_seconds": training,
        "ratios": _ratios(table, training),
    }


def _learned(case: Case, name: str, n_chains: int, seed: int) -> tuple[SelfLearner, ChainState]:
    model, shells = case.model, case.shells
    kernel = SelfLearner(model, shells, kinds=model_kinds(name, model, shells), seed=seed)
    rng = np.random.default_rng(seed)
    state = kernel.start(random_spins(rng, n_chains, model.n_sites))
    return kernel, warm_up(kernel, state, rng, 2 * kernel.least_warmup)


def _counted(kernel: SelfLearner, weight: CountedWeight) -> SelfLearning:
    return SelfLearning(weight, kernel.inner)


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


def _ratios(table: Mapping[str, Mapping[str, Any]], training: float) -> dict[str, Any]:
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
                training / saved if saved > 0.0 else None
            )
        ratios[name] = entry
    return ratios
