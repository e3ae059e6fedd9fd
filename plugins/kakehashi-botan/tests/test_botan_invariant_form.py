"""The invariant network: symmetries, batches, sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from botan_examples import liquid, random_network
from scipy.spatial.transform import Rotation

from kakehashi_botan.invariant_form import NetworkOutput, pair_kinds, side_by_side
from kakehashi_botan.mixtures import kob_andersen
from kakehashi_botan.network_inputs import network_input
from kakehashi_botan.snapshots import snapshot
from kakehashi_botan.structure_features import read_structure


def evaluated(found, kind="TS", **changes) -> NetworkOutput:
    reading = read_structure(found, kind, n_species=2)
    network = random_network(kind, global_width=4, **changes)
    with torch.no_grad():
        return network(network_input(reading, dtype=torch.float64))


def thermal(positions, types, cell):
    return snapshot(positions, types, cell, kob_andersen(), quench=False)


def test_no_rotation_shift_wrapping_or_order_changes_the_answer():
    """Oracle: the untouched structure."""
    found = liquid()
    turn = Rotation.from_euler("xyz", (0.3, 1.1, -0.7)).as_matrix().T
    order = np.random.default_rng(2).permutation(420)
    shifted = found.positions + found.cell[0] * (np.arange(420) % 3)[:, None] + 0.37
    before = evaluated(found)
    after = evaluated(thermal(shifted[order] @ turn, found.types[order], found.cell @ turn))
    assert after.field == pytest.approx(before.field[order], abs=1e-9)
    assert after.whole == pytest.approx(before.whole, abs=1e-9)
    assert np.sort(after.changes) == pytest.approx(np.sort(before.changes), abs=1e-9)
    # Control: a real change is seen.
    moved = found.positions.copy()
    moved[7] += 0.1
    assert abs(evaluated(thermal(moved, found.types, found.cell)).field - before.field).max() > 1e-4


def test_a_repeated_box_answers_the_same_for_every_copy():
    """Oracle: the single box; global numbers are means and do not grow."""
    found = liquid()
    twice = np.concatenate([found.positions, found.positions + found.cell[2]])
    cell = found.cell * [[1], [1], [2]]
    single, double = evaluated(found), evaluated(thermal(twice, np.tile(found.types, 2), cell))
    assert double.field == pytest.approx(torch.cat([single.field, single.field]), abs=1e-9)
    assert double.state == pytest.approx(single.state, abs=1e-9)
    assert len(double.changes) == 2 * len(single.changes)


@pytest.mark.parametrize("kind", ["TS", "IS", "TS+IS"])
def test_side_by_side_is_one_after_the_other(kind):
    """Oracle: each configuration by itself."""
    inputs = [
        network_input(read_structure(liquid(420, seed), kind, n_species=2), dtype=torch.float64)
        for seed in (0, 1)
    ]
    network = random_network(kind, global_width=4)
    with torch.no_grad():
        together = network(side_by_side(inputs))
        alone = [network(one) for one in inputs]
    for name in NetworkOutput._fields:
        expected = torch.cat([getattr(one, name) for one in alone])
        assert getattr(together, name) == pytest.approx(expected, abs=1e-10)


def test_both_ends_of_a_pair_are_equal():
    """Oracle: the pair named the other way round."""
    inputs = network_input(read_structure(liquid(), "TS", n_species=2), dtype=torch.float64)
    network = random_network("TS")
    with torch.no_grad():
        forward = network(inputs).changes
        backward = network(replace(inputs, pair_index=inputs.pair_index.flip(0))).changes
    assert backward == pytest.approx(forward, abs=1e-12)
    types = torch.tensor([0, 1, 2])
    pairs = torch.tensor([[0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]])
    assert pair_kinds(types, pairs, 3).tolist() == [0, 1, 2, 3, 4, 5]
    assert pair_kinds(types, pairs.flip(0), 3).tolist() == [0, 1, 2, 3, 4, 5]


def test_the_global_head_never_speaks_to_particles():
    """Oracle: other energies of the whole change its answer, and no particle's."""
    inputs = network_input(read_structure(liquid(), "TS", n_species=2), dtype=torch.float64)
    network = random_network("TS", global_width=4)
    with torch.no_grad():
        before = network(inputs)
        after = network(replace(inputs, configuration=inputs.configuration + 1.0))
    assert torch.equal(before.field, after.field)
    assert torch.equal(before.changes, after.changes)
    assert (before.whole - after.whole).abs().min() > 1e-6


def test_only_conditioned_networks_hear_the_temperature():
    found = read_structure(liquid(), "TS", n_species=2)
    cold, hot = (network_input(found, temperature=t, dtype=torch.float64) for t in (0.4, 0.8))
    for conditioned in (False, True):
        network = random_network("TS", conditioned=conditioned)
        with torch.no_grad():
            same = torch.equal(network(cold).field, network(hot).field)
        assert same is not conditioned


def test_messages_by_hand():
    """Oracle: the formula in loops, one layer."""
    inputs = network_input(read_structure(liquid(), "TS", n_species=2), dtype=torch.float64)
    network = random_network("TS", n_layers=1)
    with torch.no_grad():
        field = network(inputs).field
        kinds = torch.nn.functional.one_hot(inputs.types, 2).double()
        known = torch.cat([((inputs.descriptors - 3.0) / 3.0).clamp(-6, 6), kinds], dim=1)
        h = network.linear(known) + network.encoder(known)
        for i in (0, 5, 123):
            total = torch.zeros(8, dtype=torch.float64)
            for e in torch.nonzero(inputs.edge_index[1] == i)[:, 0]:
                j, r = inputs.edge_index[0, e], inputs.lengths[e]
                basis = torch.exp(-0.5 * ((r - network.radii) / (1.3 / 9)) ** 2)
                envelope = 0.5 * (torch.cos(np.pi * r / 2.0) + 1)
                made = envelope * network.edge(torch.cat([basis, kinds[j]]))
                gate = network.filters[0](made)
                total += gate * network.senders[0](h[j])
            both = torch.cat([h[i], total / 10.0])
            new = h[i] + network.updates[0](both) + 0.3 * network.skips[0](both)
            expected = 0.1 * network.mobility(torch.cat([h[i], new]))[inputs.types[i]]
            assert float(field[i]) == pytest.approx(float(expected), abs=1e-7)
