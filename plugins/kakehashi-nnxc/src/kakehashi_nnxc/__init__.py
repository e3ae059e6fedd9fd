"""Neural exchange-correlation functionals. Everything is in Hartree atomic units.

Registered: ``kh-mgga``, a constrained meta-GGA on r2SCAN, and the four-layer forms of Nagai, Akashi and
Sugino under ``nn-*``. ``load_published`` opens the weight files of the paper.
"""

import lazy_loader

# The public names are those of __init__.pyi; each module is imported at the first use of a name.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
