"""Thermal curves: from exact energies, and from sampled ones."""

from __future__ import annotations

import numpy as np
import pytest

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.results import Estimate
from kakehashi_dbm.free_fermions import ring_thermodynamics
from kakehashi_dbm.thermal_curve import ThermalCurve, chebyshev_betas, thermal_curve
from kakehashi_quspin.exact_thermal import exact_thermal
from kakehashi_quspin.spin_model import SpinModel


def ring(n, g=1.0):
    return [["zz", [[-1.0, i, (i + 1) % n] for i in range(n)]], ["x", [[-g, i] for i in range(n)]]]


@pytest.mark.parametrize(("field", "n_nodes"), [(0.5, 26), (1.0, 20), (2.0, 20)])
def test_curves_of_noisy_exact_energies(field, n_nodes):
    """Oracle: free fermions; noise of the size that a minute of sampling leaves; pulls of all quantities."""
    n, sigma = 64, 7e-5
    model = SpinModel.from_quspin(ring(n, field), n)
    betas = chebyshev_betas(model, 13.0, n_nodes)
    rng = np.random.default_rng(1)
    energies = [
        Estimate(
            mean=ring_thermodynamics(n, 1.0, field, b).energy + n * sigma * rng.normal(),
            stderr=n * sigma,
        )
        for b in betas
    ]
    curve = ThermalCurve.fit(model, list(betas), energies)
    assert curve.misfit < 2.0
    for beta, entropy_tolerance in ((1.0, 1e-3), (2.0, 1e-3), (5.0, 1e-3), (10.0, 3e-3)):
        exact = ring_thermodynamics(n, 1.0, field, beta)
        assert curve.energy(beta).mean / n == pytest.approx(exact.energy / n, abs=2e-4)
        heat = curve.specific_heat(beta)
        assert heat.mean / n == pytest.approx(
            exact.specific_heat / n, abs=5e-3 if field >= 1.0 else 2e-2
        )
        entropy = curve.entropy(beta)
        assert entropy.mean / n == pytest.approx(exact.entropy(beta) / n, abs=entropy_tolerance)
        for found, value in (
            (heat, exact.specific_heat),
            (entropy, exact.entropy(beta)),
            (curve.log_partition(beta), exact.log_partition),
        ):
            assert abs(found.z_score(value)) < 4.5
    hot = curve.log_partition(0.0)
    assert hot.mean == pytest.approx(n * np.log(2.0))
    assert curve.specific_heat(1e-3).mean == pytest.approx(
        ring_thermodynamics(n, 1.0, field, 1e-3).specific_heat, rel=1e-2
    )


def test_errors_of_curves_are_honest():
    """Oracle: the spread of curves over 80 draws of noise, in units of their own errors."""
    n, sigma = 8, 1e-3
    model = SpinModel.from_quspin(ring(n), n)
    betas = chebyshev_betas(model, 4.0, 20)
    rng = np.random.default_rng(2)
    energies = np.array([ring_thermodynamics(n, 1.0, 1.0, b).energy for b in betas])
    at = (0.5, 1.0, 1.5, 2.0, 3.0)
    exact = [ring_thermodynamics(n, 1.0, 1.0, b) for b in at]
    pulls = []
    for _ in range(80):
        drawn = energies + n * sigma * rng.normal(size=len(betas))
        curve = ThermalCurve.fit(
            model, list(betas), [Estimate(mean=e, stderr=n * sigma) for e in drawn]
        )
        pulls.append(
            [
                (
                    curve.specific_heat(b).z_score(e.specific_heat),
                    curve.entropy(b).z_score(e.entropy(b)),
                )
                for b, e in zip(at, exact, strict=True)
            ]
        )
    spread = np.sqrt((np.array(pulls) ** 2).mean(axis=0))
    assert (spread > 0.65).all()
    assert (spread < 1.45).all()


def test_curves_of_sampled_energies():
    """Oracle: exact diagonalization; a constant in H."""
    static = [*ring(6), ["z", [[0.4, 0]]], ["I", [[0.5, 0]]]]
    model = SpinModel.from_quspin(static, 6)
    curve = thermal_curve(model, 3.0, n_measurements=150, n_nodes=8, n_chains=8, seed=1)
    for beta in (0.5, 1.5, 3.0):
        exact = exact_thermal(static, 6, beta=beta)
        assert abs(curve.energy(beta).z_score(exact.energy.mean)) < 4
        assert abs(curve.specific_heat(beta).z_score(exact.specific_heat.mean)) < 4
        assert abs(curve.entropy(beta).z_score(exact.entropy)) < 4
        assert abs(curve.free_energy(beta).z_score(exact.free_energy)) < 4
    assert curve.energy(0.0).mean == pytest.approx(0.5)


def test_bad_input():
    """Oracle: what messages say."""
    model = SpinModel.from_quspin(ring(4), 4)
    energies = [Estimate(mean=-float(b), stderr=0.1) for b in range(1, 6)]
    curve = ThermalCurve.fit(model, [1, 2, 3, 4, 5], energies)
    with pytest.raises(InvalidInputError, match="from beta = 0 to 5"):
        curve.energy(6.0)
    with pytest.raises(InvalidInputError, match="positive"):
        curve.free_energy(0.0)
    with pytest.raises(InvalidInputError, match="four"):
        ThermalCurve.fit(model, [1, 2], energies[:2])
    with pytest.raises(InvalidInputError, match="error"):
        ThermalCurve.fit(model, [1, 2, 3, 4], [Estimate(mean=0.0, stderr=0.0)] * 4)
    with pytest.raises(InvalidInputError, match="largest_beta"):
        thermal_curve(model, -1.0)
