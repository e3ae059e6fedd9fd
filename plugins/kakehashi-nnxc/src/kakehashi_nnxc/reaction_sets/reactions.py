"""Molecules at fixed geometries, reactions between them, and sets of reactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kakehashi_core.errors import InvalidInputError, suggest
from kakehashi_nnxc._units import HARTREE_IN_KCAL_PER_MOL


@dataclass(frozen=True, kw_only=True)
class Molecule:
    """What a quantum-chemical calculation needs to know about a species.

    Attributes:
        name: Unique within its set.
        symbols: Chemical symbols.
        positions: (n_atoms, 3), Å.
        charge: Total charge, elementary charges.
        spin: Number of unpaired electrons.
    """

    name: str
    symbols: tuple[str, ...]
    positions: tuple[tuple[float, float, float], ...]
    charge: int = 0
    spin: int = 0

    @property
    def is_atom(self) -> bool:
        """Whether this is a single atom or atomic ion."""
        return len(self.symbols) == 1

    @property
    def n_heavy(self) -> int:
        """Number of atoms other than hydrogen."""
        return sum(symbol != "H" for symbol in self.symbols)


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """A linear combination of total energies with a reference.

    Attributes:
        name: Unique within its set.
        coefficients: Species to coefficient; products positive, reactants negative.
        reference: Value, kcal/mol.
    """

    name: str
    coefficients: Mapping[str, float]
    reference: float

    def energy(self, energies: Mapping[str, float]) -> float:
        """Return the reaction energy in kcal/mol from total energies in hartree."""
        total = sum(c * energies[name] for name, c in self.coefficients.items())
        return HARTREE_IN_KCAL_PER_MOL * total

    def error(self, energies: Mapping[str, float]) -> float:
        """Return calculated minus reference value, kcal/mol, from total energies in hartree."""
        return self.energy(energies) - self.reference


@dataclass(frozen=True, kw_only=True)
class ReactionSet:
    """Reactions and every molecule that they mention.

    Attributes:
        name: Name in ``reaction_set``.
        title: What the numbers are.
        molecules: Name to molecule.
        reactions: In the order of the source.
        source: Where geometries and references come from.
    """

    name: str
    title: str
    molecules: Mapping[str, Molecule]
    reactions: tuple[Reaction, ...]
    source: str

    def __post_init__(self) -> None:
        missing = sorted({n for r in self.reactions for n in r.coefficients} - set(self.molecules))
        if missing:
            raise InvalidInputError(f"reaction set {self.name!r} lacks {', '.join(missing)}")

    def only(self, names: tuple[str, ...]) -> ReactionSet:
        """Return the set with these reactions and what they need."""
        unknown = sorted(set(names) - {r.name for r in self.reactions})
        if unknown:
            close = suggest(unknown[0], [r.name for r in self.reactions])
            raise InvalidInputError(f"{self.name!r} has no reactions {', '.join(unknown)}.{close}")
        kept = tuple(r for r in self.reactions if r.name in set(names))
        needed = {n for r in kept for n in r.coefficients}
        return ReactionSet(
            name=self.name,
            title=self.title,
            molecules={n: m for n, m in self.molecules.items() if n in needed},
            reactions=kept,
            source=self.source,
        )
