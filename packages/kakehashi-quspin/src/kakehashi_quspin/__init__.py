"""Bridge from kakehashi samplers to QuSpin: its operator lists and bases go in, its basis integers come out.

Energies and temperatures have the unit of the couplings; k_B = hbar = 1.
"""

import lazy_loader

# The public names are those of __init__.pyi; each module is imported at the first use of a name.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
