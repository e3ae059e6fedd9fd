"""Reaction sets by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kakehashi_core.errors import unknown_name
from kakehashi_nnxc.reaction_sets import g2
from kakehashi_nnxc.reaction_sets.reactions import ReactionSet
from kakehashi_nnxc.reaction_sets.xcbm_files import gmtkn55, mgcdb84

_SETS: dict[str, Callable[[], ReactionSet]] = {
    "ae147": g2.ae147,
    "ae148": g2.ae148,
    "bh76": partial(
        mgcdb84,
        "HTBH38",
        "NHTBH38",
        name="bh76",
        title="barriers: 38 hydrogen transfers, 38 others",
    ),
    "ip13": partial(mgcdb84, "IP13", name="ip13", title="ionization potentials"),
    "s22": partial(mgcdb84, "S22", name="s22", title="interaction energies of molecular dimers"),
    "w4-11": partial(mgcdb84, "TAE140", name="w4-11", title="atomization energies of W4-11"),
    "alkanes": partial(mgcdb84, "AlkAtom19", name="alkanes", title="atomization of alkanes"),
    "platonic": partial(
        mgcdb84, "PlatonicTAE6", name="platonic", title="atomization of platonic hydrocarbons"
    ),
    "g21ip": partial(mgcdb84, "G21IP", name="g21ip", title="ionization potentials of G2-1"),
    "px13": partial(gmtkn55, "PX13", name="px13", title="barriers of proton exchange"),
    "bhdiv10": partial(gmtkn55, "BHDIV10", name="bhdiv10", title="diverse barriers"),
    "bhperi": partial(mgcdb84, "BHPERI26", name="bhperi", title="barriers of pericyclic reactions"),
    "inv24": partial(gmtkn55, "INV24", name="inv24", title="barriers of inversion"),
}


def set_names() -> tuple[str, ...]:
    """Return the names that ``reaction_set`` knows."""
    return tuple(_SETS)


def reaction_set(name: str) -> ReactionSet:
    """Return a set of reactions.

    Args:
        name: "ae147", "ae148" (from ASE); the others come from the data package ``xcbm``.

    Raises:
        UnknownNameError: If there is no such set.
        InvalidInputError: If the set needs ``xcbm`` and it is not installed.
    """
    key = name.lower()
    if key not in _SETS:
        raise unknown_name("reaction set", name, tuple(_SETS))
    return _SETS[key]()
