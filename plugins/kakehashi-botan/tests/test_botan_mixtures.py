"""Parameters and shifts of mixtures."""

from __future__ import annotations

import numpy as np
import pytest

from kakehashi_botan.mixtures import Mixture, cubic_box, kob_andersen, ternary_kob_andersen
from kakehashi_core.errors import InvalidInputError


def test_constants_at_the_cutoff():
    """Oracle: v(2.5 sigma) = -0.016316891 epsilon and v'(2.5 sigma) = 0.0389995 epsilon / sigma."""
    mixture = kob_andersen(shift="force")
    offset, slope = mixture.shifts()
    epsilon, sigma = np.array(mixture.epsilon), np.array(mixture.sigma)
    assert offset / epsilon == pytest.approx(np.full((2, 2), -0.016316891), abs=1e-9)
    assert slope * sigma / epsilon == pytest.approx(np.full((2, 2), 0.0389995), abs=1e-7)
    assert mixture.cutoff == ((2.5, 2.0), (2.0, 2.2))


@pytest.mark.parametrize("pair", [(0, 0), (0, 1), (1, 1)])
def test_pair_energy_of_each_shift(pair):
    """Oracle: the closed form at r = 1.1 sigma; limits from below at the cutoff."""
    a, b = pair
    plain, energy, force = (kob_andersen(shift=s) for s in ("none", "energy", "force"))
    depth, width, cutoff = (m[a][b] for m in (plain.epsilon, plain.sigma, plain.cutoff))
    r = 1.1 * width
    closed = 4 * depth * (1.1**-12 - 1.1**-6)
    at_cutoff = 4 * depth * ((width / cutoff) ** 12 - (width / cutoff) ** 6)
    assert plain.pair_energy(r, a, b) == pytest.approx(closed, rel=1e-14)
    assert energy.pair_energy(r, a, b) == pytest.approx(closed - at_cutoff, rel=1e-14)
    below, h = cutoff - 1e-9, 1e-5
    assert plain.pair_energy(below, a, b) == pytest.approx(at_cutoff, rel=1e-6)
    assert energy.pair_energy(below, a, b) == pytest.approx(0.0, abs=1e-9)
    slope = (force.pair_energy(below, a, b) - force.pair_energy(below - h, a, b)) / h
    assert abs(slope) < 1e-5 * depth / width * 10
    for mixture in (plain, energy, force):
        assert mixture.pair_energy(cutoff, a, b) == 0.0


def test_ternary_mixture_contains_the_binary_one():
    binary, ternary = kob_andersen(), ternary_kob_andersen()
    for name in ("epsilon", "sigma"):
        inner = np.array(getattr(ternary, name))[:2, :2]
        assert np.array_equal(inner, np.array(getattr(binary, name)))
    assert ternary.n_species == 3


def test_cubic_box():
    """Oracle: 4096 particles at density 1.2 have a box of 15.056576 sigma."""
    assert cubic_box(4096, 1.2)[0, 0] == pytest.approx(15.056576, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": ((1.0, 1.5), (1.4, 0.5))}, "symmetric"),
        ({"sigma": ((1.0, 0.0), (0.0, 1.0))}, "positive"),
        ({"cutoff": ((2.5,),)}, "shape"),
        ({"sigma": ((1.0, float("nan")), (float("nan"), 1.0))}, "finite"),
        ({"shift": "forces"}, "none, energy, force"),
    ],
)
def test_nonsense_is_refused(change, message):
    good = {k: getattr(kob_andersen(), k) for k in ("name", "epsilon", "sigma", "cutoff", "shift")}
    with pytest.raises(InvalidInputError, match=message):
        Mixture(**{**good, **change})
