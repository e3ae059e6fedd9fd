"""Bridge from kakehashi models to ASE. Units: eV, Å and their combinations, elementary charges.

Attributes are imported when they are first used: ``import ase.io`` imports this package when it
looks for plugins, so importing it must neither be slow nor import ``ase.io`` in turn.
"""

import lazy_loader

# The public names are those of __init__.pyi; each module is imported at the first use of a name.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
