"""Many structures: predict all, and let an SCF confirm what matters or what looks doubtful."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kakehashi_core import registry
from kakehashi_core.ensembles import run_ensemble
from kakehashi_core.errors import DomainWarning, InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms

Score = Callable[[Mapping[str, Any]], float]
VERSION = "1"
PROPERTIES = ("gap", "dipole", "charges", "orbital_energies", "energy")
RELIABILITY = ("energy_error", "n_builds", "in_domain", "from_scf")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Screened:
    """One structure of a screening.

    Attributes:
        index: Place among the structures.
        value: What is ranked.
        source: "ml", without a Fock matrix; "ml+1", with one; or "scf".
        in_domain: Whether the model knows such molecules.
        n_builds: Fock matrices that were built for it.
        predicted: Value of the model; differs from ``value`` where an SCF confirmed, NaN where nothing can be
            predicted.
        results: Properties in the units of ASE: "gap", "dipole", "charges", "orbital_energies", and "energy"
            with at least one Fock matrix.
        doubts: Why the prediction is doubtful; empty if it is not.
    """

    index: int
    value: float
    source: str
    in_domain: bool
    n_builds: int
    predicted: float
    results: Mapping[str, Any] = field(repr=False)
    doubts: tuple[str, ...] = ()


def screen(
    structures: Sequence[Atoms],
    model: str,
    *,
    rank_by: str | Score = "gap",
    confirm: str = "unreliable",
    mode: str = "predict",
    largest_first: bool = False,
    checkpoint: str | Path | None = None,
    directory: str | Path | None = None,
    executor: Executor | None = None,
) -> list[Screened]:
    """Predict all structures, confirm some of them by a full SCF, and return them in order of a value.

    Args:
        structures: Molecules.
        model: Registry name of a predictor, such as "deqh-water".
        rank_by: "gap", "energy" in mode "oneshot", or a function of the results of a structure. Structures
            without a value come last.
        confirm: "top:10", the first ten; "unreliable", what the model does not know; "all"; or "none". Where
            nothing can be predicted an SCF answers in any case.
        mode: "predict" without a Fock matrix, or "oneshot" with one, which also says how far off it is.
        largest_first: Rank from the largest value down.
        checkpoint: File with other weights for the predictor, such as fine-tuned ones.
        directory: Where results are kept, so that a killed run goes on; None keeps them in memory.
        executor: Runs the calculations; None for one after the other in this process.

    Returns:
        All structures, best first. With "top:N" an SCF has confirmed the first N: those that a confirmation
        moves out of the first N make room for the next ones, which are confirmed as well.

    Raises:
        InvalidInputError: If an argument makes no sense.
    """
    registry.find("init_guess", model)
    n_top = _checked(structures, confirm, mode, rank_by)
    score: Score = rank_by if callable(rank_by) else lambda results: _scalar(results, rank_by)
    weights = {} if checkpoint is None else _weights(checkpoint)
    tasks = [{**_plain(atoms), "model": model, "mode": mode, **weights} for atoms in structures]

    def run(chosen: Sequence[int], how: str, description: str) -> list[dict[str, Any]]:
        return run_ensemble(
            calculate_structure,
            [{**tasks[k], "mode": how} for k in chosen],
            directory=directory,
            executor=executor,
            description=description,
            version=VERSION,
        )

    everything = range(len(tasks))
    found = [
        _screened(k, one, score)
        for k, one in zip(everything, run(everything, mode, "predictions"), strict=True)
    ]
    sign = -1.0 if largest_first else 1.0
    while True:
        found.sort(key=lambda s: (np.isnan(s.value), sign * s.value, s.index))
        open_ones = [s for s in found if s.source != "scf"]
        if confirm == "all":
            wanted = open_ones
        elif confirm == "unreliable":
            wanted = [s for s in open_ones if s.doubts]
        else:
            wanted = [s for s in found[:n_top] if s.source != "scf"]
        if not wanted:
            return found
        chosen = [s.index for s in wanted]
        confirmed = {
            k: _screened(k, one, score, before=next(s for s in wanted if s.index == k))
            for k, one in zip(chosen, run(chosen, "scf", "confirmation by SCF"), strict=True)
        }
        found = [confirmed.get(s.index, s) for s in found]


def calculate_structure(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return results of one structure.

    Args:
        task: "numbers", "positions" (Å), "charge", "spin", "model" and "mode" of the calculator ``deqh``, and
            "checkpoint" if it is to have other weights.
    """
    from ase import Atoms

    from kakehashi_ase import calculator

    atoms = Atoms(task["numbers"], np.asarray(task["positions"]))
    atoms.info.update(charge=task["charge"], spin=task["spin"])
    mode = task["mode"]
    model = {key: task[key] for key in ("model", "checkpoint") if key in task}
    calc: Any = calculator("deqh", **model, mode=mode, fallback="warn")
    atoms.calc = calc
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DomainWarning)
        try:
            calc.get_property("dipole" if mode == "predict" else "energy", atoms)
        except NotImplementedError:
            # Nothing can be predicted: charge, spin, elements, basis set.
            calc = calculator("deqh", **model, mode="scf")
            atoms.calc = calc
            calc.get_property("energy", atoms)
    results = {k: v for k, v in calc.results.items() if k in (*PROPERTIES, *RELIABILITY)}
    return {**results, "doubts": list(calc.doubts)}


