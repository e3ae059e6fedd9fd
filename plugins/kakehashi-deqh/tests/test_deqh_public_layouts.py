"""Readers of public layouts, on files that are written here with matrices of PySCF."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from ase import Atoms
from ase.db import connect

from kakehashi_core.errors import InvalidInputError
from kakehashi_deqh.training.public_layouts import BOHR, orca_order, read_qh9, read_schnorb

dft = pytest.importorskip("pyscf.dft", reason="the oracle is PySCF")
gto = pytest.importorskip("pyscf.gto", reason="the oracle is PySCF")
pytest.importorskip("kakehashi_pyscf", reason="overlaps are calculated with PySCF")

NUMBERS = np.array([8, 1, 1])
POSITIONS = np.array([[0.0, 0.1, 0.0], [0.2, 0.76, 0.59], [0.0, -0.76, 0.55]])


@pytest.fixture(scope="module")
def water():
    mol = gto.M(
        atom=list(zip(["O", "H", "H"], POSITIONS, strict=True)), basis="def2-svp", verbose=0
    )
    mf = dft.RKS(mol, xc="pbe")
    mf.grids.level = 1
    energy = mf.kernel()
    shells = [(mol.bas_atom(b), mol.bas_angular(b), mol.bas_nctr(b)) for b in range(mol.nbas)]
    return {"h": mf.get_fock(), "s": mf.get_ovlp(), "energy": energy, "shells": shells}


def test_the_order_of_orca(water):
    """Oracle: components as written in the manual, z x y and z2 xz yz x2-y2 xy."""
    labels = {0: ["s"], 1: ["z", "x", "y"], 2: ["z2", "xz", "yz", "x2-y2", "xy"]}
    theirs = [name for _, degree, n in water["shells"] for _ in range(n) for name in labels[degree]]
    ours = [theirs[k] for k in orca_order(water["shells"])]
    assert ours[3:9] == ["x", "y", "z"] * 2
    assert ours[9:14] == ["xy", "yz", "z2", "xz", "x2-y2"]
    with pytest.raises(InvalidInputError, match="l = 3"):
        orca_order([(0, 3, 1)])


def test_schnorb(water, tmp_path):
    """Oracle: the matrices of PySCF, put into the order of ORCA."""
    order = np.array(orca_order(water["shells"]))
    inverse = np.argsort(order)
    path = tmp_path / "schnorb_hamiltonian_water.db"
    with connect(path) as database:
        for scale in (1.0, 1.01):
            data = {
                "hamiltonian": water["h"][np.ix_(inverse, inverse)],
                "overlap": water["s"][np.ix_(inverse, inverse)],
                "energy": np.array([water["energy"]]),
                "forces": np.zeros((3, 3)),
            }
            database.write(Atoms(NUMBERS, POSITIONS * scale), data=data)
        database.write(Atoms(NUMBERS, POSITIONS), data={"energy": 0.0})
    rows = read_schnorb(path)
    one = next(rows)
    assert one.hamiltonian == pytest.approx(water["h"], abs=1e-12)
    assert one.request.overlap == pytest.approx(water["s"], abs=1e-12)
    assert one.energy == pytest.approx(water["energy"])
    assert one.request.positions == pytest.approx(POSITIONS / BOHR)
    with pytest.raises(InvalidInputError, match="differs by"):
        next(rows)
    assert len(list(read_schnorb(path, stop=1))) == 1
    with pytest.raises(InvalidInputError, match="no file"):
        next(read_schnorb(tmp_path / "none.db"))


@pytest.mark.parametrize("unit", [1.0, BOHR])
def test_qh9(water, tmp_path, unit):
    """Oracle: the matrix of PySCF; positions in Å or bohr are told apart."""
    path = tmp_path / "QH9.db"
    with sqlite3.connect(path) as database:
        database.execute("create table data (id, N, Z, pos, etot, Ham, converged)")
        for converged in (0, 1):
            row = (
                1,
                3,
                NUMBERS.astype("<i4").tobytes(),
                (POSITIONS / unit).astype("<f8").tobytes(),
                water["energy"],
                water["h"].astype("<f8").tobytes(),
                converged,
            )
            database.execute("insert into data values (?, ?, ?, ?, ?, ?, ?)", row)
    (one,) = read_qh9(path)
    assert one.hamiltonian == pytest.approx(water["h"], abs=1e-12)
    assert one.request.positions == pytest.approx(POSITIONS / BOHR)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("create table things (id)")
    with pytest.raises(InvalidInputError, match="QH9"):
        next(read_qh9(other))
