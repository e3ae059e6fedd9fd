"""Machines written down in closed form: equal to Trotter products, with as many units as counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import chi2

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_dbm.block_gibbs import BlockGibbs
from kakehashi_dbm.constructions import exchange_machine, ising_machine, pauli_machine
from kakehashi_dbm.exchange_model import ExchangeModel
from kakehashi_dbm.ising_model import IsingModel
from kakehashi_dbm.machine_builder import MachineBuilder
from kakehashi_dbm.machine_picture import draw_machine
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


def symmetric_product(gates, n, step, n_steps):
    halves = [expm(-0.5 * step * dense(g, n)) for g in gates]
    once = np.eye(2**n)
    for half in [*halves, *reversed(halves)]:
        once = half @ once
    return np.linalg.matrix_power(once, n_steps)


@pytest.mark.parametrize(("form", "steps"), [("two-deep", 2), ("one-deep", 3)])
def test_exchange_machines_are_trotter_products(form, steps):
    """Oracle: dense exponentials of the bonds in the rotated frame; an XXZ chain of three in a field."""
    n, beta = 3, 1.1
    static = [
        ["xx", [[1.0, 0, 1], [0.7, 1, 2]]],
        ["yy", [[1.0, 0, 1], [0.7, 1, 2]]],
        ["zz", [[0.6, 0, 1], [-0.4, 1, 2]]],
        ["I", [[0.3, 0]]],
    ]
    model = ExchangeModel.from_spin_model(SpinModel.from_quspin(static, n))
    machine = exchange_machine(model, beta, steps, form=form)
    step = beta / (2 * steps)
    bonds = [
        [["xx", [[-jx, i, i + 1]]], ["yy", [[-jx, i, i + 1]]], ["zz", [[jz, i, i + 1]]]]
        for i, (jx, jz) in enumerate(((1.0, 0.6), (0.7, -0.4)))
    ]
    product = symmetric_product(bonds, n, step, steps) * np.exp(-0.5 * beta * 0.3)
    assert machine.matrix() == pytest.approx(product, rel=1e-11, abs=1e-11)
    assert (machine.matrix().real > -1e-12).all()


def test_exchange_machines_in_a_field():
    """Oracle: the exact exponential; slope 2.0 +- 0.1 in the step."""
    static = [[s, [[1.0, 0, 1]]] for s in ("xx", "yy", "zz")] + [["z", [[0.8, 0], [-0.3, 1]]]]
    model = ExchangeModel.from_spin_model(SpinModel.from_quspin(static, 2))
    turned = [[s, [[c, 0, 1]]] for s, c in (("xx", -1.0), ("yy", -1.0), ("zz", 1.0))]
    exact = expm(-0.5 * 1.2 * dense([*turned, static[-1]], 2))
    errors = [np.abs(exchange_machine(model, 1.2, k).matrix() - exact).max() for k in (4, 8)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.1)


def test_machines_of_any_two_spin_terms():
    """Oracle: dense exponentials; frustrated exchange, and letters x, y, z in all pairs."""
    n = 3
    triangle = [[s, [[1.0, 0, 1], [0.8, 1, 2], [0.6, 0, 2]]] for s in ("xx", "yy", "zz")]
    machine = pauli_machine(SpinModel.from_quspin(triangle, n), 0.9, 1)
    bonds = [[[s, [[c, i, j]]] for s in ("xx", "yy", "zz")] for c, i, j in triangle[0][1]]
    product = symmetric_product(bonds, n, 0.45, 1)
    assert machine.matrix() == pytest.approx(product, rel=1e-11, abs=1e-11)
    for letters in ("xx", "xy", "yy", "xz", "zy", "x", "y", "z"):
        for c in (0.7, -0.4):
            static = [[letters, [[c, 0, 1] if len(letters) == 2 else [c, 1]]]]
            machine = pauli_machine(SpinModel.from_quspin(static, 2), 1.0, 1)
            assert machine.matrix() == pytest.approx(expm(-0.5 * dense(static, 2)), abs=1e-12)


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
        builder.exchange(0, 1, 1.0, 0.0, 0.1)
    three = SpinModel.from_quspin([["zzz", [[1.0, 0, 1, 2]]]], 3)
    with pytest.raises(UnsupportedError, match="z_0 z_1 z_2"):
        pauli_machine(three, 1.0, 1)
    with pytest.raises(InvalidInputError, match="ancillas_apart"):
        builder.exchange(0, 1, 1.0, 1.0, 0.1, form="one-deep")


def test_units_of_real_machines_are_sampled():
    """Oracle: |Psi(s, s')|^2 of the machine itself; chi-square of thinned states of all spins."""
    n = 2
    static = [["zz", [[-0.7, 0, 1]]], ["z", [[0.3, 0]]], ["x", [[-0.9, 0], [-0.6, 1]]]]
    machine = ising_machine(IsingModel.from_spin_model(SpinModel.from_quspin(static, n)), 1.2, 2)
    kernel = BlockGibbs(machine, times=8)
    rng = np.random.default_rng(1)
    state = kernel.start(kernel.random_start(rng, 400))
    counts = np.zeros(16)
    for number in range(60):
        state = kernel.step(state, rng).state
        if number >= 10:
            bits = state.positions[:, : 2 * n] < 0
            counts += np.bincount(bits @ (8, 4, 2, 1), minlength=16)
    p = np.abs(machine.matrix().ravel()) ** 2
    expected = counts.sum() * p / p.sum()
    assert chi2.sf(((counts - expected) ** 2 / expected).sum(), 15) > 1e-4
    complex_one = pauli_machine(SpinModel.from_quspin([["yy", [[1.0, 0, 1]]]], 2), 1.0, 1)
    with pytest.raises(UnsupportedError, match="complex weights"):
        BlockGibbs(complex_one)


def test_pictures_show_every_unit():
    """Oracle: counts of units; layers in the order of imaginary time."""
    pytest.importorskip("matplotlib").use("Agg")
    model = IsingModel.from_spin_model(SpinModel.from_quspin(ising(3), 3))
    machine = ising_machine(model, 1.0, 2)
    assert machine.places[:3, 1].tolist() == [2, 2, 2]
    assert machine.places[3:6].tolist() == [[0, 0], [1, 0], [2, 0]]
    axes = draw_machine(machine)
    drawn = [len(c.get_offsets()) for c in axes.collections]
    assert drawn == [3, 3, machine.n_deep, machine.n_hidden]
