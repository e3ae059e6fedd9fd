"""Error statistics and leakage control, by hand-made energies."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("ase")
pytest.importorskip("rich")

from kakehashi_nnxc.evaluation.error_statistics import (
    ErrorSummary,
    leaked_reactions,
    leaked_species,
    summarize,
)
from kakehashi_nnxc.evaluation.evaluated_functionals import (
    EvaluatedFunctional,
    trained_identities,
)
from kakehashi_nnxc.evaluation.report import error_table, record, remarks, save_plot
from kakehashi_nnxc.evaluation.set_evaluation import FunctionalRun
from kakehashi_nnxc.evaluation.species_calculations import Settings, SpeciesResult
from kakehashi_nnxc.reaction_sets import molecular_identity, reaction_set

KCAL = 627.5094740631
SETTINGS = Settings(basis="made up")


def result(species: str, energy: float | None, **fields: Any) -> SpeciesResult:
    values: dict[str, Any] = {
        "species": species,
        "functional": "f",
        "energy": energy,
        "converged": energy is not None,
        "method": "DIIS" if energy is not None else "",
        "default_converged": energy is not None,
        "default_cycles": 10,
        "cycles": 10,
        "orbital_gradient": 1e-6,
        "report": "",
        "attempt": 0,
        "n_ao": 1,
        "n_points": 1,
        "spin_square": 0.0,
        "stable": None,
        "seconds": 3600.0,
        "warnings": [],
        "settings": {},
        "weights_sha256": "",
        "versions": {},
    }
    return SpeciesResult(**{**values, **fields})


def run_with_errors(name: str, errors: dict[str, float | None], **fields: Any) -> FunctionalRun:
    """Energies that give these errors: atoms at zero, molecules at minus (reference plus error)."""
    reactions = reaction_set("ae147").only(tuple(errors))
    results = {n: result(n, 0.0) for n, m in reactions.molecules.items() if m.is_atom}
    for reaction in reactions.reactions:
        error = errors[reaction.name]
        energy = None if error is None else -(reaction.reference + error) / KCAL
        results[reaction.name] = result(reaction.name, energy)
    functional = EvaluatedFunctional(name=name, description={"name": name}, **fields)
    return FunctionalRun(functional=functional, results=results, failures={})


ERRORS = {"H2O": 1.0, "CH4": -2.0, "N2": 6.0}
REACTIONS = reaction_set("ae147").only(tuple(ERRORS))
WATER = molecular_identity(REACTIONS.molecules["H2O"])


def test_statistics_by_hand():
    """Oracle: errors 1, -2, 6: MAE 3, MSE 5/3, RMS sqrt(41/3), largest 6 of N2."""
    (found,) = summarize(REACTIONS, [run_with_errors("f", ERRORS)])
    assert found.errors == pytest.approx(ERRORS)
    assert found.all.n == 3
    assert found.all.mean_absolute == pytest.approx(3.0)
    assert found.all.mean_signed == pytest.approx(5.0 / 3.0)
    assert found.all.root_mean_square == pytest.approx(math.sqrt(41.0 / 3.0))
    assert found.all.largest == pytest.approx(6.0)
    assert found.all.largest_reaction == "N2"
    assert found.seconds == pytest.approx(3600.0 * 7)
    assert found.unseen == found.all == found.common
    assert math.isnan(found.ratio)


def test_species_that_did_not_converge_are_counted_and_named():
    """Oracle: without CH4 the errors 1 and 6 remain, and both functionals are compared on these."""
    runs = [
        run_with_errors("f", {**ERRORS, "CH4": None}),
        run_with_errors("r2scan", {"H2O": 2.0, "CH4": 2.0, "N2": 2.0}),
    ]
    first, second = summarize(REACTIONS, runs)
    assert first.not_converged == first.missing == ("CH4",)
    assert first.all.n == 2
    assert first.all.mean_absolute == pytest.approx(3.5)
    assert first.ratio == pytest.approx(3.5 / 2.0)
    assert (second.all.n, second.common.n) == (3, 2)
    text = "\n".join(remarks([first, second]))
    assert "MAE over 2 of 3, without CH4" in text
    assert "f: SCF not converged for CH4" in text
    assert "over the 2 reactions that every functional has: f 3.50, r2scan 2.00" in text


def test_share_of_species_with_few_cycles():
    """Oracle: of seven species one needs 31 cycles and one a fallback; 30 cycles still count."""
    run = run_with_errors("f", ERRORS)
    results = dict(run.results)
    results["H"] = replace(results["H"], default_cycles=30)
    results["O"] = replace(results["O"], default_cycles=31)
    results["N"] = replace(results["N"], default_converged=False, method="second order")
    (found,) = summarize(REACTIONS, [replace(run, results=results)])
    assert set(found.not_few_cycles) == {"O", "N"}
    assert found.share_few_cycles == pytest.approx(5 / 7)
    assert found.max_cycles == 31
    assert found.methods == {"DIIS": 6, "second order": 1}


def test_trained_molecules_are_found_and_left_out_of_the_unseen_error():
    """Oracle: water trained under another name; errors -2 and 6 remain unseen."""
    trained = frozenset({WATER, molecular_identity(REACTIONS.molecules["N"])})
    (found,) = summarize(REACTIONS, [run_with_errors("f", ERRORS, trained=trained)])
    assert found.leaked_species == ("H2O",)  # the atom is exempt
    assert found.leaked_reactions == ("H2O",)
    assert found.all.mean_absolute == pytest.approx(3.0)
    assert (found.unseen.n, found.unseen.mean_absolute) == (2, pytest.approx(4.0))
    assert "f was trained on 1 molecule of this set: H2O" in "\n".join(remarks([found]))


def test_a_trained_reactant_makes_a_barrier_seen():
    """Oracle: OH + H2 -> H + H2O is the only one of the first three barriers that contains water."""
    pytest.importorskip("pyscf")
    if not _has_xcbm():
        pytest.skip("xcbm is not installed")
    barriers = reaction_set("bh76")
    species = leaked_species(barriers, {WATER})
    assert species
    assert all("H2O" in name.upper() for name in species)
    touched = leaked_reactions(barriers, species)
    assert 0 < len(touched) < len(barriers.reactions)
    by_name = {r.name: r for r in barriers.reactions}
    assert all(set(species) & set(by_name[name].coefficients) for name in touched)


def test_manifests_name_the_training_set():
    """Oracle: identities are taken as they are, names of G2 are looked up, atoms are exempt."""
    assert trained_identities({"training_identities": [WATER]}) == {WATER}
    assert trained_identities({"training_species": ["H2O", "O"]}) == {WATER}
    assert trained_identities({}) is None


def test_nothing_counts_as_unseen_where_the_training_set_is_unknown():
    """Oracle: no reaction is left, rather than all of them."""
    (found,) = summarize(REACTIONS, [run_with_errors("f", ERRORS, trained=None)])
    assert found.all.n == 3
    assert found.unseen.n == 0
    assert "f: its checkpoint does not say what it was trained on" in "\n".join(remarks([found]))


def test_nothing_to_average_is_not_zero():
    summary = ErrorSummary.of({})
    assert summary.n == 0
    assert math.isnan(summary.mean_absolute)


def test_table_record_and_plot(tmp_path):
    """Oracle: the numbers of the statistics; JSON without NaN; a picture that matplotlib reads back."""
    import json
    from io import StringIO

    from matplotlib.image import imread
    from rich.console import Console

    runs = [
        run_with_errors("f", {**ERRORS, "CH4": None}, trained=frozenset({WATER})),
        run_with_errors("r2scan", {"H2O": 2.0, "CH4": 2.0, "N2": 2.0}),
    ]
    statistics = summarize(REACTIONS, runs)
    console = Console(width=160, file=StringIO())
    console.print(error_table(REACTIONS, statistics, SETTINGS))
    (row,) = [
        line for line in console.file.getvalue().splitlines() if line.strip().startswith("f ")
    ]
    expected = "f 2/3 3.50 +3.50 6.00 N2 6.00 (1) 1.75 1 85.7 % 10 7.00"
    assert row.split() == expected.split()
    data = json.loads(json.dumps(record(REACTIONS, runs, statistics, SETTINGS), allow_nan=False))
    assert data["settings"]["basis"] == "made up"
    assert {"python", "numpy", "torch", "pyscf", "libxc", "ase"} <= set(data["versions"])
    assert data["functionals"][0]["missing"] == ["CH4"]
    assert data["functionals"][0]["species"]["CH4"]["energy"] is None
    save_plot(REACTIONS, statistics, SETTINGS, tmp_path / "plot.png")
    assert imread(tmp_path / "plot.png").std() > 0


def _has_xcbm() -> bool:
    from importlib.util import find_spec

    return find_spec("xcbm") is not None
