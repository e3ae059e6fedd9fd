"""The functional against libxc, in self-consistent calculations."""

from __future__ import annotations

import pytest
from pyscf import dft, gto

from kakehashi_pyscf import attach

ATOMS = {"H2O": ("O; H 1 0.96; H 1 0.96 2 104.5", 0), "NH2": ("N; H 1 1.03; H 1 1.03 2 103", 1)}


@pytest.mark.parametrize("name", ATOMS)
def test_energy_is_that_of_libxc(name):
    """Oracle: libxc's lda_x + lda_c_wigner."""
    atom, spin = ATOMS[name]
    molecule = gto.M(atom=atom, spin=spin, basis="6-31g", verbose=0)
    method = dft.RKS if spin == 0 else dft.UKS
    ours = attach(method(molecule), "kakehashi-template").run().e_tot
    theirs = method(molecule, xc="lda_x,lda_c_wigner").run().e_tot
    assert ours == pytest.approx(theirs, abs=1e-8)
