"""Descriptors, reversed ends and the linear model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kakehashi_botan.graphs import particle_graph
from kakehashi_botan.isoconfigurational_data import IsoconfigurationalData
from kakehashi_botan.mixtures import cubic_box, kob_andersen
from kakehashi_botan.reversed_ends import reversed_end, start_sample
from kakehashi_botan.ridge_form import RidgeMoments, RidgePropensity, RidgeSample
from kakehashi_botan.shell_descriptors import (
    REACH,
    SHELL_CENTERS,
    SHELL_WIDTH,
    local_descriptors,
    smoothing_operator,
)
from kakehashi_botan.snapshots import snapshot, snapshot_arrays, snapshot_from_arrays
from kakehashi_botan.structure_features import n_descriptors, read_structure
from kakehashi_core.errors import InvalidInputError


def liquid(n: int = 420, seed: int = 0):
    """Return positions, types and cell of a random, gently repelled system."""
    rng = np.random.default_rng(seed)
    cell = cubic_box(n, 1.2)
    types = (np.arange(n) % 5 == 0).astype(np.int64)
    quenched = snapshot(rng.random((n, 3)) @ cell, types, cell, kob_andersen())
    assert quenched.inherent_positions is not None
    return quenched.inherent_positions + rng.normal(0, 0.05, (n, 3)), types, cell


def test_shells_and_bond_orders_against_loops():
    """Oracle: plain loops over particles; bond orders through the addition theorem of Legendre."""
    positions, types, cell = liquid()
    energies = np.random.default_rng(1).normal(size=len(types))
    graph = particle_graph(positions, types, cell, cutoff=REACH)
    local = local_descriptors(graph, energies, n_species=2)
    assert local.shape == (420, 47)
    for i in (0, 17, 333):
        delta = positions - positions[i]
        delta -= cell[0, 0] * np.round(delta / cell[0, 0])
        r = np.linalg.norm(delta, axis=1)
        others = np.flatnonzero((r > 0) & (r < REACH))
        for species in (0, 1):
            chosen = others[types[others] == species]
            shells = np.exp(-0.5 * ((r[chosen, None] - SHELL_CENTERS) / SHELL_WIDTH) ** 2).sum(0)
            assert local[i, 22 * species : 22 * (species + 1)] == pytest.approx(shells)
        assert local[i, 44] == energies[i]
        weights = np.where(r < 1.35, 1.0, np.exp(-0.5 * ((r - 1.35) / 0.15) ** 2))[others]
        unit = delta[others] / r[others, None]
        for column, degree in ((45, 4), (46, 6)):
            legendre = np.polynomial.legendre.Legendre.basis(degree)(unit @ unit.T)
            square = weights @ legendre @ weights / weights.sum() ** 2
            assert local[i, column] == pytest.approx(np.sqrt(square), abs=1e-5)


def test_averages_keep_constants_and_smooth():
    """Oracle: constants stay; the weight of one neighbor by hand; repetition."""
    positions, types, cell = liquid()
    still = snapshot(positions, types, cell, kob_andersen(), quench=False)
    reading = read_structure(still, "TS", n_species=2)
    n = len(types)
    smoothing = smoothing_operator(reading.edge_index, reading.lengths, n)
    assert smoothing @ np.ones(n) == pytest.approx(np.ones(n))
    j, i = reading.edge_index[:, 777]
    delta = positions[j] - positions[i]
    r = np.linalg.norm(delta - cell[0, 0] * np.round(delta / cell[0, 0]))
    assert smoothing[i, j] / smoothing[i, i] == pytest.approx(np.exp(-r))
    levels = reading.levels(3)
    assert levels.shape == (n, 3 * 47)
    assert levels[:, 94:] == pytest.approx(smoothing @ (smoothing @ reading.descriptors))


@pytest.mark.parametrize("kind", ["TS", "IS", "TS+IS"])
def test_readings_do_not_see_rotations_shifts_wrapping_or_order(kind):
    """Oracle: the untouched system; the cell turns with the particles."""
    positions, types, cell = liquid()
    reference = snapshot(positions, types, cell, kob_andersen())
    turn = Rotation.from_euler("xyz", (0.3, 1.1, -0.7)).as_matrix().T
    order = np.random.default_rng(2).permutation(420)
    changed = (positions + cell[0] * (np.arange(420) % 3)[:, None] + 0.37)[order] @ turn
    moved = snapshot(changed, types[order], cell @ turn, kob_andersen())
    before = read_structure(reference, kind, n_species=2)
    after = read_structure(moved, kind, n_species=2)
    assert before.descriptors.shape == (420, n_descriptors(kind, 2))
    # Two quenches of the same structure differ by their rounding.
    tolerance = 1e-8 if kind == "TS" else 1e-3
    assert after.levels(2) == pytest.approx(before.levels(2)[order], abs=tolerance)
    assert after.configuration == pytest.approx(before.configuration, abs=1e-7)
    same = {tuple(sorted(pair)) for pair in before.pair_index.T.tolist()}
    assert {tuple(sorted(order[pair])) for pair in after.pair_index.T.tolist()} == same
    assert np.sort(after.pair_lengths, axis=0) == pytest.approx(
        np.sort(before.pair_lengths, axis=0), abs=tolerance
    )


def test_pairs_are_those_of_the_thermal_structure():
    """Oracle: all distances of the 420 particles, in both structures."""
    positions, types, cell = liquid()
    both = snapshot(positions, types, cell, kob_andersen())
    reading = read_structure(both, "TS+IS", n_species=2)

    def distances(x):
        delta = x[:, None] - x[None]
        return np.linalg.norm(delta - cell[0, 0] * np.round(delta / cell[0, 0]), axis=-1)

    thermal, inherent = distances(both.positions), distances(both.inherent_positions)
    i, j = reading.pair_index
    assert len(i) == (np.triu(thermal < 2.0, 1)).sum()
    assert reading.pair_lengths == pytest.approx(np.column_stack([thermal[i, j], inherent[i, j]]))
    assert reading.configuration == pytest.approx([both.thermal_energy, both.inherent_energy])


def test_thermal_readings_come_without_a_quench():
    positions, types, cell = liquid()
    alone = snapshot(positions, types, cell, kob_andersen(), quench=False)
    assert alone.inherent_positions is None
    assert read_structure(alone, "TS", n_species=2).descriptors.shape == (420, 47)
    with pytest.raises(InvalidInputError, match="needs an inherent structure"):
        read_structure(alone, "IS", n_species=2)
    with pytest.raises(ValueError, match="no inherent structure"):
        _ = alone.inherent_energy


def test_snapshots_survive_files():
    positions, types, cell = liquid(100)
    stored = snapshot(positions, types, cell, kob_andersen())
    again = snapshot_from_arrays(snapshot_arrays(stored))
    for name in ("positions", "types", "cell", "energies", "inherent_positions"):
        assert np.array_equal(getattr(again, name), getattr(stored, name))


def test_a_short_graph_is_refused():
    positions, types, cell = liquid(100)
    graph = particle_graph(positions, types, cell, cutoff=2.0)
    with pytest.raises(InvalidInputError, match=r"need 3\.15"):
        local_descriptors(graph, np.zeros(100), n_species=2)


def test_reversed_ends_are_the_same_displacements_seen_from_the_other_side():
    """Oracle: lengths by hand; a symmetric random walk has the same mean from both sides."""
    rng = np.random.default_rng(3)
    start = rng.random((50, 3)) * 4
    ends = start + rng.normal(0.0, 0.3, (1, 6, 50, 3))
    data = IsoconfigurationalData(
        types=np.zeros(50, dtype=int),
        initial_positions=start,
        positions=ends,
        cell=4 * np.eye(3),
        pbc=np.ones(3, dtype=bool),
        times=np.array([1.0]),
        temperature=0.44,
    )
    lengths = np.linalg.norm(ends[0] - start, axis=-1)
    first = start_sample(data)
    assert first.propensity == pytest.approx(lengths.mean(axis=0))
    assert first.n_runs == 6
    samples = [reversed_end(data, run) for run in range(6)]
    for sample, end, length in zip(samples, ends[0], lengths, strict=True):
        assert np.array_equal(sample.positions, end)
        assert sample.propensity == pytest.approx(length)
        assert sample.n_runs == 1
        assert np.array_equal(sample.displaced[0], start)


def ridge_samples(
    n_configurations: int = 6, noise: float = 0.0
) -> tuple[list[RidgeSample], np.ndarray]:
    rng = np.random.default_rng(4)
    slopes = rng.normal(size=(2, 5))
    samples = []
    for _ in range(n_configurations):
        features = rng.normal(size=(200, 5)) * (1, 2, 3, 4, 5) + 7
        types = rng.integers(0, 2, 200)
        configuration = rng.normal(size=1)
        field = np.einsum("nf,nf->n", features, slopes[types])
        for species in (0, 1):
            field[types == species] -= field[types == species].mean()
        propensity = 0.5 + types + 2.0 * configuration[0] + field
        samples.append(
            RidgeSample(
                features=features,
                configuration=configuration,
                types=types,
                propensity=propensity + noise * rng.normal(size=200),
            )
        )
    return samples, slopes


def test_a_linear_world_is_found_exactly():
    """Oracle: the slopes that made the targets; penalty zero. Control: an unseen configuration."""
    samples, slopes = ridge_samples()
    parts = [RidgeMoments.of(part, n_species=2) for part in (samples[:2], samples[2:5])]
    moments = RidgeMoments.merged(parts)
    model = RidgePropensity.fit(moments, kind="IS", n_levels=1, penalty=0.0)
    assert model.weights / model.scale == pytest.approx(slopes, rel=1e-8)
    assert model.means == pytest.approx(np.array([[0.5, 2.0], [1.5, 2.0]]), abs=1e-8)
    unseen = samples[5]
    predicted = model.predict(unseen.features, unseen.configuration, unseen.types)
    assert predicted == pytest.approx(unseen.propensity, abs=1e-8)
    assert model.residual.max() < 1e-6
    strange = dataclasses.replace(
        samples[0], propensity=samples[0].propensity + 9.0, counts_for_mean=False
    )
    moments.add(strange)
    again = RidgePropensity.fit(moments, kind="IS", n_levels=1, penalty=0.0)
    assert again.means == pytest.approx(model.means)
    assert again.weights / again.scale == pytest.approx(slopes, rel=1e-8)


def test_residual_and_weights_of_noisy_samples():
    """Oracle: the noise that was added; a sample of weight zero changes nothing."""
    samples, _ = ridge_samples(40, noise=0.5)
    moments = RidgeMoments.of(samples, n_species=2)
    model = RidgePropensity.fit(moments, kind="IS", n_levels=1, penalty=1.0)
    assert model.residual == pytest.approx([0.5, 0.5], rel=0.03)
    broken = RidgeSample(
        features=samples[0].features,
        configuration=samples[0].configuration,
        types=samples[0].types,
        propensity=100 * samples[0].propensity,
        weight=0.0,
    )
    moments.add(broken)
    same = RidgePropensity.fit(moments, kind="IS", n_levels=1, penalty=1.0)
    assert same.weights == pytest.approx(model.weights, rel=1e-9)
    assert same.means == pytest.approx(model.means, rel=1e-6)
