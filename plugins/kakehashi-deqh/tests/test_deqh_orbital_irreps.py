"""Blocks between orbitals: what PySCF computes for a turned or mirrored molecule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from e3nn import o3

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_deqh.orbital_layout import AXES, OrbitalLayout
from kakehashi_deqh.pair_irreps import pair_irreps

ATOMS = ["O", "H", "C", "H"]
POSITIONS = np.random.default_rng(0).normal(size=(4, 3)) * 1.6


def shells_of(mol):
    return [(mol.bas_atom(b), mol.bas_angular(b), mol.bas_nctr(b)) for b in range(mol.nbas)]


def matrices(basis, positions):
    gto = pytest.importorskip("pyscf.gto", reason="the oracle is PySCF")
    atom = list(zip(ATOMS, positions.tolist(), strict=True))
    mol = gto.M(atom=atom, basis=basis, unit="bohr", charge=0, spin=0, verbose=0)
    h = mol.intor("int1e_kin") + mol.intor("int1e_nuc")
    return shells_of(mol), mol.intor("int1e_ovlp"), h


def turned(mirror):
    r = torch.linalg.qr(
        torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )[0]
    r = r * torch.sign(torch.linalg.det(r))
    return -r if mirror else r


def representation(irreps, turn):
    """Return what irreps do under a rotation or mirror; e3nn's own D_from_matrix is good to 1e-7 only."""
    points = torch.randn(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    proper = turn * torch.sign(torch.linalg.det(turn))
    blocks = []
    for mul, ir in irreps:
        here, there = (
            o3.spherical_harmonics(ir.l, x, normalize=True) for x in (points, points @ proper.T)
        )
        d = torch.linalg.lstsq(here, there).solution.T
        blocks += [d if torch.linalg.det(turn) > 0 else ir.p * d] * mul
    return torch.block_diag(*blocks)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("basis", ["sto-3g", "6-31g*", "def2-svp", "def2-tzvp", "cc-pvdz"])
def test_blocks_turn_with_the_molecule(basis, mirror):
    """Oracle: overlap and core Hamiltonian by PySCF of the turned molecule; up to f shells, 1e-12."""
    r = turned(mirror)
    shells, *before = matrices(basis, POSITIONS)
    _, *after = matrices(basis, POSITIONS @ r.numpy().T)
    layout = OrbitalLayout.of(shells, 4)
    axes = torch.eye(3, dtype=torch.float64)[list(AXES)]
    turn = axes @ r @ axes.T
    for old, new in zip(before, after, strict=True):
        for i in range(4):
            for j in range(4):
                change = pair_irreps(layout.counts[i], layout.counts[j])
                x, y = (
                    change.taken(torch.as_tensor(layout.block(layout.taken(m), i, j)))
                    for m in (old, new)
                )
                d = representation(change.irreps, turn)
                assert torch.allclose(d @ x, y, atol=2e-12 * float(x.abs().max().clamp(min=1.0)))


def test_the_change_of_basis_is_orthogonal():
    """Oracle: its inverse is its transpose; counts by hand for 3s2p1d."""
    change = pair_irreps((3, 2, 1), (3, 2, 1))
    assert str(change.irreps) == "14x0e+16x1o+5x1e+4x2o+11x2e+4x3o+1x3e+1x4e"
    eye = change.basis @ change.basis.T
    assert torch.allclose(eye, torch.eye(196, dtype=torch.float64), atol=1e-14)
    blocks = torch.randn(2, 3, 14, 5, dtype=torch.float64)
    other = pair_irreps((3, 2, 1), (2, 1))
    assert torch.allclose(other.given_back(other.taken(blocks)), blocks, atol=1e-13)
    assert other.irreps.dim == 70


def test_matrices_come_back():
    """Oracle: themselves; a general contraction, and shells of one atom in any order."""
    layout = OrbitalLayout.of([(0, 1, 2), (0, 0, 1), (1, 0, 2), (1, 2, 1)], 2)
    assert layout.counts == ((1, 2), (2, 0, 1))
    assert layout.n_orbitals == 14
    m = np.random.default_rng(1).normal(size=(14, 14))
    assert np.array_equal(layout.given_back(layout.taken(m)), m)
    # The s shell comes first, then p as y, z, x.
    assert layout.order[:4].tolist() == [6, 1, 2, 0]


def test_bad_input():
    """Oracle: what messages say."""
    with pytest.raises(InvalidInputError, match="atom 1 has no orbital"):
        OrbitalLayout.of([(0, 0, 1)], 2)
    with pytest.raises(UnsupportedError, match="l = 5"):
        OrbitalLayout.of([(0, 5, 1)], 1)
    with pytest.raises(InvalidInputError, match="belongs to atom 3"):
        OrbitalLayout.of([(3, 0, 1)], 2)
    with pytest.raises(InvalidInputError, match="2 orbitals"):
        OrbitalLayout.of([(0, 0, 2)], 1).taken(np.eye(3))
    assert isinstance(pair_irreps((1,), (1,)).irreps, o3.Irreps)
