"""The one conversion that leaves Hartree atomic units: energies of reactions in the literature's unit."""

HARTREE_IN_KCAL_PER_MOL = 627.5094740631
"""CODATA 2018: hartree times the Avogadro constant, over 4184 J/kcal."""
