"""Energy of the frustrated J1-J2 square of 16 spins by learned gates, against exact diagonalization.

    python benchmarks/frustrated_square.py --layers 4 --json results/frustrated_square.json

S = 1/2 units, J1 = 1, J2 = 0.5, periodic 4 x 4. The exact energies are those of all 65536 states (QuSpin,
momentum and magnetization blocks). Each inverse temperature is a run of its own from high temperature on.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path

from quspin.basis import spin_basis_1d

from kakehashi_dbm import PurifiedNQS
from kakehashi_quspin import SpinModel

EXACT = {1.0: -0.30468726, 2.0: -0.41075088, 4.0: -0.49741535}
SIDE = 4


def square(second: float) -> list[list[object]]:
    """Return the operator list of the J1-J2 square."""

    def site(x: int, y: int) -> int:
        return (x % SIDE) * SIDE + y % SIDE

    bonds = []
    for x in range(SIDE):
        for y in range(SIDE):
            bonds += [[1.0, site(x, y), site(x + dx, y + dy)] for dx, dy in ((1, 0), (0, 1))]
            bonds += [[second, site(x, y), site(x + dx, y + dy)] for dx, dy in ((1, 1), (1, -1))]
    return [[letters, bonds] for letters in ("xx", "yy", "zz")]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vectors", type=int, default=8)
    parser.add_argument("--measured", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    n = SIDE**2
    model = SpinModel.from_quspin(square(0.5), spin_basis_1d(n, pauli=0))
    rows = []
    for beta, exact in EXACT.items():
        started = time.process_time()
        thermal = PurifiedNQS(
            model,
            beta=beta,
            n_layers=options.layers,
            n_vectors=options.vectors,
            n_measured=options.measured,
            growth=0.2,
            tolerance=1e-2,
            seed=options.seed,
        )
        energy = thermal.energy()
        row = {
            "beta": beta,
            "energy per site": energy.mean / n,
            "standard error": energy.stderr / n,
            "exact": exact,
            "relative error": energy.mean / n / exact - 1.0,
            "parameters": thermal.n_parameters,
            "CPU s": time.process_time() - started,
        }
        rows.append(row)
        print(row, flush=True)
    if options.json:
        names = ("kakehashi-dbm", "kakehashi-quspin", "quspin", "numpy", "numba")
        settings = {k: v for k, v in vars(options).items() if k != "json"}
        found = {"settings": settings, "versions": {k: version(k) for k in names}, "rows": rows}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
