"""Thermal states of spin models: errors at equal CPU time beside exact solutions, pyalps and TeNPy.

    python -m venv peers && peers/bin/pip install pyalps physics-tenpy
    python benchmarks/thermal_spins.py --peer peers/bin/python

writes benchmarks/results/thermal_spins.json. Everything runs on one core, one after the other; ``--seconds``
is the CPU time of each point, for us and for the loop code of pyalps (ALPS 3, continuous time). Without
``--peer`` the columns of the others stay empty. ``--only ring`` and so on runs a part.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from quspin.basis import spin_basis_1d
from quspin.operators import hamiltonian

from kakehashi_core.files import write_json
from kakehashi_core.results import Estimate
from kakehashi_core.threads import thread_limit
from kakehashi_dbm import ThermalDBM, chain_thermodynamics, ring_thermodynamics, thermal_curve
from kakehashi_quspin import SpinModel

PACKAGES = ("kakehashi-core", "kakehashi-quspin", "kakehashi-dbm", "quspin", "numpy", "numba")
RESULTS = Path(__file__).parent / "results"
PILOT = 20

LOOP_CODE = """
import json, os, resource, sys, tempfile
import pyalps
for folder, _, files in os.walk(os.path.dirname(pyalps.__file__)):
    if "lattices.xml" in files:
        os.environ["ALPS_XML_PATH"] = folder
