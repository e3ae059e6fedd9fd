"""Machines written down in closed form: equal to Trotter products, with as many units as counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_dbm.ising_construction import ising_machine
from kakehashi_dbm.ising_model import IsingModel
from kakehashi_dbm.machine_builder import MachineBuilder
from kakehashi_quspin.spin_model import SpinModel

RNG = np.random.default_rng(0)


def dense(operators, n):
    return SpinModel.from_quspin(operators, n).matrix()


def ising(n, *, j=1.0, g=1.0, h=0.0, ring=True):
    bonds = [[-j, i, (i + 1) % n] for i in range(n if ring else n - 1)]
    static = [["zz", bonds], ["x", [[-g, i] for i in range(n)]]]
    if h:
        static.append(["z", [[-h, i] for i in range(n)]])
    return static


def parts(static, n):
    """Return diagonal and transverse matrices."""
    return dense([t for t in static if "x" not in t[0]], n), dense(
        [t for t in static if "x" in t[0]], n
    )


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_ising_machines_are_trotter_products(steps):
    """Oracle: dense exponentials; disorder of both signs, longitudinal fields, a constant."""
    n, beta = 3, 1.3
    static = [
        [
            "zz",
            [
                [float(c), i, k]
                for c, (i, k) in zip(RNG.normal(size=3), ((0, 1), (1, 2), (0, 2)), strict=True)
            ],
        ],
        ["z", [[0.3, 0], [-0.7, 2]]],
        ["x", [[-0.9, 0], [-0.2, 1], [-1.4, 2]]],
        ["I", [[0.4, 0]]],
    ]
    model = IsingModel.from_spin_model(SpinModel.from_quspin(static, n))
    machine = ising_machine(model, beta, steps)
    v, t = parts(static, n)
    step = beta / (2 * steps)
    half = expm(-0.5 * step * v)
    product = np.linalg.matrix_power(half @ expm(-step * t) @ half, steps)
    assert machine.is_real
    assert machine.matrix() == pytest.approx(product, rel=1e-12, abs=1e-12)


def test_the_error_is_of_second_order():
    """Oracle: the exact exponential; slope 2.0 +- 0.1."""
    n, beta = 3, 2.0
    static = ising(n)
    model = IsingModel.from_spin_model(SpinModel.from_quspin(static, n))
    exact = expm(-0.5 * beta * dense(static, n).real)
    errors = [np.abs(ising_machine(model, beta, steps).matrix() - exact).max() for steps in (3, 6)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.1)


def test_units_are_linear_in_sites_and_steps():
    """Oracle: counts by hand: bonds in n + 1 layers, a hidden unit for each transverse field."""
    for n, steps in ((4, 3), (8, 3), (4, 6)):
        machine = ising_machine(
            IsingModel.from_spin_model(SpinModel.from_quspin(ising(n), n)), 1.0, steps
        )
        assert machine.n_hidden == n * (steps + 1) + n * steps
        assert machine.n_deep == n * (steps - 1)


def test_negative_fields_are_rotated_and_missing_ones_freeze():
    """Oracle: dense exponentials in the rotated frame; a spin that nothing flips."""
    static = [["zz", [[-1.0, 0, 1]]], ["x", [[0.8, 0]]], ["z", [[0.2, 1]]]]
    model = IsingModel.from_spin_model(SpinModel.from_quspin(static, 2))
    assert model.rotation.sites.tolist() == [True, False]
    turned = [["zz", [[-1.0, 0, 1]]], ["x", [[-0.8, 0]]], ["z", [[0.2, 1]]]]
    v, t = parts(turned, 2)
    half = expm(-0.5 * 0.35 * v)
    product = np.linalg.matrix_power(half @ expm(-0.35 * t) @ half, 2)
    machine = ising_machine(model, 1.4, 2)
    assert machine.matrix() == pytest.approx(product, rel=1e-12, abs=1e-12)
    assert machine.matrix()[0, 1] == pytest.approx(0.0, abs=1e-14)


@pytest.mark.parametrize("form", ["two-deep", "one-deep"])
@pytest.mark.parametrize(("jz", "jx"), [(1.0, 1.0), (0.7, 1.3), (-0.6, 0.9)])
def test_exchange_gates(form, jz, jx):
    """Oracle: the exponential of the bond; several gates on a chain of three."""
    builder = MachineBuilder(2, ancillas_apart=form == "one-deep")
    builder.exchange(0, 1, jz, jx, 0.3, form=form)
    bond = [["zz", [[jz, 0, 1]]], ["xx", [[-jx, 0, 1]]], ["yy", [[-jx, 0, 1]]]]
    exact = expm(-0.3 * dense(bond, 2))
    assert builder.machine().matrix() == pytest.approx(exact, rel=1e-12, abs=1e-12)
    builder = MachineBuilder(3, ancillas_apart=form == "one-deep")
    product = np.eye(8)
    for i, k, step in ((0, 1, 0.2), (1, 2, 0.3), (0, 1, 0.25), (0, 2, 0.1)):
        builder.field(i, 0.15)
        builder.exchange(i, k, jz, jx, step, form=form)
        gate = [["zz", [[jz, i, k]]], ["xx", [[-jx, i, k]]], ["yy", [[-jx, i, k]]]]
        field = expm(0.15 * dense([["z", [[1.0, i]]]], 3))
        product = expm(-step * dense(gate, 3)) @ field @ product
    machine = builder.machine()
    assert machine.matrix() == pytest.approx(product, rel=1e-11, abs=1e-11)
    assert not machine.is_real


def test_what_is_refused():
    """Oracle: what messages say."""
    with pytest.raises(UnsupportedError, match="x_0 x_1"):
        IsingModel.from_spin_model(SpinModel.from_quspin([["xx", [[1.0, 0, 1]]]], 2))
    model = IsingModel.from_spin_model(SpinModel.from_quspin(ising(3), 3))
    with pytest.raises(InvalidInputError, match="beta"):
        ising_machine(model, 0.0, 2)
    machine = ising_machine(model, 1.0, 9)
    with pytest.raises(UnsupportedError, match="24 deep units"):
        machine.matrix()
    with pytest.raises(InvalidInputError, match="must both"):
        machine.psi([[1, 1]], [[1, 1]])
    builder = MachineBuilder(2)
    with pytest.raises(InvalidInputError, match="positive"):
        builder.transverse(0, -0.1)
    with pytest.raises(InvalidInputError, match="jx"):
        builder.exchange(0, 1, 1.0, -1.0, 0.1)
    with pytest.raises(InvalidInputError, match="ancillas_apart"):
        builder.exchange(0, 1, 1.0, 1.0, 0.1, form="one-deep")
