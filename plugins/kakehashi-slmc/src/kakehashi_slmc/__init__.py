"""Self-learning Monte Carlo for electrons coupled to classical spins, and for any log-weight on unit vectors.

Energies have the unit of the hopping matrix, k_B = 1; spins are unit vectors, (n_chains, n_sites, 3).
"""

import lazy_loader

# The public names are those of __init__.pyi; each module is imported at the first use of a name.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
