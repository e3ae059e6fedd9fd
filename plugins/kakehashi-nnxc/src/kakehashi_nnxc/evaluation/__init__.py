"""Self-consistent evaluation of functionals on sets of reactions: ``kakehashi bench xc``.

``evaluate`` runs every species with every functional, on any executor, and keeps each result on disk;
``summarize`` turns the results into errors against the references. Energies of species are in hartree,
errors in kcal/mol.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kakehashi_nnxc.evaluation.error_statistics import ErrorStatistics, summarize
    from kakehashi_nnxc.evaluation.evaluated_functionals import (
        EvaluatedFunctional,
        checkpoint_functional,
        evaluated_functional,
        published_functional,
    )
    from kakehashi_nnxc.evaluation.set_evaluation import FunctionalRun, evaluate
    from kakehashi_nnxc.evaluation.species_calculations import Settings, SpeciesResult

__all__ = [
    "ErrorStatistics",
    "EvaluatedFunctional",
    "FunctionalRun",
    "Settings",
    "SpeciesResult",
    "checkpoint_functional",
    "evaluate",
    "evaluated_functional",
    "published_functional",
    "summarize",
]

_HOMES = {
    "ErrorStatistics": "error_statistics",
    "EvaluatedFunctional": "evaluated_functionals",
    "FunctionalRun": "set_evaluation",
    "Settings": "species_calculations",
    "SpeciesResult": "species_calculations",
    "checkpoint_functional": "evaluated_functionals",
    "evaluate": "set_evaluation",
    "evaluated_functional": "evaluated_functionals",
    "published_functional": "evaluated_functionals",
    "summarize": "error_statistics",
}


def __getattr__(name: str) -> object:
    # The entry point of the command lives in this package, and listing must not import torch or PySCF.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
