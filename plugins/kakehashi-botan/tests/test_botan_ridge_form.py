"""Descriptors, reversed ends and the linear model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kakehashi_botan.graphs import particle_graph
from kakehashi_botan.isoconfigurational_data import IsoconfigurationalData
from kakehashi_botan.mixtures import cubic_box, kob_andersen
from kakehashi_botan.reversed_ends import reversed_ends, start_sample
from kakehashi_botan.ridge_form import RidgePropensity, RidgeSample
from kakehashi_botan.shell_descriptors import REACH, SHELL_CENTERS, SHELL_WIDTH, surroundings
from kakehashi_botan.snapshots import snapshot, snapshot_arrays, snapshot_from_arrays
from kakehashi_botan.structure_features import global_features, n_features, particle_features
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
    found = surroundings(graph, energies, n_species=2)
    assert found.local.shape == (420, 47)
    for i in (0, 17, 333):
        delta = positions - positions[i]
        delta -= cell[0, 0] * np.round(delta / cell[0, 0])
        r = np.linalg.norm(delta, axis=1)
        others = np.flatnonzero((r > 0) & (r < REACH))
        for species in (0, 1):
            chosen = others[types[others] == species]
            shells = np.exp(-0.5 * ((r[chosen, None] - SHELL_CENTERS) / SHELL_WIDTH) ** 2).sum(0)
            assert found.local[i, 22 * species : 22 * (species + 1)] == pytest.approx(shells)
        assert found.local[i, 44] == energies[i]
        weights = np.where(r < 1.35, 1.0, np.exp(-0.5 * ((r - 1.35) / 0.15) ** 2))[others]
        unit = delta[others] / r[others, None]
        for column, degree in ((45, 4), (46, 6)):
            legendre = np.polynomial.legendre.Legendre.basis(degree)(unit @ unit.T)
            square = weights @ legendre @ weights / weights.sum() ** 2
            assert found.local[i, column] == pytest.approx(np.sqrt(square), abs=1e-5)


def test_averages_keep_constants_and_smooth():
    """Oracle: rows of the operator sum to one; the average of one neighbor pair by hand."""
    positions, types, cell = liquid()
    graph = particle_graph(positions, types, cell, cutoff=REACH)
    found = surroundings(graph, np.zeros(420), n_species=2)
    assert found.smoothing @ np.ones(420) == pytest.approx(np.ones(420))
    i, j = 5, int(graph.edge_index[0, graph.edge_index[1] == 5][0])
    row = found.smoothing.toarray()[i]
    r = np.linalg.norm(positions[j] - positions[i])
    delta = positions[j] - positions[i]
    r = np.linalg.norm(delta - cell[0, 0] * np.round(delta / cell[0, 0]))
    assert row[j] / row[i] == pytest.approx(np.exp(-r) if r < 2.0 else 0.0)
    levels = found.levels(n_levels=3)
    assert levels[:, 94:] == pytest.approx(found.smoothing @ (found.smoothing @ found.local))


@pytest.mark.parametrize("kind", ["TS", "IS", "TS+IS"])
def test_features_do_not_see_rotations_shifts_wrapping_or_order(kind):
    """Oracle: the untouched system; the cell turns with the particles."""
    positions, types, cell = liquid()
    reference = snapshot(positions, types, cell, kob_andersen())
    turn = Rotation.from_euler("xyz", (0.3, 1.1, -0.7)).as_matrix().T
    order = np.random.default_rng(2).permutation(420)
    changed = (positions + cell[0] * (np.arange(420) % 3)[:, None] + 0.37)[order] @ turn
    moved = snapshot(changed, types[order], cell @ turn, kob_andersen())
    before = particle_features(reference, kind, n_species=2, n_levels=2)
    after = particle_features(moved, kind, n_species=2, n_levels=2)
    assert before.shape == (420, n_features(kind, 2, 2))
    # Two quenches of the same structure differ by their rounding.
    assert after == pytest.approx(before[order], abs=1e-8 if kind == "TS" else 1e-3)
    assert global_features(moved, kind) == pytest.approx(global_features(reference, kind), abs=1e-7)


def test_thermal_features_come_without_a_quench():
    positions, types, cell = liquid()
    alone = snapshot(positions, types, cell, kob_andersen(), quench=False)
    assert alone.inherent_positions is None
    assert particle_features(alone, "TS", n_species=2, n_levels=1).shape == (420, 47)
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
        surroundings(graph, np.zeros(100), n_species=2)


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
    samples = list(reversed_ends(data))
    assert len(samples) == 6
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
    model = RidgePropensity.fit(samples[:5], kind="IS", n_levels=1, penalty=0.0, n_species=2)
    assert model.weights / model.scale == pytest.approx(slopes, rel=1e-8)
    assert model.means == pytest.approx(np.array([[0.5, 2.0], [1.5, 2.0]]), abs=1e-8)
    unseen = samples[5]
    predicted = model.predict(unseen.features, unseen.configuration, unseen.types)
    assert predicted == pytest.approx(unseen.propensity, abs=1e-8)
    assert model.residual.max() < 1e-6


def test_residual_and_weights_of_noisy_samples():
    """Oracle: the noise that was added; a sample of weight zero changes nothing."""
    samples, _ = ridge_samples(40, noise=0.5)
    model = RidgePropensity.fit(samples, kind="IS", n_levels=1, penalty=1.0, n_species=2)
    assert model.residual == pytest.approx([0.5, 0.5], rel=0.03)
    broken = RidgeSample(
        features=samples[0].features,
        configuration=samples[0].configuration,
        types=samples[0].types,
        propensity=100 * samples[0].propensity,
        weight=0.0,
    )
    same = RidgePropensity.fit([*samples, broken], kind="IS", n_levels=1, penalty=1.0, n_species=2)
    assert same.weights == pytest.approx(model.weights, rel=1e-9)
    assert same.means == pytest.approx(model.means, rel=1e-6)
