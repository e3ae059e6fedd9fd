"""The shipped models: what they are, and that they know something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kakehashi_botan.configuration_files import read_isoconfigurational
from kakehashi_botan.displacements import propensity
from kakehashi_botan.example_liquid import example_liquid
from kakehashi_botan.pearson_scores import pearson
from kakehashi_botan.propensity_calculator import PropensityCalculator
from kakehashi_core.errors import DomainWarning

DATA = Path(__file__).parents[3] / ".." / "shared" / "data" / "botan"
PUBLIC = DATA / "isoconfig_N4096T0.44_401_tc07.npz"


@pytest.mark.parametrize(("kind", "least"), [("TS", 0.25), ("TS+IS", 0.4)])
def test_a_liquid_that_is_hotter_than_the_training(kind, least):
    """Oracle: 32 runs of molecular dynamics, stored with the example. Control: shuffled particles."""
    atoms = example_liquid()
    calc = PropensityCalculator(input=kind)
    with pytest.warns(DomainWarning, match="potential energy"):
        predicted = calc.get_property("propensity", atoms)
    chosen = atoms.symbols == "Ar"
    measured = atoms.arrays["measured_propensity"][chosen]
    assert pearson(predicted[chosen], measured) > least
    shuffled = np.random.default_rng(0).permutation(predicted[chosen])
    assert abs(pearson(shuffled, measured)) < 0.15


def test_the_card_says_what_it_was_trained_on():
    model = PropensityCalculator().model
    assert model.kind == "TS+IS"
    assert model.temperatures == (0.44,)
    assert model.time == 4120.0
    assert len(model.networks) == 3
    assert "displacement back to the start" in model.card.training_data
    assert model.card.metrics["predicted over true spread"] == pytest.approx(1.0, abs=0.15)


@pytest.mark.skipif(not PUBLIC.exists(), reason="the public configurations are not on this machine")
def test_a_public_configuration_of_the_test_set():
    """Oracle: the recorded score of this configuration, and its mean propensity 0.375."""
    data = read_isoconfigurational(PUBLIC)
    from ase import Atoms

    atoms = Atoms(
        np.where(data.types == 0, "Ar", "Ne"), data.initial_positions, cell=data.cell, pbc=True
    )
    found = PropensityCalculator().get_property("propensity", atoms)
    chosen = data.types == 0
    true = propensity(data, species=0)[0]
    assert pearson(found[chosen], true) > 0.65
    assert found[chosen].mean() == pytest.approx(true.mean(), abs=0.1)
