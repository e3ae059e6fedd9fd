"""All species of a set with all functionals: restartable, on any executor, cheapest species first."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from kakehashi_core.ensembles import TaskFailure, run_ensemble
from kakehashi_core.errors import InvalidInputError
from kakehashi_nnxc.evaluation.evaluated_functionals import EvaluatedFunctional
from kakehashi_nnxc.evaluation.species_calculations import (
    START_DENSITIES,
    Settings,
    SpeciesResult,
    calculate_species,
    species_task,
)
from kakehashi_nnxc.reaction_sets.reactions import Molecule, ReactionSet

VERSION = "1"
"""Changes when ``calculate_species`` computes something else."""


@dataclass(frozen=True, kw_only=True)
class FunctionalRun:
    """Every species of a set with one functional.

    Attributes:
        functional: The functional.
        results: Species to result, non-converged ones included.
        failures: Species to the error that stopped its calculation; repeated by the next call.
    """

    functional: EvaluatedFunctional
    results: Mapping[str, SpeciesResult]
    failures: Mapping[str, str]

    @property
    def energies(self) -> dict[str, float]:
        """Total energies of the converged species, hartree."""
        return {n: r.energy for n, r in self.results.items() if r.energy is not None}

    def energies_beside(self, name: str) -> dict[str, float]:
        """Energies of another functional at the densities of this one, hartree."""
        return {n: r.beside[name] for n, r in self.results.items() if name in r.beside}

    @property
    def not_converged(self) -> tuple[str, ...]:
        """Species whose SCF did not converge."""
        return tuple(name for name, result in self.results.items() if not result.converged)


def evaluate(
    reactions: ReactionSet,
    functionals: Sequence[EvaluatedFunctional],
    settings: Settings | None = None,
    *,
    directory: str | Path,
    executor: Executor | None = None,
    retry: bool = False,
    beside: Sequence[EvaluatedFunctional] = (),
    known: Sequence[FunctionalRun] = (),
) -> list[FunctionalRun]:
    """Run what is missing, and return everything.

    Results are kept in one folder per functional, so that several processes can work on different
    functionals at the same time. A killed call goes on where it stopped.

    Args:
        reactions: Which species are needed.
        functionals: In the order in which they run.
        settings: Basis, grid and so on.
        directory: Where results are kept, one file per species and functional.
        executor: Any ``concurrent.futures.Executor``; None computes here.
        retry: Try species once more whose SCF did not converge, from another start density.
        beside: Functionals to evaluate at every converged density in addition, without an SCF of their own.
            The energy is stationary, so the difference to self-consistency is small if they are close.
        known: Results that are taken as they are, for functionals of the same name and weights.

    Raises:
        InvalidInputError: If the basis lacks an element of the set.
        LockedError: If another process works on the same functional in the same directory.
    """
    settings = settings or Settings()
    _check_basis_sets(reactions, settings)
    molecules = sorted(reactions.molecules.values(), key=relative_cost)
    return [
        _run(
            functional,
            molecules,
            settings,
            Path(directory),
            executor,
            retry,
            beside,
            _known_results(functional, known, [other.name for other in beside]),
        )
        for functional in functionals
    ]


def _known_results(
    functional: EvaluatedFunctional, known: Sequence[FunctionalRun], beside: Sequence[str]
) -> dict[str, SpeciesResult]:
    def identity(one: EvaluatedFunctional) -> tuple[str, object]:
        return one.name, one.description.get("sha256", "")

    return {
        name: result
        for run in known
        if identity(run.functional) == identity(functional)
        for name, result in run.results.items()
        if set(beside) <= set(result.beside) or not result.converged
    }


def relative_cost(molecule: Molecule) -> float:
    """Return a rough relative cost of a species, to put cheap ones first."""
    n_hydrogen = len(molecule.symbols) - molecule.n_heavy
    return (n_hydrogen + 2.2 * molecule.n_heavy) ** 3 * (2.0 if molecule.spin else 1.0)


def _run(
    functional: EvaluatedFunctional,
    molecules: Sequence[Molecule],
    settings: Settings,
    directory: Path,
    executor: Executor | None,
    retry: bool,
    beside: Sequence[EvaluatedFunctional],
    known: Mapping[str, SpeciesResult],
) -> FunctionalRun:
    folder = directory / functional.name.replace(":", "-")

    def attempt(wanted: Sequence[Molecule], number: int, on: Executor | None) -> list[Any]:
        return run_ensemble(
            calculate_species,
            [
                species_task(
                    m,
                    functional.description,
                    settings,
                    attempt=number,
                    beside=[other.description for other in beside],
                )
                for m in wanted
            ],
            directory=folder,
            executor=on,
            description=f"{functional.name}, {number}. retry" if number else functional.name,
            version=VERSION,
            on_error="return",
        )

    results: dict[str, SpeciesResult] = {
        m.name: known[m.name] for m in molecules if m.name in known
    }
    failures: dict[str, str] = {}
    wanted = [m for m in molecules if m.name not in known]
    outcomes = attempt(wanted, 0, executor) if wanted else []
    for molecule, outcome in zip(wanted, outcomes, strict=True):
        if isinstance(outcome, TaskFailure):
            failures[molecule.name] = outcome.error
        else:
            results[molecule.name] = SpeciesResult(**outcome)
    _retry(results, wanted, attempt, executor, allowed=retry)
    return FunctionalRun(functional=functional, results=results, failures=failures)


def _retry(
    results: dict[str, SpeciesResult],
    molecules: Sequence[Molecule],
    attempt: Callable[[Sequence[Molecule], int, Executor | None], list[Any]],
    executor: Executor | None,
    *,
    allowed: bool,
) -> None:
    """Replace non-converged results by those of retries: all stored ones, and one new one if allowed."""
    for number in range(1, len(START_DENSITIES)):
        wanted = [m for m in molecules if m.name in results and not results[m.name].converged]
        if not wanted:
            return
        outcomes = attempt(wanted, number, _StoredOnly())
        missing = [m for m, o in zip(wanted, outcomes, strict=True) if isinstance(o, TaskFailure)]
        if missing and allowed:
            outcomes = attempt(wanted, number, executor)
            allowed = False
        elif len(missing) == len(wanted):
            return
        for molecule, outcome in zip(wanted, outcomes, strict=True):
            if not isinstance(outcome, TaskFailure):
                results[molecule.name] = _merged(results[molecule.name], SpeciesResult(**outcome))


def _merged(default: SpeciesResult, retried: SpeciesResult) -> SpeciesResult:
    # How default settings fared stays what it was, and the CPU time adds up.
    return replace(
        retried,
        default_converged=default.default_converged,
        default_cycles=default.default_cycles,
        cycles=default.cycles + retried.cycles,
        seconds=default.seconds + retried.seconds,
    )


class _StoredOnly(Executor):
    """An executor that computes nothing, to learn which results are stored."""

    def submit(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise BrokenExecutor("not stored")


def _check_basis_sets(reactions: ReactionSet, settings: Settings) -> None:
    """Refuse before the first SCF what would fail in the middle of the run."""
    elements = sorted({s for m in reactions.molecules.values() for s in m.symbols})
    for basis in (settings.basis, settings.auxiliary_basis):
        missing = [element for element in elements if not _basis_has(basis, element)]
        if len(missing) == len(elements):
            raise InvalidInputError(f"PySCF knows no basis {basis!r}")
        if missing:
            raise InvalidInputError(
                f"the basis {basis!r} has no entry for {', '.join(missing)}, which {reactions.name!r} "
                "needs; choose another basis, or leave reactions out with a subset"
            )


def _basis_has(basis: str, element: str) -> bool:
    from pyscf.gto.basis import load
    from pyscf.lib.exceptions import BasisNotFoundError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # advice to install basis-set-exchange
        try:
            load(basis, element)
        except (BasisNotFoundError, KeyError):
            return False
    return True
