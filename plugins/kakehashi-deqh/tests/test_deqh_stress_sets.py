"""Molecules that are made by hand: what was asked for, and nothing else, is changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from kakehashi_core.errors import UnknownNameError
from kakehashi_deqh.evaluation.altered_molecules import (
    behind,
    bent,
    beside,
    bonded,
    grown,
    stretched,
    twisted,
)
from kakehashi_deqh.evaluation.guess_trials import GuessTrial, flagging_score, summary
from kakehashi_deqh.evaluation.stress_set import larger_molecules, stress_set
from kakehashi_deqh.evaluation.trials_plot import save_trials_plot
from kakehashi_deqh.training.recipes import RECIPES

ETHANOL = molecule("CH3CH2OH")
OUTER, INNER, OXYGEN, HYDROGEN = 0, 1, 2, 3


def test_atoms_of_ethanol():
    """Oracle: the structural formula."""
    neighbors = bonded(ETHANOL)
    assert [len(x) for x in neighbors] == [4, 4, 2, 1, 1, 1, 1, 1, 1]
    assert neighbors[INNER][:2] == [OUTER, OXYGEN]
    assert neighbors[OXYGEN] == [INNER, HYDROGEN]
    assert behind(ETHANOL, INNER, OXYGEN) == [OXYGEN, HYDROGEN]
    assert len(behind(ETHANOL, OXYGEN, INNER)) == 7
    with pytest.raises(ValueError, match="ring"):
        behind(molecule("C6H6"), 0, 1)


@pytest.mark.parametrize(
    ("changed", "measured", "expected"),
    [
        (
            stretched(ETHANOL, INNER, OXYGEN, 1.5),
            lambda a: a.get_distance(INNER, OXYGEN),
            1.5 * ETHANOL.get_distance(INNER, OXYGEN),
        ),
        (
            bent(ETHANOL, INNER, OXYGEN, HYDROGEN, 95.0),
            lambda a: a.get_angle(INNER, OXYGEN, HYDROGEN),
            95.0,
        ),
        (
            twisted(ETHANOL, OUTER, INNER, OXYGEN, HYDROGEN, 60.0),
            lambda a: a.get_dihedral(OUTER, INNER, OXYGEN, HYDROGEN),
            60.0,
        ),
    ],
)
def test_changes_of_ethanol(changed, measured, expected):
    """Oracle: what ASE measures; distances within both parts are as they were."""
    assert measured(changed) == pytest.approx(expected, abs=1e-6)
    rest = [k for k in range(9) if k not in {OXYGEN, HYDROGEN}]
    before, after = (a.get_all_distances() for a in (ETHANOL, changed))
    assert np.abs((before - after)[np.ix_(rest, rest)]).max() < 1e-8
    assert before[OXYGEN, HYDROGEN] == pytest.approx(after[OXYGEN, HYDROGEN])


def test_growing_and_placing_beside():
    """Oracle: propane from ethane, phenol from benzene: formula, bond length, valences."""
    propane = grown(molecule("C2H6"), 2, "methyl")
    assert propane.get_chemical_formula() == "C3H8"
    phenol = grown(molecule("C6H6"), 6, "hydroxyl")
    assert phenol.get_chemical_formula() == "C6H6O"
    (oxygen,) = np.flatnonzero(phenol.numbers == 8).tolist()
    carbon = next(k for k in bonded(phenol)[oxygen] if phenol.numbers[k] == 6)
    assert phenol.get_distance(carbon, oxygen) == pytest.approx(1.42)
    pair = beside(molecule("H2O"), molecule("NH3"), 2.2)
    gaps = pair.get_all_distances()[:3, 3:]
    assert 2.2 <= gaps.min() < 2.25


@pytest.mark.parametrize("name", [r.name for r in RECIPES])
def test_stress_sets(name):
    """Oracle: closed shells, no overlapping atoms, names that tell molecules apart."""
    found = stress_set(name)
    assert len({s.name for s in found}) == len(found) >= 20
    for one in found:
        assert (one.atoms.numbers.sum() - one.charge) % 2 == 0
        distances = one.atoms.get_all_distances()
        assert distances[~np.eye(len(distances), dtype=bool)].min() > 0.7
    with pytest.raises(UnknownNameError):
        stress_set("deqh-benzene")


def test_larger_molecules():
    """Oracle: six or seven heavier atoms, H, C, N and O only, none of the training."""
    trained = {molecule(m).get_chemical_formula() for m in RECIPES[-1].molecules}
    found = larger_molecules()
    assert len(found) >= 20
    for one in found:
        assert 6 <= (one.atoms.numbers > 1).sum() <= 7
        assert set(one.atoms.numbers) <= {1, 6, 7, 8}
        assert one.atoms.numbers.sum() % 2 == 0
        assert one.atoms.get_chemical_formula() not in trained


def test_scores_of_trials(tmp_path):
    """Oracle: numbers counted by hand."""
    good = GuessTrial(
        name="a",
        decision="used",
        reason="",
        n_builds=5,
        n_builds_minao=10,
        seconds=1.0,
        seconds_minao=2.0,
        energy_difference=1e-10,
        one_shot_error=1e-5,
        estimated_error=2e-5,
        converged=True,
    )
    bad = replace(good, n_builds=11, one_shot_error=0.1, estimated_error=0.05, decision="rejected")
    missed = replace(good, one_shot_error=0.01, estimated_error=1e-6)
    nothing = replace(good, one_shot_error=float("nan"), estimated_error=float("nan"))
    assert flagging_score([good, bad, nothing]) == 1.0
    assert flagging_score([good, bad, missed]) == 0.5
    assert np.isnan(flagging_score([good]))
    found = summary([good, bad])
    assert found["Fock matrices over minao"] == pytest.approx(0.8)
    assert found["most additional Fock matrices"] == 1.0
    assert found["used"] == 0.5
    save_trials_plot({"one": [good, bad], "other": [nothing]}, tmp_path / "trials.png")
    assert (tmp_path / "trials.png").stat().st_size > 5000
