"""Kohn-Sham Hamiltonians of molecules from a deep equilibrium model.

Matrices are between spherical atomic orbitals, in hartree; distances are in bohr.
"""

import lazy_loader

# The public names are those of __init__.pyi; each module is imported at the first use of a name.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