task = json.loads(sys.argv[1])
os.chdir(tempfile.mkdtemp())
common = {"MODEL": "spin", "local_S": 0.5, "ALGORITHM": "loop", "THERMALIZATION": 500}
def run(sweeps):
    file = pyalps.writeInputFiles(f"p{sweeps}", [{**common, **task["model"], "SWEEPS": sweeps}])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pyalps.runApplication("loop", file, writexml=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    names = ["Energy Density", "Specific Heat"]
    data = pyalps.loadMeasurements(pyalps.getResultFiles(prefix=f"p{sweeps}"), names)
    found = {s.props["observable"]: [float(s.y[0].mean), float(s.y[0].error)] for s in data[0]}
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, found
first, _ = run(2000)
second, _ = run(6000)
seconds, found = run(int(6000 + 4000 * (task["seconds"] - second) / max(second - first, 0.05)))
print("RESULT" + json.dumps({"CPU s": seconds, **found}))
"""

PURIFICATION = """
import json, sys, time
from tenpy.models.tf_ising import TFIChain
from tenpy.networks.purification_mps import PurificationMPS
from tenpy.algorithms.purification import PurificationTEBD
task = json.loads(sys.argv[1])
model = TFIChain({"L": task["n"], "J": 1.0, "g": 1.0, "bc_MPS": "finite"})
start = time.process_time()
psi = PurificationMPS.from_infiniteT(model.lat.mps_sites(), bc="finite")
cut = {"chi_max": task["chi"], "svd_min": 1e-10}
options = {"trunc_params": cut, "order": 2, "dt": task["dt"], "N_steps": 1}
engine = PurificationTEBD(psi, model, options)
steps = round(task["beta"] / (2 * task["dt"]))
for _ in range(steps):
    engine.run_imaginary(task["dt"])
energy = sum(model.bond_energies(psi))
print("RESULT" + json.dumps({"CPU s": time.process_time() - start, "energy": float(energy) / task["n"]}))
"""


def ising_ring(n: int) -> list[Any]:
    """Return the critical transverse-field Ising ring."""
    bonds = [[-1.0, i, (i + 1) % n] for i in range(n)]
    return [["zz", bonds], ["x", [[-1.0, i] for i in range(n)]]]


def square_bonds(side: int) -> list[tuple[int, int]]:
    """Return the bonds of a periodic square lattice."""
    return [
        (x * side + y, ((x + dx) % side) * side + (y + dy) % side)
        for x in range(side)
        for y in range(side)
        for dx, dy in ((1, 0), (0, 1))
    ]


def ising_square(side: int, field: float) -> list[Any]:
    """Return the transverse-field Ising model on a periodic square."""
    bonds = [[-1.0, i, j] for i, j in square_bonds(side)]
    return [["zz", bonds], ["x", [[-field, i] for i in range(side**2)]]]


def heisenberg(bonds: list[tuple[int, int]]) -> list[Any]:
    """Return an antiferromagnet, J = 1 in spin operators."""
    return [[s, [[1.0, i, j] for i, j in bonds]] for s in ("xx", "yy", "zz")]


def sampled(model: SpinModel, beta: float, seconds: float, **options: Any) -> tuple[Any, float]:
    """Return a sampler that has measured its energy for so many CPU seconds, and the seconds."""
    started = time.process_time()
    made = ThermalDBM(model, beta=beta, **options)
    made.run(PILOT)
    made.energy()
    once = time.process_time()
    made.run(PILOT)
    made.energy()
    share = (time.process_time() - once) / PILOT
    left = seconds - (time.process_time() - started)
    made.run(max(1, int(left / share)))
    made.energy()
    return made, time.process_time() - started


def row_of(found: Estimate, n: int, exact: float | None, seconds: float) -> dict[str, Any]:
    """Return an average per site beside its exact value."""
    row = {"mean": found.mean / n, "sigma": found.stderr / n, "CPU s": seconds}
    if exact is not None:
        row |= {"exact": exact / n, "error": (found.mean - exact) / n, "z": found.z_score(exact)}
    return row


def peer(options: argparse.Namespace, program: str, task: dict[str, Any]) -> dict[str, Any] | None:
    """Run a program of another package; None without its interpreter."""
    if options.peer is None:
        return None
    done = subprocess.run(
        [str(options.peer), "-c", program, json.dumps(task)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.rpartition("RESULT")[2])
    return found


def ring(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Energy, specific heat and entropy of the ring of 64 against free fermions and the loop code."""
    n, rows = 64, []
    model = SpinModel.from_quspin(ising_ring(n), n)
    for beta in (2.0, 5.0, 10.0):
        exact = ring_thermodynamics(n, 1.0, 1.0, beta)
        made, seconds = sampled(model, beta, options.seconds, seed=1)
        row: dict[str, Any] = {
            "beta": beta,
            "energy": row_of(made.energy(), n, exact.energy, seconds),
        }
        row["slices"] = made.n_slices
        spent = []
        for number in (PILOT, 2 * PILOT):
            started = time.process_time()
            thermal_curve(model, beta, n_measurements=number, seed=1)
            spent.append(time.process_time() - started)
        share = (spent[1] - spent[0]) / PILOT
        number = PILOT + int((options.seconds - spent[0]) / share)
        started = time.process_time()
        curve = thermal_curve(model, beta, n_measurements=number, seed=1)
        seconds = time.process_time() - started
        row["specific heat"] = row_of(curve.specific_heat(beta), n, exact.specific_heat, seconds)
        row["entropy"] = row_of(curve.entropy(beta), n, exact.entropy(beta), seconds)
        task = {"LATTICE": "chain lattice", "L": n, "T": 1.0 / beta, "Jz": -4, "Jxy": 0, "Gamma": 2}
        row["pyalps"] = peer(options, LOOP_CODE, {"model": task, "seconds": options.seconds})
        if row["pyalps"]:
            others = row["pyalps"]
            cost = np.sqrt(others["CPU s"] / row["energy"]["CPU s"])
            row["sigma(E) of pyalps over ours"] = (
                others["Energy Density"][1] * cost / row["energy"]["sigma"]
            )
            cost = np.sqrt(others["CPU s"] / seconds)
            row["sigma(C) of pyalps over ours"] = (
                others["Specific Heat"][1] * cost / row["specific heat"]["sigma"]
            )
        rows.append(row)
    return rows


def squares(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Near-critical Ising squares, and a Heisenberg square, against the loop code."""
    rows = []
    for side, seconds in ((6, options.seconds), (10, 2 * options.seconds)):
        n = side**2
        model = SpinModel.from_quspin(ising_square(side, 3.0), n)
        task = {"LATTICE": "square lattice", "L": side, "T": 0.5, "Jz": -4, "Jxy": 0, "Gamma": 6}
        found = {"model": f"Ising, {side} x {side}, G = 3, beta = 2"}
        rows.append(_beside(options, found, model, 2.0, task, seconds))
    side = 8
    model = SpinModel.from_quspin(heisenberg(square_bonds(side)), side**2, pauli=0)
    task = {"LATTICE": "square lattice", "L": side, "T": 0.5, "J": 1}
    found = {"model": "Heisenberg, 8 x 8, T = 0.5"}
    rows.append(_beside(options, found, model, 2.0, task, options.seconds))
    return rows


def _beside(
    options: argparse.Namespace,
    found: dict[str, Any],
    model: SpinModel,
    beta: float,
    task: dict[str, Any],
    seconds: float,
    **sampler_options: Any,
) -> dict[str, Any]:
    made, spent = sampled(model, beta, seconds, seed=1, **sampler_options)
    n = model.n_sites
    row: dict[str, Any] = {**found, "energy": row_of(made.energy(), n, None, spent)}
    bias, better = made.trotter_bias(), made.extrapolated()
    row["error of slices"] = {"mean": bias.mean / n, "sigma": bias.stderr / n}
    row["extrapolated"] = {"mean": better.mean / n, "sigma": better.stderr / n}
    row["pyalps"] = peer(options, LOOP_CODE, {"model": task, "seconds": seconds})
    if row["pyalps"]:
        mean, sigma = row["pyalps"]["Energy Density"]
        row["z to pyalps"] = better.z_score(mean * n, sigma * n)
        row["sigma(E) of pyalps over ours"] = (
            sigma / row["energy"]["sigma"] * np.sqrt(row["pyalps"]["CPU s"] / spent)
        )
    return row


def disorder(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A chain of 48 with random couplings and fields of both signs, against free fermions."""
    n, rows = 48, []
    rng = np.random.default_rng(1)
    couplings, fields = rng.normal(size=n - 1), rng.normal(size=n)
    static = [
        ["zz", [[-float(c), i, i + 1] for i, c in enumerate(couplings)]],
        ["x", [[-float(c), i] for i, c in enumerate(fields)]],
    ]
    model = SpinModel.from_quspin(static, n)
    for beta in (1.0, 2.0, 5.0):
        made, seconds = sampled(model, beta, options.seconds / 3.0, seed=1)
        exact = chain_thermodynamics(couplings, fields, beta).energy
        rows.append({"beta": beta, **row_of(made.energy(), n, exact, seconds)})
    return rows


def heisenberg_ring(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The Heisenberg ring of 16 against all of its 65536 energies."""
    n = 16
    bonds = [(i, (i + 1) % n) for i in range(n)]
    energies, weights = [], []
    for up in range(n // 2 + 1):
        for k in range(n // 2 + 1):
            basis = spin_basis_1d(n, Nup=up, kblock=k, pauli=0)
            if not basis.Ns:
                continue
            quiet = {"check_herm": False, "check_symm": False, "check_pcon": False}
            block = hamiltonian(heisenberg(bonds), [], basis=basis, dtype=np.complex128, **quiet)
            found = block.eigvalsh()
            # Spin flip and reflection: blocks come in pairs.
            pairs = (1 if 2 * up == n else 2) * (1 if k in (0, n // 2) else 2)
            energies.append(found)
            weights.append(np.full(len(found), pairs))
    spectrum, degeneracy = np.concatenate(energies), np.concatenate(weights)
    if int(degeneracy.sum()) != 1 << n:
        raise RuntimeError("blocks do not add up to all states")
    rows = []
    model = SpinModel.from_quspin(heisenberg(bonds), n, pauli=0)
    for beta in (1.0, 2.0, 5.0):
        p = degeneracy * np.exp(-beta * (spectrum - spectrum.min()))
        exact = float(p @ spectrum / p.sum())
        made, seconds = sampled(model, beta, options.seconds / 3.0, seed=1)
        row = {"beta": beta, **row_of(made.energy(), n, exact, seconds)}
        rows.append({**row, "extrapolated": row_of(made.extrapolated(), n, exact, 1.5 * seconds)})
    return rows


def open_chain(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The open critical Ising chain of 32 beside purified matrix-product states."""
    n, rows = 32, []
    static = [
        ["zz", [[-1.0, i, i + 1] for i in range(n - 1)]],
        ["x", [[-1.0, i] for i in range(n)]],
    ]
    model = SpinModel.from_quspin(static, n)
    for beta in (2.0, 5.0):
        exact = chain_thermodynamics(np.ones(n - 1), np.ones(n), beta).energy
        task = {"n": n, "beta": beta, "dt": 0.05, "chi": 32}
        row: dict[str, Any] = {"beta": beta, "TeNPy": peer(options, PURIFICATION, task)}
        seconds = row["TeNPy"]["CPU s"] if row["TeNPy"] else options.seconds / 3.0
        if row["TeNPy"]:
            row["TeNPy"]["error"] = row["TeNPy"]["energy"] - exact / n
        made, spent = sampled(model, beta, seconds, seed=1)
        rows.append({**row, "ours": row_of(made.energy(), n, exact, spent)})
    return rows


def cost(options: argparse.Namespace) -> list[dict[str, Any]]:
    """CPU seconds to an error of 1e-4 per site, by size and temperature."""
    rows = []
    for n in (16, 32, 64, 128, 256):
        model = SpinModel.from_quspin(ising_ring(n), n)
        for beta in (2.0, 5.0, 10.0):
            made, seconds = sampled(model, beta, options.seconds / 10.0, seed=1)
            sigma = made.energy().stderr / n
            row = {"sites": n, "beta": beta, "slices": made.n_slices}
            row["CPU s for 1e-4"] = seconds * (sigma / 1e-4) ** 2
            row["tau_int"] = made.energy().tau_int
            rows.append(row)
    return rows


def gpu(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Updates of many loops on a GPU beside one core: spins of all slices and chains in a second."""
    import torch

    if not torch.cuda.is_available():
        return [{"device": "none", "seconds": options.seconds}]
    rows = []
    model = SpinModel.from_quspin(ising_square(10, 3.0), 100)
    for device, n_chains, n in (("cpu", 8, 40), ("cuda", 256, 20), ("cuda", 1024, 20)):
        made = ThermalDBM(model, beta=2.0, n_chains=n_chains, warmup=0, seed=1, device=device)
        made.run(2)
        started = time.perf_counter()
        made.run(n)
        spent = time.perf_counter() - started
        spins = n * n_chains * made.n_slices * model.n_sites
        name = torch.cuda.get_device_name() if device == "cuda" else "one core"
        rows.append({"device": name, "chains": n_chains, "spins per second": spins / spent})
    return rows


PARTS: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
    "ring": ring,
    "squares": squares,
    "disorder": disorder,
    "heisenberg_ring": heisenberg_ring,
    "open_chain": open_chain,
    "cost": cost,
    "gpu": gpu,
}


def main() -> None:
    """Run the parts and write what they found; parts that were not run stay as they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, help="Python with pyalps and physics-tenpy")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", choices=sorted(PARTS), action="append")
    parser.add_argument("--json", type=Path, default=RESULTS / "thermal_spins.json")
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(options.json.read_text()) if options.json.is_file() else {}
    with thread_limit(1):
        for name in options.only or PARTS:
            found[name] = PARTS[name](options)
            for row in found[name]:
                print(name, json.dumps(row), flush=True)
            found["versions"] = {
                "python": platform.python_version(),
                **{p: version(p) for p in PACKAGES},
            }
            found["seconds"] = options.seconds
            write_json(options.json, found)


if __name__ == "__main__":
    main()
