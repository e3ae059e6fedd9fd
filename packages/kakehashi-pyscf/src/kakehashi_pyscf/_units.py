"""Conversion between PySCF (hartree, bohr) and ASE (eV, Å): the only place that knows the factors.

Lengths use PySCF's bohr, so that coordinates given in Å are those of plain PySCF to the last digit.
Energies use ASE's hartree, so that dividing by ``ase.units.Hartree`` gives back PySCF's energy.
"""

from __future__ import annotations

import ase.units
from pyscf.data import nist

BOHR_IN_ANGSTROM = float(nist.BOHR)
HARTREE_IN_EV = float(ase.units.Hartree)
HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM = HARTREE_IN_EV / BOHR_IN_ANGSTROM
