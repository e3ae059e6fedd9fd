"""Linear thermometers, and distances of what networks keep of temperatures."""

from __future__ import annotations

import numpy as np
import pytest

from kakehashi_botan.latent_distances import (
    attraction,
    heat_map,
    latent_distances,
    temperature_distances,
)
from kakehashi_botan.thermometers import LinearThermometer
from kakehashi_core.errors import InvalidInputError


def test_a_linear_world_is_read_exactly():
    """Oracle: the coefficients that made the temperatures."""
    rng = np.random.default_rng(0)
    energies = rng.normal(size=(20, 2))
    temperatures = 0.6 + energies @ [0.3, -0.2]
    found = LinearThermometer.fit(energies[:10], temperatures[:10])
    assert found.coefficients == pytest.approx([0.6, 0.3, -0.2])
    assert found.read(energies[10:]) == pytest.approx(temperatures[10:])


def test_distances():
    """Oracle: points on a line."""
    states = np.array([[0.0, 0], [2, 0], [1, 1], [1, -1], [10, 0], [10, 0]])
    temperatures = [0.5, 0.5, 0.6, 0.6, 0.7, 0.7]
    assert latent_distances(states)[0, :2].tolist() == [0.0, 2.0]
    levels, distances = temperature_distances(states, temperatures)
    assert levels.tolist() == [0.5, 0.6, 0.7]
    spread = np.sqrt((1 + 1 + 1 + 1 + 0 + 0) / 6)
    assert distances == pytest.approx(np.array([[0, 0, 9], [0, 0, 9], [9, 9, 0]]) / spread)
    # 0.6 sits on 0.5, half a way away from where it should be.
    assert attraction(states, temperatures, 0.6) == pytest.approx(-0.5)
    with pytest.raises(InvalidInputError, match="between two"):
        attraction(states, temperatures, 0.7)
    assert heat_map(states, temperatures).axes
