"""Glass-forming mixtures and graph networks for their dynamics. Reduced Lennard-Jones units throughout.

Lengths are in sigma_AA, energies in epsilon_AA, times in tau_LJ = sigma sqrt(m / epsilon); m and k_B are 1.
"""

import lazy_loader

# The public names are those of __init__.pyi; each module is imported at the first use of a name.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
