"""``kakehashi bench slmc``: every study once, small; fits and counts against closed forms."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kakehashi_core.errors import InvalidInputError, UnknownNameError
from kakehashi_slmc.block_moves import best_block_size
from kakehashi_slmc.effective_training import expected_acceptance
from kakehashi_slmc.spin_kernels import SphereHMC, SpinMetropolis
from kakehashi_slmc.studies import command
from kakehashi_slmc.studies.blocks import block_study
from kakehashi_slmc.studies.cases import Case
from kakehashi_slmc.studies.hard_regimes import hard_study
from kakehashi_slmc.studies.layers import power_law
from kakehashi_slmc.studies.measured_steps import Contestant, CountedWeight, _longest_wait, measure
from kakehashi_slmc.studies.speed import speed_study
from kakehashi_slmc.unit_vectors import random_spins

SMALL = Case(length=3, temperature=0.1, chemical_potential=-0.5)


def test_power_laws():
    """Oracle: the law that made the numbers, and its scatter over seeds."""
    rows = [
        {"seed": s, "n_parameters": n, "variance": (1 + 0.1 * s) * n**-0.4}
        for s in (0, 1, 2)
        for n in (10, 20, 40)
    ]
    assert power_law(rows[::3]) == {}  # one depth has no slope
    found = power_law(rows)
    assert found["exponent"] == pytest.approx(-0.4)
    assert found["error"] < 0.2
    assert found["n_seeds"] == 3


def test_blocks_that_the_model_calls_best():
    """Oracle: a scan of block size times acceptance."""
    sizes = np.linspace(1.0, 1000.0, 4000)
    gain = [b * expected_acceptance(0.009 * b) for b in sizes]
    assert best_block_size(0.009) == pytest.approx(sizes[int(np.argmax(gain))], rel=0.02)


def test_what_is_counted():
    """Oracle: diagonalizations by hand; Metropolis and hybrid Monte Carlo agree."""
    model = SMALL.model
    contestants = {}
    for name, make, n in (("metropolis", SpinMetropolis, 60), ("hmc", SphereHMC, 60)):
        weight = CountedWeight(model)
        kernel = make(weight)
        state = kernel.start(random_spins(np.random.default_rng(0), 6, 9))
        contestants[name] = Contestant(kernel, weight, state, n)
    found = measure(contestants, model, None, seed=1)
    assert found["metropolis"].diagonalizations == 9
    assert found["hmc"].diagonalizations == 9  # eight steps and the start
    assert found["hmc"].moved == 1.0
    flags = np.array([[1, 0], [0, 0], [0, 1], [0, 1]], dtype=bool)
    assert _longest_wait(flags) == 3


def test_the_speed_study():
    """Oracle: both ways to know what Metropolis costs; ratios from the table."""
    task = {
        "case": SMALL.state_dict(),
        "n_chains": 4,
        "n_steps": {"metropolis": 20, "hmc": 20, "self-learning": 40},
        "n_layers": 1,
        "steps": 2,
        "seed": 1,
    }
    found = speed_study(task)
    own, other = found["kernels"]["self-learning, linear"], found["kernels"]["metropolis"]
    ratio = found["ratios"]["self-learning, linear"]["metropolis, m2"]["diagonalizations"]
    expected = other["tau"]["m2"] * 9 / (own["tau"]["m2"] * own["diagonalizations"])
    assert ratio == pytest.approx(expected)
    assert own["diagonalizations"] <= 1.0
    assert "self-learning, attention" in found["kernels"]
    assert found["training_cpu_seconds"]["self-learning, attention"] > 0.0
    import kakehashi_slmc.studies.speed as speed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "LARGEST_METROPOLIS", 4)
        again = speed_study({**task, "n_metropolis": 2, "n_layers": 0})
    assert again["kernels"]["metropolis"]["diagonalizations"] == 9
    assert again["kernels"]["metropolis"]["n_chains"] == 2


def test_the_hard_study():
    """Oracle: the strong-coupling model wins where it must; all models are exact."""
    case = Case(length=3, coupling=16.0, chemical_potential=-8.0, temperature=0.1)
    found = hard_study(
        {
            "case": case.state_dict(),
            "n_chains": 4,
            "n_steps": 60,
            "attention_steps": 3,
            "seed": 1,
        }
    )
    rows = found["models"]
    assert rows["strong-coupling"]["variance"] < 0.2 * rows["linear"]["variance"]
    assert rows["strong-coupling"]["acceptance"] > rows["linear"]["acceptance"]
    means = [row["means"]["m2"] for row in rows.values()]
    errors = [row["errors"]["m2"] for row in rows.values()]
    assert np.ptp(means) < 6 * max(errors)


def test_the_block_study():
    """Oracle: sizes, and acceptance that falls with them."""
    found = block_study(
        {
            "case": Case(length=4).state_dict(),
            "sizes": [2, 16],
            "n_chains": 4,
            "n_training": 40,
            "n_steps": 100,
            "seed": 1,
        }
    )
    first, last = found["rows"]
    assert (first["size"], last["size"]) == (2, 16)
    assert first["acceptance"] > last["acceptance"]
    assert found["best_size_measured"] == 16


@pytest.mark.thorough
def test_the_command(tmp_path, monkeypatch, capsys):
    """Oracle: files and their contents; a second call computes nothing."""
    monkeypatch.setattr(command, "Case", lambda **k: Case(**{**k, "length": 4}))
    options = {"n_layers": 2, "seeds": (1, 2), "steps": 3, "output": tmp_path}
    assert command.bench_slmc(**options, json=tmp_path / "copy.json") == 0
    summary = json.loads((tmp_path / "copy.json").read_text("utf-8"))
    assert {r["model"] for r in summary["rows"]} == {"linear", "four-spin", "attention"}
    assert set(summary["fits"]) == {"2", "5"}
    assert "kakehashi-slmc" in summary["versions"]
    assert (tmp_path / "layers.png").stat().st_size > 10_000
    monkeypatch.setattr("kakehashi_slmc.studies.layers.configurations", None)
    assert command.bench_slmc(**options) == 0
    assert "four-spin" in capsys.readouterr().out
    with pytest.raises(UnknownNameError, match="layers"):
        command.bench_slmc(study="layer")
    with pytest.raises(InvalidInputError, match="--steps"):
        command.bench_slmc(steps=0)
    with pytest.raises(InvalidInputError, match="--seeds must not be negative"):
        command.bench_slmc(seeds=(1, -2))
