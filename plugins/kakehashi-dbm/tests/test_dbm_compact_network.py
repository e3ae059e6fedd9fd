"""Learned layers: known values, transfer to large systems, sampling."""

from __future__ import annotations

import numpy as np
import pytest

from kakehashi_core.chains import run_chains
from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_dbm.cluster_updates import ClusterUpdate, random_loops
from kakehashi_dbm.compact_network import (
    CompactNetwork,
    dense_hamiltonian,
    dense_infidelity,
    dense_state,
    fit_compact,
    ring_energy,
    ring_infidelity,
)
from kakehashi_dbm.compact_refinement import fit_network, refine
from kakehashi_dbm.free_fermions import ring_thermodynamics
from kakehashi_dbm.ising_model import IsingModel
from kakehashi_dbm.line_averages import line_averages
from kakehashi_dbm.thermal_sampler import ThermalDBM
from kakehashi_quspin.spin_model import SpinModel


def ring_of(n):
    static = [
        ["zz", [[-1.0, i, (i + 1) % n] for i in range(n)]],
        ["x", [[-1.0, i] for i in range(n)]],
    ]
    return SpinModel.from_quspin(static, n)


def ising(n):
    return IsingModel.from_spin_model(ring_of(n))


def test_the_network_of_the_literature():
    """Oracle: known weights at N = 8, beta = 4, L = 4: infidelity, and energies after transfer."""
    network = fit_compact(4.0, 4, ring_infidelity(8, 1.0, 1.0, 4.0))
    assert network.n_parameters == 5
    assert network.diagonal[:3] == pytest.approx([0.081087, 0.418854, 0.698214], abs=2e-3)
    assert network.transverse[:2] == pytest.approx([0.245936, 0.596220], abs=2e-3)
    assert np.exp(ring_infidelity(8, 1.0, 1.0, 4.0)(network)) < 2e-5
    for n, bound in ((8, 1e-5), (64, 2e-4)):
        exact = ring_thermodynamics(n, 1.0, 1.0, 4.0).energy
        assert abs(ring_energy(network, n, 1.0, 1.0) - exact) / n < bound
    uniform = CompactNetwork.uniform(4.0, 4)
    exact = ring_thermodynamics(64, 1.0, 1.0, 4.0).energy
    assert abs(ring_energy(uniform, 64, 1.0, 1.0) - exact) / 64 > 1e-2


def test_free_fermions_and_matrices_agree():
    """Oracle: each other, for energies and infidelities of any layers."""
    network = CompactNetwork(
        beta=1.5, diagonal=np.array([0.1, 0.3, 0.1]), transverse=np.array([0.25, 0.25])
    )
    model = ising(5)
    psi = dense_state(network, model)
    assert psi == pytest.approx(psi.T, rel=1e-12)
    h = dense_hamiltonian(model)
    assert h == pytest.approx(ring_of(5).matrix().real)
    energy = np.trace(psi.T @ h @ psi) / (psi**2).sum()
    assert ring_energy(network, 5, 1.0, 1.0) == pytest.approx(energy, abs=1e-7)
    found = dense_infidelity(model, 1.5)(network)
    assert ring_infidelity(5, 1.0, 1.0, 1.5)(network) == pytest.approx(found, abs=1e-7)


def test_loops_of_few_layers_are_sampled():
    """Oracle: the exact energy of the network; both physical slices."""
    n = 16
    network = fit_compact(2.0, 3, ring_infidelity(8, 1.0, 1.0, 2.0))
    model = ising(n)
    loop = network.loop(model)
    assert loop.n_slices == 6

    def energy(state):
        z, x = line_averages(loop, state.positions)
        s = state.positions[:, loop.physical]
        pairs = 0.5 * (z * np.roll(s, 1, axis=2) + z * np.roll(s, -1, axis=2)).sum(axis=2)
        return -(pairs + x.sum(axis=2)).mean(axis=1)

    run = run_chains(
        ClusterUpdate(loop),
        random_loops(loop, np.random.default_rng(0), 40),
        observables={"e": energy},
        n_measurements=400,
        warmup=20,
        seed=1,
    )
    assert abs(run.estimate("e").z_score(ring_energy(network, n, 1.0, 1.0))) < 4
    assert run.estimate("e").stderr < 0.005 * n


