"""Thermal states of quantum spins as purified deep Boltzmann machines.

Spins are +1 and -1, couplings are those of Pauli matrices, k_B = hbar = 1.
"""

import lazy_loader

# The public names are those of __init__.pyi; each module is imported at the first use of a name.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
