"""Learned layers against equal ones: infidelity, energies after transfer and refinement, cost of sampling.

    python benchmarks/compact_networks.py

writes benchmarks/results/compact_networks.json. The critical Ising ring, J = G = 1; infidelities and energies
of networks are exact (free fermions). "transferred": fitted at N = 8 and used at N = 64; "refined": then
moved by sampling at N = 64 (stochastic reconfiguration with replicas); "fitted": the exact optimum at N = 64.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from kakehashi_core.files import write_json
from kakehashi_core.threads import thread_limit
from kakehashi_dbm import (
    CompactNetwork,
    ThermalDBM,
    fit_compact,
    refine,
    ring_energy,
    ring_infidelity,
    ring_thermodynamics,
)
from kakehashi_quspin import SpinModel

SMALL, LARGE = 8, 64
CASES = ((4.0, 4), (10.0, 6))
PACKAGES = ("kakehashi-core", "kakehashi-quspin", "kakehashi-dbm", "numpy", "numba")
RESULTS = Path(__file__).parent / "results"


def ring(n: int) -> SpinModel:
    """Return the critical ring."""
    bonds = [[-1.0, i, (i + 1) % n] for i in range(n)]
    return SpinModel.from_quspin([["zz", bonds], ["x", [[-1.0, i] for i in range(n)]]], n)


def judged(network: CompactNetwork, n: int) -> dict[str, float]:
    """Return error of the energy and infidelity, per site."""
    beta = network.beta
    exact = ring_thermodynamics(n, 1.0, 1.0, beta).energy
    infidelity = float(np.exp(ring_infidelity(n, 1.0, 1.0, beta)(network)))
    return {
        "energy error per site": (ring_energy(network, n, 1.0, 1.0) - exact) / n,
        "infidelity": infidelity,
        "infidelity per site": -float(np.log1p(-infidelity)) / n,
    }


def equal_layers(beta: float, target: dict[str, float]) -> dict[str, int]:
    """Return how many equal layers have no larger an error, by energy and by infidelity."""
    found: dict[str, int] = {}
    for n_layers in range(1, 400):
        here = judged(CompactNetwork.uniform(beta, n_layers), LARGE)
        for key in ("energy error per site", "infidelity per site"):
            if key not in found and abs(here[key]) <= abs(target[key]):
                # The error of the energy crosses zero on its way: count where it stays small.
                after = judged(CompactNetwork.uniform(beta, n_layers + 4), LARGE)
                if abs(after[key]) <= abs(target[key]):
                    found[key] = n_layers
        if len(found) == 2:
            break
    return found


def sampling_cost(network: CompactNetwork | None, beta: float, seconds: float) -> dict[str, float]:
    """Return sigma^2 of the energy of a site times CPU seconds."""
    started = time.process_time()
    made = ThermalDBM(ring(LARGE), beta=beta, network=network, seed=1)
    while time.process_time() - started < seconds:
        made.run(50)
        made.energy()
    spent, energy = time.process_time() - started, made.energy()
    sigma = energy.stderr / LARGE
    return {
        "slices": made.n_slices,
        "sigma": sigma,
        "CPU s": spent,
        "sigma^2 CPU": sigma**2 * spent,
    }


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path, default=RESULTS / "compact_networks.json")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with thread_limit(1):
        for beta, n_layers in CASES:
            small = fit_compact(beta, n_layers, ring_infidelity(SMALL, 1.0, 1.0, beta))
            started = time.process_time()
            refined = refine(
                small,
                ring(LARGE),
                n_iterations=options.iterations,
                seed=1,
            ).network
            spent = time.process_time() - started
            fitted = fit_compact(beta, n_layers, ring_infidelity(LARGE, 1.0, 1.0, beta))
            row: dict[str, Any] = {
                "beta": beta,
                "layers": n_layers,
                "parameters": small.n_parameters,
            }
            row["at N = 8"] = judged(small, SMALL)
            for name, network in (("transferred", small), ("refined", refined), ("fitted", fitted)):
                row[name] = judged(network, LARGE)
                row[name]["equal layers of no larger error"] = equal_layers(beta, row[name])
            row["refined"]["CPU s"] = spent
            row["sampling"] = {
                "learned": sampling_cost(fitted, beta, options.seconds),
                "equal": sampling_cost(None, beta, options.seconds),
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    write_json(
        options.json,
        {
            "settings": {"iterations": options.iterations, "seconds": options.seconds},
            "rows": rows,
            "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        },
    )


if __name__ == "__main__":
    main()
