"""The sampler and the learning of its warm-up: exactness, resuming, input as hosts write it."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from kakehashi_core.chains import run_chains
from kakehashi_core.contracts import Sampler
from kakehashi_core.errors import InvalidInputError, UnknownNameError
from kakehashi_slmc.distance_shells import distance_shells
from kakehashi_slmc.effective_training import AttentionTraining
from kakehashi_slmc.lattices import lattice, lattice_of
from kakehashi_slmc.learned_models import Attention, FourSpins, StrongCoupling, model_kinds
from kakehashi_slmc.magnetic_moments import spins_of, with_spins
from kakehashi_slmc.quspin_input import hopping_from_quspin
from kakehashi_slmc.self_learner import SelfLearner
from kakehashi_slmc.spin_fermion import SpinFermion
from kakehashi_slmc.spin_fermion_sampler import SpinFermionSampler
from kakehashi_slmc.unit_vectors import random_spins

RING = lattice("chain", (3,))
TRIANGLE = SpinFermion.from_matrix(RING.hopping, 3.0, temperature=0.3, chemical_potential=-1.2)
SHELLS = distance_shells(RING.positions, RING.cell)


def triangle_averages():
    """Return <S_1 . S_2>, the energy and the filling by quadrature over three angles."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    a, b, p = np.meshgrid(nodes, nodes, 2 * np.pi * np.arange(24) / 24, indexing="ij")
    w = (weights[:, None, None] * weights[None, :, None] * np.ones(24)).ravel()
    a, b, p = a.ravel(), b.ravel(), p.ravel()
    zero = np.zeros_like(a)
    spins = np.stack(
        [
            np.stack([zero, zero, zero + 1], axis=-1),
            np.stack([np.sqrt(1 - a**2), zero, a], axis=-1),
            np.stack([np.sqrt(1 - b**2) * np.cos(p), np.sqrt(1 - b**2) * np.sin(p), b], axis=-1),
        ],
        axis=1,
    )
    spectrum = TRIANGLE.spectrum(spins)
    weight = TRIANGLE.log_weight(spectrum)
    w = w * np.exp(weight - weight.max())
    w /= w.sum()
    return (
        float(w @ a),
        float(w @ TRIANGLE.electron_energy(spectrum)),
        float(w @ TRIANGLE.filling(spectrum)),
    )


@pytest.mark.parametrize("effective", ["linear", "four-spin", "strong-coupling"])
def test_the_sampler_on_a_triangle(effective):
    """Oracle: quadrature; error bars count."""
    sampler = SpinFermionSampler(
        TRIANGLE, lattice=RING, effective=effective, n_chains=64, warmup=200, seed=1
    )
    assert isinstance(sampler, Sampler)
    assert sampler.learned is None
    sampler.run(300)
    assert sampler.learned is not None
    assert set(sampler.learned.variances) == {"linear", effective}
    bond, energy, filling = triangle_averages()
    dots = [[letters, [[1.0, 0, 1]]] for letters in ("xx", "yy", "zz")]
    for operator, exact in ((dots, bond), ("energy", energy), ("filling", filling)):
        found = sampler.expt_value(operator)
        assert abs(found.z_score(exact)) < 4
        assert found.stderr < 0.01 * max(1.0, abs(exact))
    same = sampler.expt_value(lambda s: np.einsum("ba,ba->b", s[:, 0], s[:, 1]))
    assert same.mean == pytest.approx(sampler.expt_value(dots).mean, abs=1e-12)
    diagnostics = sampler.diagnostics()
    assert 0.3 < diagnostics["acceptance"] <= 1.0
    assert diagnostics["R-hat"] < 1.05
    states = sampler.sample(70)
    assert states.shape == (70, 3, 3)
    assert np.linalg.norm(states, axis=-1) == pytest.approx(np.ones((70, 3)))


