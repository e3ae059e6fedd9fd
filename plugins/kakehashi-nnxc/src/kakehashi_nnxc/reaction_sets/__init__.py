"""Sets of reactions with reference energies, for evaluation and training.

``reaction_set("ae147")`` and its siblings: every set is a list of linear combinations of total energies of
molecules at given geometries, with a reference in kcal/mol.
"""

from kakehashi_nnxc.reaction_sets.identity import molecular_identity
from kakehashi_nnxc.reaction_sets.lookup import reaction_set, set_names
from kakehashi_nnxc.reaction_sets.reactions import Molecule, Reaction, ReactionSet

__all__ = [
    "Molecule",
    "Reaction",
    "ReactionSet",
    "molecular_identity",
    "reaction_set",
    "set_names",
]
