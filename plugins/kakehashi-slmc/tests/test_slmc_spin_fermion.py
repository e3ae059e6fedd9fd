"""The exact weight: closed forms, symmetries, gradient, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kakehashi_core.chains import ParallelTempering, run_chains
from kakehashi_core.errors import InvalidInputError
from kakehashi_slmc.lattices import lattice
from kakehashi_slmc.shared_spectrum import SharedSpectrum
from kakehashi_slmc.spin_fermion import SpinFermion
from kakehashi_slmc.spin_kernels import SpinMetropolis
from kakehashi_slmc.torch_weights import TorchSpinFermion
from kakehashi_slmc.unit_vectors import normalized, random_rotations, random_spins

RNG = np.random.default_rng(0)
DIMER = np.array([[0.0, -1.0], [-1.0, 0.0]])


def square(**options):
    return SpinFermion.from_matrix(
        lattice("square", (3, 4), t_prime=0.3).hopping, 1.7, temperature=0.1, **options
    )


def test_the_dimer_in_closed_form():
    """Oracle: four energies of two sites, from the angle between the spins."""
    model = SpinFermion.from_matrix(DIMER, 3.0, temperature=0.2, chemical_potential=0.5)
    spins = random_spins(RNG, 5, 2)
    c = np.sqrt((1.0 + np.einsum("ba,ba->b", spins[:, 0], spins[:, 1])) / 2.0)
    outer, inner = np.sqrt(1 + 2.25 + 3 * c), np.sqrt(1 + 2.25 - 3 * c)
    energies = np.stack([-outer, -inner, inner, outer], axis=1)
    assert model.spectrum(spins) == pytest.approx(energies, abs=1e-12)
    expected = np.log1p(np.exp(-(energies - 0.5) / 0.2)).sum(axis=1)
    assert model(spins) == pytest.approx(expected, rel=1e-13)


def test_average_over_the_dimer_by_quadrature():
    """Oracle: the number of the note, <S_1 . S_2> = -0.354262343."""
    model = SpinFermion.from_matrix(DIMER, 3.0, temperature=0.2, chemical_potential=0.5)
    x, weights = np.polynomial.legendre.leggauss(60)
    spins = np.zeros((60, 2, 3))
    spins[:, 0, 2] = 1.0
    spins[:, 1] = np.stack([np.sqrt(1 - x**2), 0 * x, x], axis=1)
    w = weights * np.exp(model(spins) - model(spins).max())
    assert float((w * x).sum() / w.sum()) == pytest.approx(-0.354262343, abs=1e-9)


@pytest.mark.parametrize("twist", [None, (0.4, 0.0)])
def test_symmetries(twist):
    """Oracle: rotations always; S -> -S and J -> -J for real hopping only; translations without a twist."""
    hopping = lattice("square", (3, 4), twist=twist).hopping
    model = SpinFermion.from_matrix(hopping, 1.7, temperature=0.1, chemical_potential=-0.6)
    spins = random_spins(RNG, 3, 12)
    expected = model(spins)
    rotated = np.einsum("bij,bnj->bni", random_rotations(RNG, 3), spins)
    assert model(rotated) == pytest.approx(expected, rel=1e-12)
    inverted = SpinFermion.from_matrix(
        hopping.conj(), 1.7, temperature=0.1, chemical_potential=-0.6
    )
    assert inverted(-spins) == pytest.approx(expected, rel=1e-12)
    same = bool(np.abs(model(-spins) - expected).max() < 1e-9)
    assert same is model.inversion_symmetric is (twist is None)
    moved = spins.reshape(3, 3, 4, 3)[:, :, [1, 2, 3, 0]].reshape(3, 12, 3)
    assert model(moved) == pytest.approx(expected, rel=1e-12)


def test_particles_and_holes():
    """Oracle: log W(mu) = log W(-mu) + 2 N mu / T on a bipartite lattice; half filling at mu = 0."""
    model = SpinFermion.from_matrix(lattice("square", (4, 4)).hopping, 1.0, temperature=0.1)
    spins = random_spins(RNG, 2, 16)
    spectrum = model.spectrum(spins)
    above, below = (model.at(chemical_potential=mu).log_weight(spectrum) for mu in (0.7, -0.7))
    assert above == pytest.approx(below + 2 * 16 * 0.7 / 0.1, rel=1e-12)
    assert model.filling(spectrum) == pytest.approx([1.0, 1.0])
    assert model.at(temperature=0.2)(spins) == pytest.approx(
        np.logaddexp(0, -spectrum / 0.2).sum(1)
    )


@pytest.mark.parametrize("mu", [0.0, -1.3])
def test_gradient_by_differences(mu):
    """Oracle: central differences of log W along the sphere."""
    model = square(chemical_potential=mu)
    spins = random_spins(RNG, 2, 12)
    value, gradient = model.value_and_gradient(spins)
    assert value == pytest.approx(model(spins))
    for site in (0, 7):
        tangent = np.cross(spins[:, site], RNG.normal(size=(2, 3)))
        h = 1e-5
        moved = [spins.copy(), spins.copy()]
        for sign, other in zip((1, -1), moved, strict=True):
            other[:, site] = normalized(other[:, site] + sign * h * tangent)
        difference = (model(moved[0]) - model(moved[1])) / (2 * h)
        assert np.einsum("ba,ba->b", gradient[:, site], tangent) == pytest.approx(
            difference, rel=1e-6
        )


def test_energy_and_filling_are_derivatives_of_the_weight():
    """Oracle: d log W / d mu = N_el / T, and d log W / d beta = -(E - mu N_el)."""
    model = square(chemical_potential=-0.4)
    spectrum = model.spectrum(random_spins(RNG, 3, 12))
    h = 1e-6
    by_mu = [model.at(chemical_potential=-0.4 + s * h).log_weight(spectrum) for s in (1, -1)]
    electrons = 12 * model.filling(spectrum)
    assert (by_mu[0] - by_mu[1]) / (2 * h) == pytest.approx(electrons / 0.1, rel=1e-7)
    by_beta = [model.at(temperature=1 / (10 + s * h)).log_weight(spectrum) for s in (1, -1)]
    expected = -(model.electron_energy(spectrum) + 0.4 * electrons)
    assert (by_beta[0] - by_beta[1]) / (2 * h) == pytest.approx(expected, rel=1e-6)


def test_hopping_of_both_spins_and_couplings_of_every_site():
    """Oracle: the block-diagonal matrix; sites without coupling do not care about their spin."""
    hopping = lattice("chain", (4,)).hopping
    both = np.kron(np.eye(2), hopping)
    spins = random_spins(RNG, 2, 4)
    simple = SpinFermion.from_matrix(hopping, np.full(4, 2.0), temperature=0.3)
    full = SpinFermion.from_matrix(both, np.full(4, 2.0), temperature=0.3)
    assert full.n_sites == 4
    assert full(spins) == pytest.approx(simple(spins), rel=1e-13)
    partly = SpinFermion.from_matrix(hopping, [2.0, 0.0, 1.0, 1.0], temperature=0.3)
    turned = spins.copy()
    turned[:, 1] *= -1
    assert partly(turned) == pytest.approx(partly(spins), rel=1e-14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hopping": [[0, 1], [2, 0]]}, r"not Hermitian: element \(0, 1\) is 1"),
        ({"hopping": [[0, 1j], [1j, 0]]}, "not Hermitian"),
        ({"hopping": np.zeros((3, 3))}, "falls apart into 3 parts"),
        ({"hopping": np.zeros((2, 3))}, r"shape \(2, 3\)"),
        ({"hopping": [[0, np.nan], [np.nan, 0]]}, "not finite"),
        ({"coupling": [1.0, 2.0, 3.0]}, r"J has shape \(3,\)"),
        ({"n_sites": 3}, "n_sites is 3"),
        ({"hopping": np.kron(np.eye(2), DIMER)}, "matrix of both spins, give n_sites=2"),
        ({"coupling": [1j, 1.0]}, "real numbers"),
        ({"temperature": 0.0}, "T is 0.0"),
        ({"temperature": -1.0}, "T is -1.0"),
        ({"chemical_potential": np.inf}, "mu is inf"),
    ],
)
def test_models_that_cannot_be(change, message):
    options = {"hopping": DIMER, "coupling": 1.0, "temperature": 0.1, "chemical_potential": 0.0}
    options |= change
    with pytest.raises(InvalidInputError, match=message):
        SpinFermion.from_matrix(options.pop("hopping"), options.pop("coupling"), **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hopping": np.array([[0.0, 1.0], [2.0, 0.0]])}, "not Hermitian"),
        ({"coupling": 1.0}, "for each site"),
        ({"coupling": np.ones(3)}, r"J has shape \(3,\)"),
        ({"temperature": np.inf}, "T is inf"),
        ({"chemical_potential": np.nan}, "mu is nan"),
    ],
)
def test_models_made_directly_are_checked_too(change, message):
    """Oracle: what messages say; the numbers of ``from_matrix``."""
    options = {"hopping": np.array(DIMER), "coupling": np.ones(2), "temperature": 0.1}
    SpinFermion(**options)
    with pytest.raises(InvalidInputError, match=message):
        SpinFermion(**(options | change))
    with pytest.raises(InvalidInputError, match="T is nan"):
        SpinFermion(**options).at(temperature=np.nan)


def test_the_number_of_sites_of_a_matrix_of_both_spins():
    """Oracle: J of every site."""
    both = np.kron(np.eye(2), DIMER)
    spins = random_spins(RNG, 2, 2)
    one = SpinFermion.from_matrix(both, 2.0, temperature=0.3, n_sites=2)
    each = SpinFermion.from_matrix(both, [2.0, 2.0], temperature=0.3)
    assert np.array_equal(one(spins), each(spins))


def test_spins_that_cannot_be():
    model = SpinFermion.from_matrix(DIMER, 1.0, temperature=0.1)
    with pytest.raises(InvalidInputError, match=r"spin 1 of chain 0 is \[0.0, 0.0, 2.0\]"):
        model([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]])
    with pytest.raises(InvalidInputError, match=r"\(n_chains, 2, 3\)"):
        model(np.zeros((1, 3, 3)))
    spins = random_spins(RNG, 1, 2)
    spins[0, 0, 0] = np.nan
    with pytest.raises(InvalidInputError, match="spin 0 of chain 0"):
        model(spins)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_weights_on_a_device(device):
    """Oracle: the model on the CPU; hopping of one spin, and of both with twist."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    found = lattice("triangular", (3, 3), twist=(0.3, 0.1))
    spins = random_spins(np.random.default_rng(3), 4, 9)
    both = np.kron(np.array([[1.0, 0.2], [0.2, 0.7]]), found.hopping)
    for hopping in (found.hopping, both):
        model = SpinFermion.from_matrix(
            hopping, np.linspace(1, 2, 9), temperature=0.1, chemical_potential=-0.4
        )
        other = TorchSpinFermion(model, device=device)
        assert other(spins) == pytest.approx(model(spins), rel=1e-12)
        value, gradient = model.value_and_gradient(spins)
        found_value, found_gradient = other.value_and_gradient(spins)
        assert found_value == pytest.approx(value, rel=1e-12)
        assert found_gradient == pytest.approx(gradient, abs=1e-10)


