"""``kakehashi bench xc``: errors of functionals on a set of reactions, self-consistently."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from kakehashi_core.consoles import result_console
from kakehashi_core.errors import DomainWarning, InvalidInputError, suggest
from kakehashi_core.files import write_json
from kakehashi_core.process_pools import process_pool
from kakehashi_nnxc.evaluation.error_statistics import leaked_species, summarize
from kakehashi_nnxc.evaluation.evaluated_functionals import (
    COMPARISON,
    EvaluatedFunctional,
    evaluated_functional,
    published_functional,
)
from kakehashi_nnxc.evaluation.recorded_runs import recorded_runs
from kakehashi_nnxc.evaluation.report import (
    error_table,
    installed_versions,
    record,
    remarks,
    remarks_beside,
    save_plot,
)
from kakehashi_nnxc.evaluation.set_evaluation import evaluate, relative_cost
from kakehashi_nnxc.evaluation.species_calculations import Settings
from kakehashi_nnxc.molecular_calculations import AUXILIARY_BASIS, BASIS, GRID_LEVEL
from kakehashi_nnxc.reaction_sets import ReactionSet, reaction_set

NEEDED = ("pyscf", "ase", "matplotlib")
"""Import names of what the extra kakehashi-nnxc[bench] brings, besides the data package xcbm."""


def bench_xc(
    *,
    set: str = "ae147",  # noqa: A002  the name of the option
    xc: Sequence[str] = (),
    published: Sequence[Path] = (),
    beside: Sequence[str] = (),
    basis: str = BASIS,
    auxiliary_basis: str = AUXILIARY_BASIS,
    grid_level: int = GRID_LEVEL,
    stability: bool = False,
    subset: Sequence[str] = (),
    limit: int | None = None,
    unseen: bool = False,
    retry: bool = False,
    workers: int = 1,
    recorded: Sequence[Path] = (),
    output: Path = Path("bench-xc"),
    json: Path | None = None,
) -> int:
    """Compute errors of functionals on a set of reactions, self-consistently, and compare them.

    A killed run goes on where it stopped. Functionals and molecules added later are computed alone.

    Args:
        set: ae147, ae148, bh76, ip13, s22 or another set of kakehashi_nnxc.reaction_sets.
        xc: Functional by registry or libxc name, or a checkpoint FILE.safetensors; repeat the option for
            several. By default pbe, r2scan, m06l and b3lyp, or those of --recorded.
        published: Published weight file, or the folder with NNmGGA, to add to the comparison; may be
            repeated.
        beside: Functional, named as for --xc, to evaluate at the self-consistent densities of the others,
            at the cost of a single cycle; may be repeated.
        basis: Orbital basis.
        auxiliary_basis: Basis of the density fit.
        grid_level: PySCF grid level.
        stability: Follow every solution to an internally stable one.
        subset: Reaction, or file with one reaction per line; may be repeated.
        limit: Only this many reactions, the cheapest ones.
        unseen: Refuse to run if a functional was trained on a molecule of the set.
        retry: Try once more, from another start density, where the SCF did not converge.
        workers: Processes, with one thread each.
        recorded: Summary of an earlier run: its functionals join the comparison, and what it holds is not
            computed again; same set, settings and versions of PySCF and libxc. May be repeated.
        output: Folder for the results: one file per species and functional, summary and plot.
        json: File for a copy of the summary.

    Returns:
        0, or 1 if a calculation broke down; SCF that does not converge is a result.
    """
    _check_requirements()
    whole = reaction_set(set)
    reactions = chosen_reactions(whole, subset, limit)
    functionals = _unique(
        [
            *(evaluated_functional(n) for n in xc or (() if recorded else COMPARISON)),
            *(published_functional(p) for p in published),
        ]
    )
    others = _unique([evaluated_functional(n) for n in beside])
    _check_leaks(reactions, [*functionals, *others], refuse=unseen)
    _warn_domains(reactions, functionals)
    settings = Settings(
        basis=basis, auxiliary_basis=auxiliary_basis, grid_level=grid_level, stability=stability
    )
    found = [
        run
        for path in recorded
        for run in recorded_runs(path, reactions, settings, installed_versions())
    ]
    asked = {f.name for f in functionals}
    with _interruptible(), process_pool(workers) as executor:
        runs = evaluate(
            reactions,
            functionals,
            settings,
            directory=output,
            executor=executor,
            retry=retry,
            beside=others,
            known=found,
        )
    runs = [*(run for run in found if run.functional.name not in asked), *runs]
    statistics = summarize(reactions, runs)
    console = result_console()
    console.print(error_table(reactions, statistics, settings))
    for line in [*remarks(statistics), *remarks_beside(reactions, runs)]:
        console.print(line, highlight=False, markup=False)
    summary = record(reactions, runs, statistics, settings)
    # A quick look at a part must not replace the summary of the whole.
    part = len(reactions.reactions) < len(whole.reactions)
    stem = f"{whole.name}-{len(reactions.reactions)}" if part else whole.name
    output.mkdir(parents=True, exist_ok=True)
    for path in (output / f"{stem}.json", json):
        if path is not None:
            write_json(path, summary)
    save_plot(reactions, statistics, settings, output / f"{stem}.png")
    console.print(f"summary and plot: {output / stem}.json and .png", highlight=False, markup=False)
    return int(any(run.failures for run in runs))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Say on Ctrl-C that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on where it stopped")
        raise


def chosen_reactions(
    reactions: ReactionSet, subset: Sequence[str] = (), limit: int | None = None
) -> ReactionSet:
    """Return the part of a set that was asked for.

    Args:
        reactions: The whole set.
        subset: Names of reactions, and files with one name per line; everything if empty.
        limit: Keep this many reactions, those whose most expensive species are the cheapest.

    Raises:
        InvalidInputError: If a name is not in the set; the closest ones are listed.
    """
    if subset:
        known = [r.name for r in reactions.reactions]
        wanted = [name for item in subset for name in _names(item, known)]
        for name in wanted:
            if name not in known:
                raise InvalidInputError(
                    f"{reactions.name!r} has no reaction {name!r}, and there is no such file."
                    f"{suggest(name, known)} Its {len(known)} reactions are called like {known[0]!r}"
                )
        reactions = reactions.only(tuple(wanted))
    if limit is None:
        return reactions
    if limit < 1:
        raise InvalidInputError(f"--limit must be at least 1, got {limit}")
    costs = {
        r.name: max(relative_cost(reactions.molecules[n]) for n in r.coefficients)
        for r in reactions.reactions
    }
    return reactions.only(tuple(sorted(costs, key=costs.__getitem__)[:limit]))


def _names(item: str, known: Sequence[str]) -> list[str]:
    path = Path(item)
    if item in known or not path.is_file():
        return [item]
    lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line]


def _unique(functionals: Sequence[EvaluatedFunctional]) -> list[EvaluatedFunctional]:
    return list({functional.name: functional for functional in functionals}.values())


def _check_requirements() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InvalidInputError(
            f"kakehashi bench xc needs {', '.join(missing)}, which is not installed; "
            "pip install 'kakehashi-nnxc[bench]' brings it"
        )


def _check_leaks(
    reactions: ReactionSet, functionals: Sequence[EvaluatedFunctional], *, refuse: bool
) -> None:
    """Refuse, if asked to, before anything runs; otherwise the report says it."""
    if not refuse:
        return
    for functional in functionals:
        if functional.trained is None:
            raise InvalidInputError(
                f"the checkpoint of {functional.name} does not say what it was trained on: its manifest has "
                "neither 'training_identities' nor 'training_species'. Drop --unseen to evaluate it anyway"
            )
        leaked = leaked_species(reactions, functional.trained)
        if leaked:
            raise InvalidInputError(
                f"{functional.name} was trained on {reactions.name}, molecules "
                f"{', '.join(leaked)}. Leave them out with --subset, or drop --unseen and read the "
                "column 'MAE unseen'"
            )


def _warn_domains(reactions: ReactionSet, functionals: Sequence[EvaluatedFunctional]) -> None:
    elements = {s for molecule in reactions.molecules.values() for s in molecule.symbols}
    for functional in functionals:
        outside = functional.domain.outside(elements)
        if outside:
            warnings.warn(
                f"{functional.name} was not trained on {', '.join(outside)}, which {reactions.name} "
                f"contains; it knows {', '.join(functional.domain.elements)}",
                DomainWarning,
                stacklevel=3,
            )
