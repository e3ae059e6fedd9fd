"""Networks that follow imaginary time, against all energies of small systems.

    python benchmarks/purified_states.py

writes benchmarks/results/purified_states.json: the critical Ising ring of 6 spins by a restricted Boltzmann
machine and by learned gates, the Heisenberg ring of 8 spins (S = 1/2 units) by learned gates.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from quspin.basis import spin_basis_1d

from kakehashi_core.files import write_json
from kakehashi_dbm import PurifiedNQS
from kakehashi_quspin import SpinModel, exact_thermal

BETAS = (1.0, 2.0, 4.0)
PACKAGES = ("kakehashi-dbm", "kakehashi-quspin", "quspin", "numpy", "numba")


def ising(n: int) -> tuple[list[Any], Any]:
    """Return the critical Ising ring."""
    bonds = [[-1.0, i, (i + 1) % n] for i in range(n)]
    return [["zz", bonds], ["x", [[-1.0, i] for i in range(n)]]], spin_basis_1d(n)


def heisenberg(n: int) -> tuple[list[Any], Any]:
    """Return the antiferromagnetic ring."""
    bonds = [[1.0, i, (i + 1) % n] for i in range(n)]
    return [[letters, bonds] for letters in ("xx", "yy", "zz")], spin_basis_1d(n, pauli=0)


def main() -> None:
    """Run, print and write."""
    rows = []
    cases = (
        ("Ising ring, 6 spins", *ising(6), "rbm"),
        ("Ising ring, 6 spins", *ising(6), "gates"),
        ("Heisenberg ring, 8 spins", *heisenberg(8), "gates"),
    )
    for name, static, basis, ansatz in cases:
        for beta in BETAS:
            started = time.process_time()
            thermal = PurifiedNQS(
                SpinModel.from_quspin(static, basis), beta=beta, ansatz=ansatz, seed=1
            )
            energy = thermal.energy().mean
            exact = exact_thermal(static, basis, beta=beta).energy.mean
            row = {
                "model": name,
                "ansatz": ansatz,
                "beta": beta,
                "energy": energy,
                "exact": exact,
                "relative error": energy / exact - 1.0,
                "parameters": thermal.n_parameters,
                "CPU s": time.process_time() - started,
            }
            rows.append(row)
            print(row, flush=True)
    write_json(
        Path(__file__).parent / "results" / "purified_states.json",
        {"versions": {k: version(k) for k in PACKAGES}, "rows": rows},
    )


if __name__ == "__main__":
    main()
