"""The strong-coupling model and features of spinors."""

from __future__ import annotations

import numpy as np
import pytest

from kakehashi_core.errors import InvalidInputError
from kakehashi_slmc.distance_shells import distance_shells
from kakehashi_slmc.lattices import lattice
from kakehashi_slmc.linear_model import LinearModel
from kakehashi_slmc.ridge_model import RidgeModel
from kakehashi_slmc.spin_features import BondFeatures, FourSpinFeatures, JoinedFeatures
from kakehashi_slmc.spin_fermion import SpinFermion
from kakehashi_slmc.spinors import spinors
from kakehashi_slmc.strong_coupling_model import StrongCouplingModel, suits_strong_coupling
from kakehashi_slmc.unit_vectors import random_rotations, random_spins

SITES = lattice("square", (3, 4), t_prime=0.2)
SHELLS = distance_shells(SITES.positions, SITES.cell)
SPINS = random_spins(np.random.default_rng(0), 60, 12)
NOTHING = LinearModel(shells=SHELLS, constant=0.0, coefficients=np.zeros(SHELLS.n_shells))
SIGMA = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def test_spinors_point_along_the_spins():
    """Oracle: expectation values of the Pauli matrices, also at the poles."""
    directions = np.concatenate([SPINS[0], [[0, 0, 1.0], [0, 0, -1.0], [1e-9, 0, -1.0]]])
    chi = spinors(directions)
    found = np.einsum("is,ast,it->ia", chi.conj(), SIGMA, chi)
    assert np.abs(found.imag).max() < 1e-14
    assert found.real == pytest.approx(directions, abs=1e-8)
    overlap = np.abs(chi @ chi.conj().T)
    cosines = np.clip(directions @ directions.T, -1, 1)
    assert overlap == pytest.approx(np.sqrt(0.5 * (1 + cosines)), abs=1e-7)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_limit_of_strong_coupling(sign):
    """Oracle: exact weights; with second order the error falls as 1 / J^2, without as 1 / J."""

    def error(j, second):
        mu = sign * (0.5 * abs(j) - 0.6)
        exact = SpinFermion.from_matrix(SITES.hopping, j, temperature=0.3, chemical_potential=mu)
        model = StrongCouplingModel(
            exact=exact,
            hamiltonian=np.array([1.0, second, mu - sign * 0.5 * abs(j)]),
            linear=NOTHING,
        )
        return float(np.std(exact(SPINS) - model(SPINS)))

    for j in (100.0, -100.0):
        assert error(j, 1.0) < 0.1 * error(j, 0.0)
        assert error(j, 1.0) / error(2 * j, 1.0) == pytest.approx(4.0, rel=0.15)
        assert error(j, 0.0) / error(2 * j, 0.0) == pytest.approx(2.0, rel=0.15)


def test_fits_at_strong_coupling_beat_the_linear_model():
    """Oracle: exact weights of unseen spins; symmetries to rounding."""
    exact = SpinFermion.from_matrix(SITES.hopping, 16.0, temperature=0.1, chemical_potential=-8.0)
    assert suits_strong_coupling(exact)
    assert not suits_strong_coupling(exact.at(chemical_potential=0.0))
    fitted, unseen = random_spins(np.random.default_rng(1), 200, 12), SPINS
    strong = StrongCouplingModel.fit(exact, SHELLS, fitted, exact(fitted))
    linear = LinearModel.fit(SHELLS, fitted, exact(fitted))
    assert np.var(exact(unseen) - strong(unseen)) < 0.02 * np.var(exact(unseen) - linear(unseen))
    turned = np.einsum("bij,bnj->bni", random_rotations(np.random.default_rng(2), 60), SPINS)
    assert strong(turned) == pytest.approx(strong(SPINS), rel=1e-12)
    assert strong(-SPINS) == pytest.approx(strong(SPINS), rel=1e-12)


def test_bond_features():
    """Oracle: closed forms of aligned spins, a plaquette with flux by hand, what helps a ridge fit."""
    ring = lattice("chain", (4,)).hopping
    aligned = np.zeros((1, 4, 3))
    aligned[..., 2] = 1.0
    features = BondFeatures(ring, 6)(aligned)[0]
    energies = np.linalg.eigvalsh(ring)
    assert features == pytest.approx([8.0, (energies**4).sum(), (energies**6).sum()])
    # Spins around the equator enclose half the sphere: the flux is pi, which no pair of spins knows.
    turned = np.array([[[1.0, 0, 0], [0, 1.0, 0], [-1.0, 0, 0], [0, -1.0, 0]]])
    bond = np.sqrt(0.5)
    energies = 2 * bond * np.cos((2 * np.pi * np.arange(4) + np.pi) / 4)
    assert BondFeatures(ring, 4)(turned)[0] == pytest.approx([8 * bond, (energies**4).sum()])
    exact = SpinFermion.from_matrix(SITES.hopping, 16.0, temperature=0.1, chemical_potential=-8.0)
    fitted = random_spins(np.random.default_rng(1), 400, 12)
    errors = []
    four = FourSpinFeatures(SHELLS, 3)
    for kind in (four, JoinedFeatures((four, BondFeatures(SITES.hopping)))):
        model = RidgeModel.fit(
            kind, fitted, exact(fitted), validation=(SPINS[:30], exact(SPINS[:30]))
        )
        errors.append(np.var(exact(SPINS[30:]) - model(SPINS[30:])))
    assert errors[1] < 0.7 * errors[0]


def test_bad_input():
    """Oracle: what messages say."""
    uneven = SpinFermion.from_matrix(SITES.hopping, np.linspace(1, 2, 12), temperature=0.1)
    with pytest.raises(InvalidInputError, match="one J"):
        StrongCouplingModel.fit(uneven, SHELLS, SPINS, uneven(SPINS))
    assert not suits_strong_coupling(uneven)
    even = SpinFermion.from_matrix(SITES.hopping, 16.0, temperature=0.1, chemical_potential=-8.0)
    with pytest.raises(InvalidInputError, match="parameters"):
        StrongCouplingModel.fit(even, SHELLS, SPINS[:5], even(SPINS[:5]))
