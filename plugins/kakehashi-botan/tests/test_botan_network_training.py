"""Training of the invariant network: it learns, resumes exactly, and looks at what it may look at."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from botan_examples import liquid

from kakehashi_botan.invariant_form import InvariantNetwork, NetworkSettings
from kakehashi_botan.network_inputs import network_input
from kakehashi_botan.structure_features import read_structure
from kakehashi_botan.training.field_statistics import (
    BIN_EDGES,
    FieldStatistics,
    pairs_by_distance,
    penalties,
    true_statistics,
)
from kakehashi_botan.training.network_training import (
    NetworkSample,
    TrainingSettings,
    batch_loss,
    set_scales,
    species_centered,
    train_network,
    whole_target,
)
from kakehashi_core.errors import KakehashiError

pytest.importorskip("lightning_fabric", reason="training needs kakehashi-botan[train]")

SHAPE = NetworkSettings(kind="TS", n_descriptors=47, width=8, n_layers=1, dropout=0.0)
SHORT = TrainingSettings(steps=60, n_pairs=200, learning_rate=0.01)


@cache
def sample(seed: int = 0, n_runs: int = 4) -> NetworkSample:
    """Return a world whose mobility is the number of neighbors, and whose bonds change with length."""
    reading = read_structure(liquid(420, seed), "TS", n_species=2)
    crowd = reading.descriptors[:, 3]
    return NetworkSample(
        inputs=network_input(reading, temperature=0.4 + 0.1 * seed),
        propensity=torch.as_tensor(0.5 + 0.1 * crowd, dtype=torch.float32),
        changes=torch.as_tensor(0.2 - 0.1 * reading.pair_lengths[:, 0], dtype=torch.float32),
        contacts=torch.arange(50),
        temperature=0.4 + 0.1 * seed,
        n_runs=n_runs,
        ensemble=seed,
    )


def trained(directory, steps=60, **changes):
    return train_network(
        [sample(0), sample(1)],
        SHAPE,
        directory,
        training=replace(SHORT, steps=steps, **changes),
        seed=1,
        identity={"sha256": "test"},
    )


def test_a_simple_world_is_learned(tmp_path):
    """Oracle: the rule that made the targets, at a configuration that was not seen. Control: no steps."""
    network = trained(tmp_path)
    unseen = sample(2)
    with torch.no_grad():
        output = network(unseen.inputs)
    field = species_centered(output.field, unseen.inputs, 2)
    truth = species_centered(unseen.propensity, unseen.inputs, 2)
    assert np.corrcoef(field, truth)[0, 1] > 0.9
    assert np.corrcoef(output.changes, unseen.changes)[0, 1] > 0.9
    untrained = InvariantNetwork(SHAPE).eval()
    with torch.no_grad():
        blind = species_centered(untrained(unseen.inputs).field, unseen.inputs, 2)
    assert abs(np.corrcoef(blind, truth)[0, 1]) < 0.8


def test_an_interrupted_training_ends_with_the_same_bits(tmp_path, monkeypatch):
    """Oracle: the training that was not interrupted."""
    whole = trained(tmp_path / "whole", steps=12)
    calls = []
    original = batch_loss

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr("kakehashi_botan.training.network_training.batch_loss", failing)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "broken", steps=12)
    monkeypatch.undo()
    again = trained(tmp_path / "broken", steps=12)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    with pytest.raises(KakehashiError, match=r"steps|config"):
        trained(tmp_path / "whole", steps=12, learning_rate=0.02)


def test_scales_are_those_of_the_samples():
    """Oracle: means and spreads by hand."""
    network = InvariantNetwork(replace(SHAPE, global_width=4))
    samples = [sample(0), sample(1)]
    set_scales(network, samples)
    first = [s.inputs.descriptors[s.inputs.types == 1] for s in samples]
    assert network.center[1] == pytest.approx(torch.stack([f.mean(0) for f in first]).mean(0))
    assert float(network.temperature_center) == pytest.approx(0.45)
    targets = torch.stack([whole_target(s, 2) for s in samples])
    assert network.whole_center == pytest.approx(targets.mean(0))
    assert targets[0, 0] == pytest.approx(0.4)


def test_the_loss_of_a_perfect_network_is_zero(monkeypatch):
    """Oracle: outputs that are the targets. Control: a shifted mean changes nothing, a scaled field does."""
    one = sample(0)
    network = InvariantNetwork(SHAPE)
    set_scales(network, [one, sample(1)])

    def answer(field, changes=one.changes):
        from kakehashi_botan.invariant_form import NetworkOutput

        empty = torch.zeros(1, 0)
        monkeypatch.setattr(
            network, "forward", lambda _: NetworkOutput(field, changes, empty, empty)
        )
        return float(batch_loss(network, [one], SHORT)[0])

    assert answer(one.propensity) == pytest.approx(0.0, abs=1e-10)
    assert answer(one.propensity + 3.0) == pytest.approx(0.0, abs=1e-6)
    assert answer(2.0 * one.propensity) > 0.5
    assert answer(one.propensity, one.changes + 0.1) > 0.01


def test_true_statistics_are_free_of_the_noise_of_runs():
    """Oracle: the field without noise, many configurations of noise with few runs."""
    rng = np.random.default_rng(0)
    found = liquid()
    pairs, bins = pairs_by_distance(found.positions, found.types, found.cell, seed=1)
    assert bins.min() == 0
    assert bins.max() == len(BIN_EDGES) - 2
    wave = np.cos(2 * np.pi * found.positions[:, 0] / found.cell[0, 0])
    field = 0.05 * (wave - wave[found.types == 0].mean())
    variance, correlation = [], []
    for _ in range(300):
        runs = 0.4 + field + 0.1 * rng.normal(size=(4, 420)) + 0.05 * rng.normal(size=(4, 1))
        v, c = true_statistics(runs, found.types, pairs, bins)
        variance.append(v)
        correlation.append(c)
    chosen = field[found.types == 0]
    assert np.mean(variance) == pytest.approx(chosen.var(), rel=0.05)
    products = field[pairs[0]] * field[pairs[1]]
    expected = [products[bins == k].mean() for k in range(4)]
    assert np.mean(correlation, axis=0) == pytest.approx(expected, abs=0.03 * chosen.var())
    target = FieldStatistics(
        variance=float(chosen.var()),
        correlation=torch.tensor(expected),
        pairs=torch.as_tensor(pairs),
        bins=torch.as_tensor(bins),
    )
    types = torch.as_tensor(found.types)
    at_truth = penalties(torch.as_tensor(field), types, target)
    assert [float(p) for p in at_truth] == pytest.approx([0.0, 0.0], abs=1e-10)
    half = penalties(0.5 * torch.as_tensor(field), types, target)
    assert float(half[0]) == pytest.approx(0.25)
    assert float(half[1]) > 0.1
