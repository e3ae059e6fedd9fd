"""Which reactions train the constrained functionals; decided before the first fit.

No atomization energy of a molecule of AE148 is among them, directly or by combination: every molecule is
compared by formula, charge, spin and bond graph. Atoms are exempt. Barrier heights may have such molecules
as reactants; ``strict`` leaves those out too. BH76, IP13 and S22 serve evaluation only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kakehashi_core.errors import InvalidInputError
from kakehashi_nnxc.molecular_calculations import from_json
from kakehashi_nnxc.reaction_sets import (
    Molecule,
    Reaction,
    molecular_identity,
    reaction_set,
)
from kakehashi_nnxc.training.coupled_cluster_labels import reactions, read_labels
from kakehashi_nnxc.training.relativity import as_measured, read_relativity

LABELS = Path(__file__).with_name("coupled_cluster_labels.json")
"""Labels made by ``kakehashi_nnxc.training.coupled_cluster_labels``."""

MULTIREFERENCE = (
    "be2", "b2", "bn", "bn3pi", "c2", "foof", "fo2", "of", "s4-c2v", "s3", "cloo", "oclo", "c-hooo",
    "t-hooo",
)  # fmt: skip
"""W4-11 molecules outside G2 with strong static correlation, which no semilocal functional describes."""

ALKANES = ("15_pentane", "20_isopentane", "24_neopentane")
PLATONIC = ("11_C4H4", "12_C6H6")
PROTON_EXCHANGE = (1, 4, 5, 9, 10, 11)
DIVERSE_BARRIERS = (4, 5, 6, 10)
PERICYCLIC = (5, 11, 12, 13, 14, 17)
"""The small ones, without the hydrogen shift of pentadiene, whose saddle point is one of BH76."""

IONIZED_ATOMS = ("li", "be", "b", "n", "f", "na", "al")
"""Atoms whose ionization potential is trained: those of G21IP that are not in IP13."""

GRID_SPECIES = (
    "N", "O", "C", "F", "Si", "S", "B", "194_hno_W4-11", "134_cf2_W4-11", "252_t-n2h2_W4-11",
    "241_sih3f_W4-11", "145_ch3f_W4-11", "119_bf_W4-11", "199_hoo_W4-11", "191_hnc_W4-11", "182_hccf_W4-11",
    "PN", "NF2", "LiOH", "CH2F", "OH", "SH",
)  # fmt: skip
"""Species whose energy must not depend on the integration grid."""

GRIDS = ((5, 0), (4, 0), (3, 0), (3, 1), (3, 2), (3, 3))
"""Level and number of a random rotation; the first is what the others are compared with."""

GRID_BASIS = "def2-tzvp"

WEIGHTS = {"atomization": 1.0, "barrier": 0.7, "ionization": 0.5}


@dataclass(frozen=True, kw_only=True)
class TrainingReaction:
    """A reaction with its kind and the error that counts as one in the fit, kcal/mol."""

    reaction: Reaction
    kind: str
    tolerance: float


def forbidden_identities() -> frozenset[str]:
    """Return the identities of the molecules whose atomization energies are the test."""
    molecules = reaction_set("ae148").molecules.values()
    return frozenset(molecular_identity(m) for m in molecules if not m.is_atom)


def training_reactions(
    *, strict: bool = False
) -> tuple[tuple[TrainingReaction, ...], dict[str, Molecule]]:
    """Return all training reactions, published and with our own labels, and their species.

    References of atomizations are those that a measurement would give, see ``relativity``.

    Args:
        strict: Leave out every reaction in which a molecule of AE148 takes part, also barriers.
    """
    reactions, species = nonrelativistic_reactions(strict=strict)
    scalar = read_relativity()
    return tuple(
        replace(r, reaction=as_measured(r.reaction, species, scalar))
        if r.kind == "atomization"
        else r
        for r in reactions
    ), species


def nonrelativistic_reactions(
    *, strict: bool = False
) -> tuple[tuple[TrainingReaction, ...], dict[str, Molecule]]:
    """Return what ``training_reactions`` does, with the references of the sets as they stand."""
    reactions, molecules = xcbm_reactions(strict=strict)
    more, others = labeled_reactions(strict=strict)
    return (*reactions, *more), {**others, **molecules}


def labeled_reactions(
    *, strict: bool = False
) -> tuple[tuple[TrainingReaction, ...], dict[str, Molecule]]:
    """Return the reactions with coupled-cluster labels of our own, and their species."""
    labels = read_labels(LABELS)
    forbidden = forbidden_identities()
    chosen: list[TrainingReaction] = []
    molecules: dict[str, Molecule] = {}
    for reaction, kind in reactions(labels):
        species = {n: from_json(labels[n]["molecule"]) for n in reaction.coefficients}
        known = [
            m for m in species.values() if not m.is_atom and molecular_identity(m) in forbidden
        ]
        if known and (strict or kind != "barrier"):
            continue
        molecules.update(species)
        chosen.append(
            TrainingReaction(reaction=reaction, kind=kind, tolerance=_tolerance(kind, species))
        )
    return tuple(chosen), molecules


def xcbm_reactions(
    *, strict: bool = False
) -> tuple[tuple[TrainingReaction, ...], dict[str, Molecule]]:
    """Return the training reactions read from the data package, and their species.

    Args:
        strict: Leave out every reaction in which a molecule of AE148 takes part, also barriers.
    """
    forbidden = forbidden_identities()
    chosen: list[TrainingReaction] = []
    molecules: dict[str, Molecule] = {}

    def add(set_name: str, kind: str, wanted: set[str] | None = None) -> None:
        found = reaction_set(set_name)
        for reaction in found.reactions:
            if wanted is not None and reaction.name not in wanted:
                continue
            species = {n: found.molecules[n] for n in reaction.coefficients}
            known = [
                m for m in species.values() if not m.is_atom and molecular_identity(m) in forbidden
            ]
            if known and (strict or kind != "barrier"):
                continue
            renamed = {n: _atom_name(m) if m.is_atom else n for n, m in species.items()}
            for name, molecule in species.items():
                molecules.setdefault(renamed[name], replace(molecule, name=renamed[name]))
            chosen.append(
                TrainingReaction(
                    reaction=Reaction(
                        name=reaction.name,
                        coefficients={renamed[n]: c for n, c in reaction.coefficients.items()},
                        reference=reaction.reference,
                    ),
                    kind=kind,
                    tolerance=_tolerance(kind, species),
                )
            )

    w4 = reaction_set("w4-11")
    add(
        "w4-11",
        "atomization",
        {
            r.name
            for r in w4.reactions
            if not any(n.split("_")[1] in MULTIREFERENCE for n in r.coefficients)
        },
    )
    for name, wanted in (("alkanes", ALKANES), ("platonic", PLATONIC)):
        every = reaction_set(name).reactions
        add(
            name,
            "atomization",
            {r.name for r in every if any(n.startswith(w) for n in r.coefficients for w in wanted)},
        )
    add("px13", "barrier", {f"PX13_{i}" for i in PROTON_EXCHANGE})
    add("bhdiv10", "barrier", {f"BHDIV10_{i}" for i in DIVERSE_BARRIERS})
    add("bhperi", "barrier", {f"BHPERI26_{i}" for i in PERICYCLIC})
    ips = reaction_set("g21ip")
    add(
        "g21ip",
        "ionization",
        {
            r.name
            for r in ips.reactions
            if any(
                n.partition("_")[2] == f"{a}_G21IP" for n in r.coefficients for a in IONIZED_ATOMS
            )
        },
    )
    return tuple(chosen), molecules


def _atom_name(molecule: Molecule) -> str:
    sign = {0: "", 1: "+", -1: "-"}[molecule.charge]
    return f"{molecule.symbols[0]}{sign}"


def _tolerance(kind: str, species: dict[str, Molecule]) -> float:
    largest = max(len(m.symbols) for m in species.values())
    if kind == "atomization":
        return float(np.sqrt(largest)) / WEIGHTS[kind]
    if kind not in WEIGHTS:
        raise InvalidInputError(f"unknown kind of reaction {kind!r}; known: {', '.join(WEIGHTS)}")
    return 1.5 / WEIGHTS[kind]
