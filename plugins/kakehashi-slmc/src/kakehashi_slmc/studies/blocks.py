"""Cost of an independent sample of a large lattice against the size of the block that moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kakehashi_slmc.block_moves import BlockSweeps, best_block_size
from kakehashi_slmc.effective_training import expected_acceptance, residual_variance
from kakehashi_slmc.heat_bath import PairSweeps
from kakehashi_slmc.linear_model import LinearModel
from kakehashi_slmc.self_learning import Inner, SelfLearning
from kakehashi_slmc.studies.cases import Case, configurations
from kakehashi_slmc.studies.measured_steps import Contestant, CountedWeight, measure


def block_study(task: Mapping[str, Any]) -> dict[str, Any]:
    """Measure blocks of several sizes in turns; the largest is the whole lattice.

    Args:
        task: "case", "sizes", "n_chains", "n_training", "n_steps" and "seed".
    """
    case, seed = Case(**task["case"]), int(task["seed"])
    model, shells = case.model, case.shells
    data = configurations(
        case, n_chains=int(task["n_chains"]), n_steps=int(task["n_training"]), seed=seed
    )
    linear = LinearModel.fit(shells, data.sample.spins, data.sample.log_weights)
    variance = residual_variance(data.validation.log_weights, linear(data.validation.spins))
    per_site = variance / model.n_sites
    sweeps = PairSweeps(linear.couplings)
    contestants = {}
    for size in task["sizes"]:
        weight = CountedWeight(model)
        inner: Inner = sweeps if size == model.n_sites else BlockSweeps(sweeps, shells, int(size))
        contestants[str(size)] = Contestant(
            SelfLearning(weight, inner), weight, data.last, int(task["n_steps"])
        )
    found = measure(contestants, model, case.signs, seed=seed)
    rows = [
        {
            "size": int(name),
            "model_acceptance": expected_acceptance(per_site * int(name)),
            **measured.as_dict(),
            "diagonalizations_per_sample": {
                o: 2.0 * tau * measured.diagonalizations for o, tau in measured.tau.items()
            },
        }
        for name, measured in found.items()
    ]
    best = min(
        rows, key=lambda row: float(np.mean(list(row["diagonalizations_per_sample"].values())))
    )
    return {
        "case": case.state_dict(),
        "variance_per_site": per_site,
        "best_size_of_the_model": best_block_size(per_site),
        "best_size_measured": best["size"],
        "rows": rows,
    }
