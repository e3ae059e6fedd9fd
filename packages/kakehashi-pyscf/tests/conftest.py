from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pyscf import gto

sys.path.insert(0, str(Path(__file__).parent))  # closed_form_functionals, shared by these tests

WATER = "O 0 0 0.119262; H 0 0.763239 -0.477047; H 0 -0.763239 -0.477047"


@pytest.fixture
def water() -> gto.Mole:
    return gto.M(atom=WATER, basis="6-31g", verbose=0)


@pytest.fixture
def bent_water() -> gto.Mole:
    """Far enough from any symmetry that no gradient component vanishes."""
    return gto.M(
        atom="O 0.02 0.01 0.12; H 0.03 0.80 -0.45; H 0 -0.70 -0.50", basis="sto-3g", verbose=0
    )


@pytest.fixture
def radical() -> gto.Mole:
    """NH2: open shell without a degenerate ground state, so that every SCF finds the same one."""
    return gto.M(
        atom="N 0 0 0.14; H 0 0.80 -0.49; H 0.1 -0.80 -0.47", basis="6-31g", spin=1, verbose=0
    )