def test_one_spectrum_serves_all_temperatures():
    """Oracle: models at each temperature; diagonalizations that are counted."""
    model = SpinFermion.from_matrix(lattice("chain", (4,)).hopping, 2.0, temperature=0.1)
    shared = SharedSpectrum(model, (0.1, 0.2, 0.5), (0.0, 0.0, -0.3))
    spins = random_spins(np.random.default_rng(4), 6, 4)
    table = shared(spins)
    for k, (t, mu) in enumerate(((0.1, 0.0), (0.2, 0.0), (0.5, -0.3))):
        expected = model.at(temperature=t, chemical_potential=mu)(spins)
        assert np.array_equal(table[:, k], expected)
        assert np.array_equal(shared.at(k)(spins), expected)
    assert shared.n_diagonalizations == 6
    with pytest.raises(InvalidInputError, match="2 temperatures and 1"):
        SharedSpectrum(model, (0.1, 0.2), (0.0,))


def test_tempering_with_one_spectrum():
    """Oracle: quadrature of the dimer at both temperatures; exchanges cost no diagonalization."""
    model = SpinFermion.from_matrix([[0.0, -1.0], [-1.0, 0.0]], 3.0, temperature=0.2)
    temperatures = (0.2, 0.6)
    shared = SharedSpectrum(model, temperatures)
    kernel = ParallelTempering(
        [SpinMetropolis(shared.at(k), target_acceptance=None) for k in range(2)], shared
    )
    run = run_chains(
        kernel,
        random_spins(np.random.default_rng(5), 400, 2).reshape(200, 2, 2, 3),
        observables={
            f"x{k}": lambda s, k=k: np.einsum(
                "ba,ba->b", s.positions[:, k, 0], s.positions[:, k, 1]
            )
            for k in range(2)
        },
        n_measurements=60,
        warmup=20,
        seed=6,
    )
    x, w = np.polynomial.legendre.leggauss(60)
    spins = np.zeros((60, 2, 3))
    spins[:, 0, 2] = 1.0
    spins[:, 1] = np.stack([np.sqrt(1 - x**2), 0 * x, x], axis=1)
    for k, t in enumerate(temperatures):
        logw = model.at(temperature=t)(spins)
        weights = w * np.exp(logw - logw.max())
        assert abs(run.estimate(f"x{k}").z_score(float(weights @ x / weights.sum()))) < 4
    # Two sites, two temperatures, 80 steps, 200 chains, and the start.
    assert shared.n_diagonalizations <= 200 * 2 * (80 * 2 + 1)
    assert kernel.exchanges.sum() > 0.3 * kernel.attempts.sum()
