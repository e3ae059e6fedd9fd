"""Free fermions: closed forms against numbers of the literature and dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from kakehashi_core.errors import InvalidInputError
from kakehashi_dbm.free_fermions import (
    RingLayer,
    chain_thermodynamics,
    log_layered_trace,
    ring_thermodynamics,
)
from kakehashi_quspin.exact_thermal import exact_thermal
from kakehashi_quspin.spin_model import SpinModel

# N, beta, G: E/N, C/N, S/N at J = 1.
KNOWN = {
    (64, 1, 0.5): (-0.8492301199, 0.37272862, 0.35119724),
    (64, 2, 0.5): (-1.0215745485, 0.27207194, 0.11669967),
    (64, 5, 0.5): (-1.0634874629, 0.00322956, 0.01114053),
    (64, 1, 1.0): (-1.1179418373, 0.30730776, 0.29726580),
    (64, 2, 1.0): (-1.2381125463, 0.15168376, 0.13713870),
    (64, 5, 1.0): (-1.2680583581, 0.05486151, 0.05226424),
    (64, 10, 1.0): (-1.2722220582, 0.02725331, 0.02448981),
    (64, 1, 2.0): (-2.0407859361, 0.25150213, 0.11886310),
    (64, 10, 2.0): (-2.1270888197, 6e-8, 0.0),
}


def ring(n, j, g):
    return [["zz", [[-j, i, (i + 1) % n] for i in range(n)]], ["x", [[-g, i] for i in range(n)]]]


@pytest.mark.parametrize("case", KNOWN)
def test_rings_of_the_literature(case):
    """Oracle: tabulated values."""
    n, beta, g = case
    found = ring_thermodynamics(n, 1.0, g, beta)
    values = found.energy / n, found.specific_heat / n, found.entropy(beta) / n
    assert values == pytest.approx(KNOWN[case], abs=2e-8)


@pytest.mark.parametrize(
    ("n", "j", "g"), [(3, 1.0, 0.7), (5, -1.0, 0.4), (6, 0.8, 0.8), (7, -0.6, -1.1)]
)
def test_rings_against_diagonalization(n, j, g):
    """Oracle: QuSpin; odd rings, both signs, the critical point."""
    for beta in (0.3, 1.5):
        exact = exact_thermal(ring(n, j, g), n, beta=beta)
        found = ring_thermodynamics(n, j, g, beta)
        assert found.log_partition == pytest.approx(exact.log_partition.mean, rel=1e-11)
        assert found.energy == pytest.approx(exact.energy.mean, rel=1e-9)
        assert found.specific_heat == pytest.approx(exact.specific_heat.mean, rel=1e-7)


def test_chains_with_disorder():
    """Oracle: QuSpin, and a tabulated clean chain."""
    rng = np.random.default_rng(0)
    j, g = rng.normal(size=6), rng.normal(size=7)
    static = [
        ["zz", [[-c, i, i + 1] for i, c in enumerate(j)]],
        ["x", [[-c, i] for i, c in enumerate(g)]],
    ]
    exact = exact_thermal(static, 7, beta=1.2)
    found = chain_thermodynamics(j, g, 1.2)
    assert found.log_partition == pytest.approx(exact.log_partition.mean, rel=1e-12)
    assert found.energy == pytest.approx(exact.energy.mean, rel=1e-11)
    assert found.specific_heat == pytest.approx(exact.specific_heat.mean, rel=1e-9)
    clean = chain_thermodynamics(np.ones(63), np.ones(64), 10.0)
    assert clean.energy / 64 == pytest.approx(-1.2662396287, abs=1e-9)
    assert clean.specific_heat / 64 == pytest.approx(0.02650012, abs=1e-8)
    assert clean.entropy(10.0) / 64 == pytest.approx(0.02642279, abs=1e-8)


@pytest.mark.parametrize("n", [3, 4, 6])
def test_layers_against_matrices(n):
    """Oracle: dense exponentials; a Boltzmann factor in the product."""
    bonds = SpinModel.from_quspin([["zz", [[1.0, i, (i + 1) % n] for i in range(n)]]], n).matrix()
    fields = SpinModel.from_quspin([["x", [[1.0, i] for i in range(n)]]], n).matrix()
    layers = [
        RingLayer(bonds=0.3),
        RingLayer(fields=0.5),
        RingLayer(bonds=-0.4),
        RingLayer(bonds=0.6, fields=0.9),
        RingLayer(fields=0.2),
    ]
    product = np.eye(2**n)
    for layer in layers:
        product = product @ expm(layer.bonds * bonds.real + layer.fields * fields.real)
    assert log_layered_trace(n, layers) == pytest.approx(np.log(np.trace(product)), rel=1e-12)


def test_layers_at_low_temperature():
    """Oracle: the closed form of the ring; no overflow."""
    found = log_layered_trace(64, [RingLayer(bonds=40.0, fields=40.0)])
    assert found == pytest.approx(ring_thermodynamics(64, 1.0, 1.0, 40.0).log_partition, rel=1e-11)


def test_bad_input():
    """Oracle: what messages say."""
    with pytest.raises(InvalidInputError, match="3 sites"):
        ring_thermodynamics(2, 1.0, 1.0, 1.0)
    with pytest.raises(InvalidInputError, match="beta"):
        ring_thermodynamics(4, 1.0, 1.0, 0.0)
    with pytest.raises(InvalidInputError, match="one coupling less"):
        chain_thermodynamics([1.0], [1.0], 1.0)
