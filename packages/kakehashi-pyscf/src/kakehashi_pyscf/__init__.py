"""Bridge between kakehashi functionals and PySCF. Everything is in Hartree atomic units.

``attach(mf)`` serves one mean-field object, ``enable()`` the whole process; ``converge(mf)`` is the
robust SCF driver.
"""

import lazy_loader

# The public names are those of __init__.pyi; each module is imported at the first use of a name.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