def test_disorder_is_fitted_with_matrices():
    """Oracle: the infidelity of equal layers, which a fit must beat."""
    rng = np.random.default_rng(2)
    static = [
        ["zz", [[float(c), i, i + 1] for i, c in enumerate(rng.normal(size=4))]],
        ["z", [[0.3, 2]]],
        ["x", [[-float(c), i] for i, c in enumerate(rng.uniform(0.5, 1.5, size=5))]],
    ]
    model = IsingModel.from_spin_model(SpinModel.from_quspin(static, 5))
    measure = dense_infidelity(model, 2.0)
    network = fit_compact(2.0, 3, measure)
    assert measure(network) < measure(CompactNetwork.uniform(2.0, 3)) - np.log(3.0)


def test_refinement_by_sampling():
    """Oracle: the exact infidelity of a ring; from equal layers it must fall by most of what it can."""
    n, beta, n_layers = 12, 2.0, 3
    measure = ring_infidelity(n, 1.0, 1.0, beta)
    start = CompactNetwork.uniform(beta, n_layers)
    best = fit_compact(beta, n_layers, measure)
    found = refine(start, ring_of(n), n_iterations=30, n_measurements=60, seed=1)
    before, after, least = (np.exp(measure(w)) for w in (start, found.network, best))
    assert after < least + 0.2 * (before - least)
    assert found.logs.shape == (30, 4)


def test_disorder_is_refined_bond_by_bond():
    """Oracle: the infidelity by matrices of the best times that all bonds share."""
    rng = np.random.default_rng(4)
    n = 6
    static = [
        ["zz", [[-float(c), i, i + 1] for i, c in enumerate(rng.uniform(0.2, 1.8, size=n - 1))]],
        ["x", [[-float(c), i] for i, c in enumerate(rng.uniform(0.4, 1.6, size=n))]],
    ]
    spins = SpinModel.from_quspin(static, n)
    model = IsingModel.from_spin_model(spins)
    measure = dense_infidelity(model, 3.0)
    shared = fit_network(spins, 3.0, 2)
    own = refine(shared, spins, n_iterations=60, n_measurements=100, per_bond=True, seed=2).network
    assert own.n_parameters == 2 * (n - 1 + n) + n
    assert measure(own) < measure(shared) - np.log(1.5)


def test_networks_go_to_files_and_samplers(tmp_path):
    """Oracle: the network itself; energies of the sampler against its exact ones."""
    n = 16
    spins = ring_of(n)
    network = fit_network(spins, 2.0, 3)
    network.save(tmp_path / "ring.json")
    again = CompactNetwork.load(tmp_path / "ring.json")
    assert np.array_equal(again.diagonal, network.diagonal)
    thermal = ThermalDBM(spins, beta=2.0, network=tmp_path / "ring.json", n_chains=30, seed=1)
    thermal.run(400)
    assert thermal.n_slices == 6
    assert abs(thermal.energy().z_score(ring_energy(network, n, 1.0, 1.0))) < 4
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(InvalidInputError, match="format"):
        CompactNetwork.load(tmp_path / "broken.json")
    with pytest.raises(InvalidInputError, match="no saved network"):
        CompactNetwork.load(tmp_path / "missing.json")


def test_bad_input():
    """Oracle: what messages say."""
    with pytest.raises(UnsupportedError, match="transverse"):
        fit_network(SpinModel.from_quspin([["zz", [[1.0, 0, 1]]]], 2), 1.0, 2)
    with pytest.raises(InvalidInputError, match="n_iterations"):
        refine(CompactNetwork.uniform(1.0, 2), ring_of(4), n_iterations=1)
    with pytest.raises(InvalidInputError, match="n_layers"):
        CompactNetwork.uniform(1.0, 0)
    with pytest.raises(UnsupportedError, match="11 sites"):
        dense_infidelity(ising(11), 1.0)
