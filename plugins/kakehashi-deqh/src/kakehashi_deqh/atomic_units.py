"""Atomic units in those of ASE, CODATA 2018."""

BOHR = 0.529177210903
"""Å."""
HARTREE = 27.211386245988
"""eV."""
