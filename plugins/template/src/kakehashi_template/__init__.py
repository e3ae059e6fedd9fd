"""A functional for PySCF by name. Hartree atomic units."""
