"""Readers of two public layouts of Kohn-Sham matrices; the files stay with the user.

SchNOrb's ASE databases hold PBE/def2-SVP matrices of ORCA; QH9's sqlite files hold B3LYP/def2-SVP matrices of
PySCF. What a network needs besides is calculated with PySCF, which checks order and units at the same time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError
from kakehashi_deqh.atomic_units import BOHR
from kakehashi_deqh.training.scf_data import Calculation

FloatArray = npt.NDArray[np.float64]

ORCA_ORDER = {0: [0], 1: [1, 2, 0], 2: [4, 2, 0, 1, 3]}
"""Place in ORCA's order (z, x, y; z2, xz, yz, x2-y2, xy) of each function in PySCF's."""
OVERLAP_TOLERANCE = 1e-5
SHORTEST = 1.2
"""Lengths of the shortest bond below this are in Å, above it in bohr: H-H has 0.74 Å, 1.40 bohr."""
QH9_XC = "b3lyp5"
"""What "b3lyp" meant in PySCF 2.2, with which the data were made."""


def read_schnorb(path: str | Path, *, stop: int | None = None) -> Iterator[Calculation]:
    """Yield the calculations of an ASE database of SchNOrb.

    Args:
        path: Of the database.
        stop: Largest number of rows.

    Raises:
        InvalidInputError: If a row has no matrices, or its overlap is not that of PBE/def2-SVP.

    Source:
        K. T. Schütt et al., Nat. Commun. 10, 5024 (2019).
    """
    from ase.db import connect

    with connect(_existing(path)) as database:
        for k, row in enumerate(database.select()):
            if stop is not None and k >= stop:
                return
            missing = {"hamiltonian", "overlap"} - set(row.data)
            if missing:
                raise InvalidInputError(
                    f"row {row.id} of {path} has no {' and no '.join(sorted(missing))}"
                )
            request = _request(row.numbers, np.asarray(row.positions), "pbe")
            order = orca_order(request.shells)
            n = len(order)
            found = {
                key: np.asarray(row.data[key], dtype=np.float64)
                for key in ("hamiltonian", "overlap")
            }
            if found["overlap"].shape != (n, n):
                raise InvalidInputError(
                    f"row {row.id} of {path} has {found['overlap'].shape} matrices; def2-SVP has {n} "
                    "functions for this molecule"
                )
            found = {key: matrix[np.ix_(order, order)] for key, matrix in found.items()}
            error = float(np.abs(found["overlap"] - request.overlap).max())
            if error > OVERLAP_TOLERANCE:
                raise InvalidInputError(
                    f"the overlap of row {row.id} of {path} differs by {error:.1e} from that of def2-SVP at "
                    "this geometry: another basis set, unit or order of functions"
                )
            forces = row.data.get("forces")
            yield _calculation(request, found["hamiltonian"], row.data.get("energy"), forces)


def read_qh9(path: str | Path, *, stop: int | None = None) -> Iterator[Calculation]:
    """Yield the calculations of a QH9 file, stable molecules or dynamics; unconverged ones are left out.

    Args:
        path: Of the sqlite file.
        stop: Largest number of calculations.

    Raises:
        InvalidInputError: If the file has another layout.

    Source:
        H. Yu et al., NeurIPS 2023 datasets and benchmarks, arXiv:2306.09549.
    """
    with closing(sqlite3.connect(f"file:{_existing(path)}?mode=ro", uri=True)) as database:
        try:
            rows = database.execute("select * from data")
        except sqlite3.DatabaseError as error:
            raise InvalidInputError(f"{path} is no file of QH9: {error}") from error
        names = [column[0] for column in rows.description]
        if not {"Z", "pos", "Ham"} <= set(names):
            raise InvalidInputError(f"{path} is no file of QH9; its table has {', '.join(names)}")
        n_read = 0
        for row in rows:
            if stop is not None and n_read >= stop:
                return
            record: dict[str, Any] = dict(zip(names, row, strict=True))
            if not record.get("converged", 1):
                continue
            numbers = np.frombuffer(record["Z"], dtype="<i4").astype(np.int64)
            positions = np.frombuffer(record["pos"], dtype="<f8").reshape(-1, 3)
            if len(positions) != len(numbers):
                raise InvalidInputError(f"row {row[0]} of {path} has {len(positions)} positions")
            if _shortest(positions) > SHORTEST:
                positions = positions * BOHR
            matrix = np.frombuffer(record["Ham"], dtype="<f8")
            request = _request(numbers, positions, QH9_XC)
            n = len(request.overlap)
            if len(matrix) != n * n:
                raise InvalidInputError(
                    f"row {row[0]} of {path} has {len(matrix)} matrix elements; def2-SVP has {n * n}"
                )
            n_read += 1
            yield _calculation(request, matrix.reshape(n, n).copy(), record.get("etot"), None)


def orca_order(shells: Any) -> list[int]:
    """Return the place in ORCA's order of every function in PySCF's.

    Raises:
        InvalidInputError: If there are f functions, whose signs differ.
    """
    order: list[int] = []
    for _, degree, n in shells:
        if degree not in ORCA_ORDER:
            raise InvalidInputError(
                f"shells with l = {degree} are not supported; def2-SVP has none"
            )
        for _ in range(n):
            at = len(order)
            order += [at + k for k in ORCA_ORDER[degree]]
    return order


def _existing(path: str | Path) -> Path:
    found = Path(path)
    if not found.is_file():
        raise InvalidInputError(f"there is no file {found}")
    return found


def _shortest(positions: FloatArray) -> float:
    from scipy.spatial.distance import pdist

    return float(pdist(positions).min()) if len(positions) > 1 else 0.0


def _request(numbers: npt.NDArray[np.int64], positions: FloatArray, xc: str) -> Any:
    from pyscf import dft, gto

    import kakehashi_pyscf as kp

    mol = gto.M(
        atom=[(int(z), tuple(x)) for z, x in zip(numbers, positions, strict=True)],
        basis="def2-svp",
        verbose=0,
    )
    return kp.guess_request(dft.RKS(mol, xc=xc))


def _calculation(request: Any, hamiltonian: FloatArray, energy: Any, forces: Any) -> Calculation:
    n = len(hamiltonian)
    empty = np.zeros((0, n, n))
    return Calculation(
        request=request,
        hamiltonian=0.5 * (hamiltonian + hamiltonian.T),
        iterates=empty,
        images=empty,
        energy=float("nan") if energy is None else float(np.ravel(energy)[0]),
        forces=None if forces is None else np.asarray(forces, dtype=np.float64),
        n_builds=0,
        reference_error=float("inf"),
    )
