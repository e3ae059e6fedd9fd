"""Self-consistent field calculations of many geometries, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.contracts import GuessRequest
from kakehashi_core.ensembles import run_ensemble

FloatArray = npt.NDArray[np.float64]

VERSION = "1"
"""Changes when a stored calculation holds something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What is calculated.

    Attributes:
        xc: Functional, a name of libxc.
        basis: Orbital basis.
        grid: PySCF grid level.
        conv_tol: Change of the energy at convergence, hartree.
    """

    xc: str
    basis: str = "def2-svp"
    grid: int = 3
    conv_tol: float = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calculation:
    """A converged calculation, see ``kakehashi_pyscf.SCFRecord``.

    Attributes:
        request: What was known before.
        hamiltonian: At convergence, (n_ao, n_ao), hartree.
        iterates: Hamiltonians on the way, (n_cycles, n_ao, n_ao).
        images: Kohn-Sham matrices of their densities.
        energy: Hartree.
        forces: (n_atoms, 3), hartree/bohr, or None.
        n_builds: Fock matrices that were built.
        reference_error: Estimated energy error of the density of the first Fock matrix, hartree.
    """

    request: GuessRequest
    hamiltonian: FloatArray = field(repr=False)
    iterates: FloatArray = field(repr=False)
    images: FloatArray = field(repr=False)
    energy: float
    forces: FloatArray | None = field(repr=False)
    n_builds: int
    reference_error: float


def calculate(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run one calculation.

    Args:
        request: "numbers", "positions" (Å), "xc", "basis", "grid", "conv_tol", "forces" (bool) and "iterates"
            (bool, whether to keep them).

    Returns:
        Fields of ``Calculation`` as plain data and arrays.
    """
    from pyscf import dft, gto

    import kakehashi_pyscf as kp

    mol = gto.M(
        atom=[
            (int(z), tuple(x))
            for z, x in zip(request["numbers"], np.asarray(request["positions"]), strict=True)
        ],
        basis=request["basis"],
        verbose=0,
    )
    mf = dft.RKS(mol, xc=request["xc"])
    mf.grids.level = int(request["grid"])
    mf.conv_tol = float(request["conv_tol"])
    found = kp.record_scf(mf, forces=bool(request["forces"]))
    known = found.request
    first = found.images[0]
    result: dict[str, Any] = {
        "numbers": known.numbers,
        "positions": known.positions,
        "shells": np.array(known.shells),
        "fingerprint": dict(known.fingerprint),
        "overlap": known.overlap,
        "start": found.start,
        **{f"start {name}": matrix for name, matrix in known.start_hamiltonians.items()},
        "hamiltonian": found.hamiltonian,
        "energy": found.energy,
        "n_builds": found.n_builds,
        "reference_error": kp.estimated_energy_error(
            first, found.iterates[0], known.overlap, mol.nelectron
        ),
    }
    if request["iterates"]:
        result["iterates"], result["images"] = found.iterates, found.images
    if found.forces is not None:
        result["forces"] = found.forces
    return result


def load_calculations(
    geometries: Iterable[tuple[Sequence[int] | npt.NDArray[np.int64], FloatArray]],
    directory: Path,
    *,
    level: Level,
    n_forces: int = 0,
    iterates: bool = True,
    executor: Executor | None = None,
    description: str = "calculations",
) -> list[Calculation]:
    """Return calculations of geometries; whatever is not on disk in ``directory`` yet is computed.

    Args:
        geometries: Atomic numbers and positions, Å.
        directory: Where results are kept.
        level: What is calculated.
        n_forces: Of so many, from the end, forces as well.
        iterates: Whether to keep the Hamiltonians on the way.
        executor: Runs the calculations; None for one after the other in this process.
        description: For the progress bar.
    """
    listed = list(geometries)
    requests = [
        {
            "numbers": [int(z) for z in numbers],
            "positions": np.asarray(positions, dtype=np.float64),
            "xc": level.xc,
            "basis": level.basis,
            "grid": level.grid,
            "conv_tol": level.conv_tol,
            "forces": k >= len(listed) - n_forces,
            "iterates": iterates,
        }
        for k, (numbers, positions) in enumerate(listed)
    ]
    found = run_ensemble(
        calculate,
        requests,
        directory=directory,
        executor=executor,
        description=description,
        version=VERSION,
    )
    return [_calculation(one) for one in found]


def _calculation(data: Mapping[str, Any]) -> Calculation:
    n = len(data["overlap"])
    empty = np.zeros((0, n, n))
    return Calculation(
        request=GuessRequest(
            numbers=np.asarray(data["numbers"]),
            positions=np.asarray(data["positions"]),
            charge=0,
            spin=0,
            shells=[(int(a), int(b), int(c)) for a, b, c in data["shells"]],
            overlap=np.asarray(data["overlap"]),
            start_hamiltonians={
                "minao": np.asarray(data["start"]),
                "sap": np.asarray(data["start sap"]),
                "hcore": np.asarray(data["start hcore"]),
            },
            fingerprint=dict(data["fingerprint"]),
        ),
        hamiltonian=np.asarray(data["hamiltonian"]),
        iterates=np.asarray(data.get("iterates", empty)),
        images=np.asarray(data.get("images", empty)),
        energy=float(data["energy"]),
        forces=np.asarray(data["forces"]) if "forces" in data else None,
        n_builds=int(data["n_builds"]),
        reference_error=float(data["reference_error"]),
    )
