"""Registry, contracts, files and run control that all kakehashi packages share.

Every public name below can be imported from here; its module is loaded at the first use, so that
importing the package costs next to nothing. Core knows no host code and no model.
"""

import lazy_loader

# The public names are those of __init__.pyi; each module is imported at the first use of a name.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
