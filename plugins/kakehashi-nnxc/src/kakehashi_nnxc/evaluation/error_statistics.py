"""Errors of functionals against the references of a set, and what they must be read with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kakehashi_nnxc.evaluation.set_evaluation import FunctionalRun
from kakehashi_nnxc.reaction_sets.identity import molecular_identity
from kakehashi_nnxc.reaction_sets.reactions import ReactionSet


@dataclass(frozen=True, kw_only=True)
class ErrorSummary:
    """Statistics of errors in kcal/mol; NaN and an empty name without any.

    Attributes:
        n: Number of reactions.
        mean_absolute: Mean absolute error.
        mean_signed: Mean error, calculated minus reference.
        root_mean_square: Root of the mean square error.
        largest: Largest absolute error.
        largest_reaction: The reaction it belongs to.
    """

    n: int
    mean_absolute: float
    mean_signed: float
    root_mean_square: float
    largest: float
    largest_reaction: str

    @classmethod
    def of(cls, errors: Mapping[str, float]) -> ErrorSummary:
        """Summarize errors by reaction."""
        n = len(errors)
        if not n:
            nan = math.nan
            return cls(
                n=0,
                mean_absolute=nan,
                mean_signed=nan,
                root_mean_square=nan,
                largest=nan,
                largest_reaction="",
            )
        worst = max(errors, key=lambda name: abs(errors[name]))
        return cls(
            n=n,
            mean_absolute=math.fsum(abs(e) for e in errors.values()) / n,
            mean_signed=math.fsum(errors.values()) / n,
            root_mean_square=math.sqrt(math.fsum(e * e for e in errors.values()) / n),
            largest=abs(errors[worst]),
            largest_reaction=worst,
        )


@dataclass(frozen=True, kw_only=True)
class ErrorStatistics:
    """How one functional fares on a set.

    Attributes:
        functional: Canonical name.
        n_reactions: Number of reactions in the set.
        errors: Reaction to calculated minus reference, kcal/mol, where every species converged.
        all: Over those reactions.
        unseen: Over those without a molecule that the functional was trained on.
        common: Over those that every functional of the comparison has.
        ratio: Mean absolute error over that of r2SCAN on the common reactions; NaN without r2SCAN.
        training_known: Whether the weights say what they were trained on; if not, nothing counts as unseen.
        missing: Reactions without an error, because a species did not converge or failed.
        leaked_species: Molecules of the set that the functional was trained on.
        leaked_reactions: Reactions they take part in.
        not_converged: Species without a converged SCF.
        failures: Species to the error that stopped its calculation.
        n_species: Number of species with a result, converged or not.
        n_few_cycles: Species that default settings converge within 30 cycles.
        not_few_cycles: The others.
        max_cycles: Most cycles of the default settings.
        methods: Rung of the ladder to number of species.
        unstable: Species whose solution stayed unstable, where stability was asked for.
        seconds: CPU time.
        warnings: Remarks to the species.
    """

    functional: str
    n_reactions: int
    errors: Mapping[str, float]
    all: ErrorSummary
    unseen: ErrorSummary
    common: ErrorSummary
    ratio: float
    training_known: bool
    missing: tuple[str, ...]
    leaked_species: tuple[str, ...]
    leaked_reactions: tuple[str, ...]
    not_converged: tuple[str, ...]
    failures: Mapping[str, str]
    n_species: int
    n_few_cycles: int
    not_few_cycles: tuple[str, ...]
    max_cycles: int
    methods: Mapping[str, int]
    unstable: tuple[str, ...]
    seconds: float
    warnings: tuple[str, ...]

    @property
    def share_few_cycles(self) -> float:
        """Share of species that default settings converge within 30 cycles; NaN without species."""
        return self.n_few_cycles / self.n_species if self.n_species else math.nan


def summarize(reactions: ReactionSet, runs: Sequence[FunctionalRun]) -> list[ErrorStatistics]:
    """Compare the energies of every functional with the references.

    A reaction counts for a functional only if all its species converged; what is missing is listed.

    Args:
        reactions: The set.
        runs: From ``evaluate``, of the same set.
    """
    errors = [reaction_errors(reactions, run.energies) for run in runs]
    shared = set.intersection(*(set(e) for e in errors)) if errors else set()
    common = [ErrorSummary.of({n: e[n] for n in e if n in shared}) for e in errors]
    names = [run.functional.name for run in runs]
    base = common[names.index("r2scan")].mean_absolute if "r2scan" in names else math.nan
    return [
        _statistics(reactions, run, e, c, c.mean_absolute / base if base else math.nan)
        for run, e, c in zip(runs, errors, common, strict=True)
    ]


def reaction_errors(reactions: ReactionSet, energies: Mapping[str, float]) -> dict[str, float]:
    """Return calculated minus reference in kcal/mol for the reactions whose species are all there.

    Args:
        reactions: The set.
        energies: Species to total energy, hartree.
    """
    return {
        reaction.name: reaction.error(energies)
        for reaction in reactions.reactions
        if all(species in energies for species in reaction.coefficients)
    }


def errors_beside(
    reactions: ReactionSet, runs: Sequence[FunctionalRun]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return functional to other functional to errors at the densities of the first, kcal/mol."""
    return {
        run.functional.name: {
            name: reaction_errors(reactions, run.energies_beside(name))
            for name in sorted({name for result in run.results.values() for name in result.beside})
        }
        for run in runs
    }


def leaked_species(reactions: ReactionSet, trained: Iterable[str] | None) -> tuple[str, ...]:
    """Return the molecules of a set that a functional was trained on; atoms are exempt.

    Args:
        reactions: The set.
        trained: Identities from ``EvaluatedFunctional.trained``; nothing is known to leak with None.
    """
    known = frozenset(trained or ())
    if not known:
        return ()
    return tuple(
        name
        for name, molecule in reactions.molecules.items()
        if not molecule.is_atom and molecular_identity(molecule) in known
    )


def leaked_reactions(reactions: ReactionSet, species: Iterable[str]) -> tuple[str, ...]:
    """Return the reactions in which any of these species takes part."""
    seen = set(species)
    return tuple(r.name for r in reactions.reactions if seen & set(r.coefficients))


def _statistics(
    reactions: ReactionSet,
    run: FunctionalRun,
    errors: Mapping[str, float],
    common: ErrorSummary,
    ratio: float,
) -> ErrorStatistics:
    leaked = leaked_species(reactions, run.functional.trained)
    touched = leaked_reactions(reactions, leaked)
    unseen = {n: e for n, e in errors.items() if n not in set(touched)}
    training_known = run.functional.trained is not None
    results = run.results.values()
    return ErrorStatistics(
        functional=run.functional.name,
        n_reactions=len(reactions.reactions),
        errors=errors,
        all=ErrorSummary.of(errors),
        unseen=ErrorSummary.of(unseen if training_known else {}),
        common=common,
        ratio=ratio,
        training_known=training_known,
        missing=tuple(r.name for r in reactions.reactions if r.name not in errors),
        leaked_species=leaked,
        leaked_reactions=touched,
        not_converged=run.not_converged,
        failures=run.failures,
        n_species=len(run.results),
        n_few_cycles=sum(result.few_cycles for result in results),
        not_few_cycles=tuple(n for n, result in run.results.items() if not result.few_cycles),
        max_cycles=max((result.default_cycles for result in results), default=0),
        methods=dict(Counter(result.method or "none" for result in results)),
        unstable=tuple(n for n, result in run.results.items() if result.stable is False),
        seconds=math.fsum(result.seconds for result in results),
        warnings=tuple(dict.fromkeys(text for result in results for text in result.warnings)),
    )