def test_without_a_lattice_bonds_count():
    """Oracle: the sampler that knows positions; a chain has as many shells as hops."""
    chain = lattice("chain", (6,))
    model = SpinFermion.from_matrix(chain.hopping, 1.0, temperature=0.5)
    found = [
        SpinFermionSampler(model, lattice=where, n_chains=8, warmup=130, seed=3).energy().mean
        for where in (chain, None)
    ]
    assert found[0] == pytest.approx(found[1], abs=0.02)
    staggered = SpinFermionSampler(model, n_chains=8, warmup=130, seed=3)
    assert 0.2 < staggered.expt_value("staggered_magnetization").mean < 1.0


@pytest.mark.parametrize("stop", [40, 150, 230])
def test_a_stopped_sampler_goes_on_to_the_last_bit(stop):
    """Oracle: the run that was not stopped; in the bootstrap, between fits, and after them."""
    kinds = model_kinds("strong-coupling", TRIANGLE, SHELLS)
    kernel = SelfLearner(TRIANGLE, SHELLS, kinds=kinds)
    rng = np.random.default_rng(5)
    state = kernel.start(random_spins(np.random.default_rng(4), 6, 3))
    for n in range(260):
        if n == stop:
            saved = kernel.state_dict(), state, rng.bit_generator.state
        step = kernel.step(state, rng)
        state = step.state
        if n < 220:
            kernel.adapt(step)
    again = SelfLearner(TRIANGLE, SHELLS, kinds=kinds)
    again.load_state_dict(saved[0])
    other, rng.bit_generator.state = saved[1], saved[2]
    for n in range(stop, 260):
        step = again.step(other, rng)
        other = step.state
        if n < 220:
            again.adapt(step)
    assert np.array_equal(other.positions, state.positions)
    assert np.array_equal(other.log_weights, state.log_weights)


def test_learning_in_a_run_directory(tmp_path):
    """Oracle: the same call without a directory; what a second call finds there."""

    def run(directory):
        return run_chains(
            SelfLearner(TRIANGLE, SHELLS, kinds=model_kinds("four-spin", TRIANGLE, SHELLS)),
            random_spins(np.random.default_rng(4), 6, 3),
            observables={"m": lambda s: np.linalg.norm(s.positions.mean(axis=1), axis=1)},
            n_measurements=20,
            warmup=125,
            seed=6,
            directory=directory,
        )

    first, second, third = run(None), run(tmp_path), run(tmp_path)
    for other in (second, third):
        assert np.array_equal(first.series["m"], other.series["m"])


def test_samplers_resume_from_their_state():
    """Oracle: the sampler that went on."""
    first, second = (SpinFermionSampler(TRIANGLE, n_chains=4, seed=s) for s in (7, 8))
    first.run(5)
    second.load_state_dict(first.state_dict())
    assert second.seed == 7
    assert np.array_equal(first.sample(12), second.sample(12))
    assert first.energy().mean == second.energy().mean
    fresh = SpinFermionSampler(TRIANGLE, n_chains=4, seed=9)
    saved = fresh.state_dict()
    states = fresh.sample(8)
    fresh.load_state_dict(saved)
    assert np.array_equal(fresh.sample(8), states)
    other = SpinFermionSampler(TRIANGLE, n_chains=5, seed=7)
    with pytest.raises(InvalidInputError, match="shape"):
        other.load_state_dict(first.state_dict())
    hotter = SpinFermionSampler(TRIANGLE.at(temperature=0.4), n_chains=4, seed=7)
    with pytest.raises(InvalidInputError, match=r"temperature = 0\.3, this one has 0\.4"):
        hotter.load_state_dict(first.state_dict())
    linear = SpinFermionSampler(TRIANGLE, effective="linear", n_chains=4, seed=7)
    with pytest.raises(InvalidInputError, match="effective = 'auto', this one has 'linear'"):
        linear.load_state_dict(first.state_dict())
    part = {k: v for k, v in first.state_dict().items() if k != "rng"}
    with pytest.raises(InvalidInputError, match="the state has no rng"):
        second.load_state_dict(part)


