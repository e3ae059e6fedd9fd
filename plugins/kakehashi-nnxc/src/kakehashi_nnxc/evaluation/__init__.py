"""Self-consistent evaluation of functionals on sets of reactions: ``kakehashi bench xc``.

``evaluate`` runs every species with every functional, on any executor, and keeps each result on disk;
``summarize`` turns the results into errors against the references. Energies of species are in hartree,
errors in kcal/mol.
"""

import lazy_loader

# The public names are those of __init__.pyi; each module is imported at the first use of a name.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