def _screened(
    index: int, found: Mapping[str, Any], score: Score, before: Screened | None = None
) -> Screened:
    results = {k: v for k, v in found.items() if k in PROPERTIES}
    try:
        value = float(score(results))
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"rank_by fails for structure {index}: {error!r}; its results are {', '.join(results)}"
        ) from error
    from_scf = bool(found["from_scf"])
    builds = int(found["n_builds"])
    return Screened(
        index=index,
        value=value,
        source="scf" if from_scf else "ml+1" if builds else "ml",
        in_domain=bool(found["in_domain"]),
        n_builds=builds + (before.n_builds if before else 0),
        predicted=(float("nan") if from_scf else value) if before is None else before.predicted,
        results=results,
        doubts=tuple(found["doubts"]) if before is None else before.doubts,
    )


def _scalar(results: Mapping[str, Any], name: str) -> float:
    """Return a number, NaN where there is none: open shells have no gap."""
    return float(results.get(name, np.nan))


def _checked(structures: Sequence[Any], confirm: str, mode: str, rank_by: str | Score) -> int:
    """Return how many are to be confirmed in front, after checks."""
    if not isinstance(structures, Sequence):
        raise InvalidInputError(f"a list of structures is needed, got {type(structures).__name__}")
    if not structures:
        raise InvalidInputError("there are no structures")
    for k, atoms in enumerate(structures):
        if atoms.pbc.any():
            raise InvalidInputError(
                f"structure {k} is periodic; molecules are needed, atoms.pbc = False"
            )
    if mode not in {"predict", "oneshot"}:
        raise InvalidInputError(f"mode is {mode!r}; 'predict' or 'oneshot' is needed")
    known = ("gap",) if mode == "predict" else ("gap", "energy")
    if isinstance(rank_by, str) and rank_by not in known:
        raise InvalidInputError(
            f"rank_by is {rank_by!r}; in mode {mode!r} it is {' or '.join(map(repr, known))}, or a function "
            "of the results"
        )
    top = re.fullmatch(r"top:([1-9][0-9]*)", str(confirm))
    if top is None and confirm not in {"unreliable", "all", "none"}:
        raise InvalidInputError(
            f"confirm is {confirm!r}; 'top:N', 'unreliable', 'all' or 'none' is needed"
        )
    return int(top.group(1)) if top else 0


def _weights(checkpoint: str | Path) -> dict[str, str]:
    """Return a file and what is in it, by which results are kept."""
    path = Path(checkpoint)
    if not path.is_file():
        raise InvalidInputError(f"there is no checkpoint {path}")
    return {
        "checkpoint": str(path.resolve()),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _plain(atoms: Atoms) -> dict[str, Any]:
    return {
        "numbers": [int(z) for z in atoms.numbers],
        "positions": np.asarray(atoms.positions, dtype=np.float64),
        "charge": int(atoms.info.get("charge", 0)),
        "spin": int(atoms.info.get("spin", 0)),
    }