def test_models_come_back_from_their_arrays():
    """Oracle: the model before it was stored."""
    from kakehashi_slmc.effective_training import TrainingSample

    spins = random_spins(np.random.default_rng(9), 60, 3)
    sample = TrainingSample(spins=spins, log_weights=TRIANGLE(spins))
    short = AttentionTraining(steps=3)
    for kind in (
        FourSpins(SHELLS),
        StrongCoupling(TRIANGLE, SHELLS),
        Attention(SHELLS, n_layers=2, training=short),
    ):
        model = kind.fit(sample, sample, seed=1)
        arrays = {name: np.array(a) for name, a in kind.arrays(model).items()}
        assert np.array_equal(kind.restore(arrays)(spins), model(spins))


def test_hopping_from_quspin_lists():
    """Oracle: QuSpin's own matrices in the space of one particle."""
    quspin = pytest.importorskip("quspin")
    from quspin.basis import spinful_fermion_basis_general, spinless_fermion_basis_general
    from quspin.operators import hamiltonian

    assert quspin is not None
    quiet = {"check_herm": False, "check_symm": False, "check_pcon": False}
    n = 3
    hop = [[-1.0, 0, 1], [-1.0, 1, 0], [-0.5j, 1, 2], [0.5j, 2, 1]]
    back = [[1.0, 0, 1], [1.0, 1, 0]]
    flip = [[0.3, 0, 0], [0.2 + 0.1j, 1, 2]]
    flop = [[-0.3, 0, 0], [-(0.2 - 0.1j), 1, 2]]
    spinful = [
        ["+-|", hop],
        ["|-+", back],
        ["n|", [[0.7, 1]]],
        ["|n", [[-0.2, 2]]],
        ["+|-", flip],
        ["-|+", flop],
    ]
    spinless = [["+-", hop], ["-+", [[0.4, 1, 5]]], ["+-", [[-0.4, 1, 5]]], ["n", [[0.9, 4]]]]
    both = spinful_fermion_basis_general(n, Nf=[(1, 0), (0, 1)])
    alone = spinless_fermion_basis_general(2 * n, Nf=1)
    for static, basis in ((spinful, both), (spinless, alone)):
        exact = hamiltonian(static, [], basis=basis, dtype=np.complex128, **quiet).toarray()
        assert hopping_from_quspin(static, n) == pytest.approx(exact, abs=1e-14)
    alike = [[letters, [[-1.0, 0, 1], [-1.0, 1, 0]]] for letters in ("+-|", "|+-")]
    found = hopping_from_quspin(alike, 2)
    assert found.tolist() == [[0.0, -1.0], [-1.0, 0.0]]
    assert SpinFermion.from_matrix(found, 1.0, temperature=0.1).inversion_symmetric


@pytest.mark.parametrize(
    ("static", "message"),
    [
        ([["zz", [[1.0, 0, 1]]]], "one-body"),
        ([["++|--", [[1.0, 0, 1, 0, 1]]]], "one-body"),
        ([["+-|", [[1.0, 0, 3]]]], "0 to 2"),
        ([["+-", [[1.0, 0]]]], "do not fit"),
        (["+-"], "pair"),
        (object(), "static list"),
        ([["+-", [[-1.0, 0, 1], [-1.0, 1, 0]]]], "2 n_sites = 6, up first"),
    ],
)
def test_lists_that_are_no_hopping(static, message):
    """Oracle: what messages say."""
    with pytest.raises(InvalidInputError, match=message):
        hopping_from_quspin(static, 3)


def test_the_product_formula_against_the_whole_fock_space():
    """Oracle: QuSpin's many-body spectrum for fixed spins, log sum exp of minus energies over T."""
    pytest.importorskip("quspin")
    from quspin.basis import spinless_fermion_basis_general
    from quspin.operators import hamiltonian

    spins = random_spins(np.random.default_rng(10), 1, 3)
    h = TRIANGLE.matrices(spins)[0] - TRIANGLE.chemical_potential * np.eye(6)
    hops = [[complex(h[p, q]), p, q] for p in range(6) for q in range(6) if p != q and h[p, q]]
    static = [["+-", hops], ["n", [[complex(h[p, p]), p] for p in range(6)]]]
    whole = hamiltonian(
        static,
        [],
        basis=spinless_fermion_basis_general(6),
        dtype=np.complex128,
        check_herm=False,
        check_symm=False,
        check_pcon=False,
    )
    energies = np.linalg.eigvalsh(whole.toarray())
    assert len(energies) == 64
    exact = np.logaddexp.reduce(-energies / TRIANGLE.temperature)
    assert TRIANGLE(spins)[0] == pytest.approx(exact, rel=1e-12)


def test_spins_travel_as_magnetic_moments(tmp_path):
    """Oracle: what went in; extxyz through ASE; a lattice of the same atoms."""
    from ase.io import read, write

    atoms = bulk("Fe", "bcc", a=2.9, cubic=True) * (2, 1, 1)
    spins = random_spins(np.random.default_rng(11), 2, len(atoms))
    images = with_spins(atoms, spins, size=2.2)
    assert spins_of(images) == pytest.approx(spins)
    write(tmp_path / "spins.extxyz", images)
    assert spins_of(read(tmp_path / "spins.extxyz", index=":")) == pytest.approx(spins, abs=1e-7)
    atoms.set_initial_magnetic_moments([1.0, -2.0, 1.0, -1.0])
    assert spins_of(atoms)[0, :, 2].tolist() == [1.0, -1.0, 1.0, -1.0]
    atoms.set_initial_magnetic_moments([1.0, 0.0, 1.0, 1.0])
    with pytest.raises(InvalidInputError, match="atom 1"):
        spins_of(atoms)
    assert lattice_of(atoms, cutoff=2.6).n_sites == 4


def test_bad_input():
    """Oracle: what messages say."""
    with pytest.raises(UnknownNameError, match="four-spin"):
        SpinFermionSampler(TRIANGLE, effective="fourspin")
    with pytest.raises(InvalidInputError, match="at least 121"):
        SpinFermionSampler(TRIANGLE, warmup=50)
    with pytest.raises(InvalidInputError, match="n_chains"):
        SpinFermionSampler(TRIANGLE, n_chains=0)
    with pytest.raises(InvalidInputError, match="4 sites and the model 3"):
        SpinFermionSampler(TRIANGLE, lattice=lattice("chain", (4,)))
    with pytest.raises(InvalidInputError, match="at least 10"):
        SelfLearner(TRIANGLE, SHELLS, bootstrap=2)
    with pytest.raises(InvalidInputError, match="n_sweeps must be at least 1"):
        SelfLearner(TRIANGLE, SHELLS, n_sweeps=0)
    with pytest.raises(InvalidInputError, match="learns during at least 121 steps"):
        run_chains(
            SelfLearner(TRIANGLE, SHELLS),
            random_spins(np.random.default_rng(0), 2, 3),
            observables={},
            n_measurements=2,
            warmup=50,
        )
    sampler = SpinFermionSampler(TRIANGLE, n_chains=4, seed=1)
    sampler.run(2)
    for operator, message in (
        ([["z+", [[1.0, 0, 1]]]], "classical spins"),
        ([["zz", [[1.0, 0]]]], "does not fit"),
        ([["z", [[1j, 0]]]], "not real"),
        (lambda spins: spins, "one"),
        ("staggered_magnetization", "bipartite"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            sampler.expt_value(operator)
    with pytest.raises(UnknownNameError, match="energy"):
        sampler.expt_value("enrgy")
    with pytest.raises(InvalidInputError, match="at least 1"):
        sampler.sample(0)
