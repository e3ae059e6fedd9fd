"""fixed_density(): the arrays must reproduce the energy they came from."""

from __future__ import annotations

import numpy as np
import pytest
from pyscf import dft
from pyscf.dft import libxc
from scipy.spatial.transform import Rotation

from kakehashi_pyscf import fixed_density
from kakehashi_pyscf.density_variables import rho_from_variables


@pytest.mark.parametrize("spin", [0, 1])
def test_energy_is_reproduced(water, radical, spin):
    """Oracle: the SCF total, 1e-8 hartree, from a quadrature over the stored points."""
    mf = (dft.UKS(radical) if spin else dft.RKS(water)).set(xc="r2scan").run()
    density = fixed_density(mf)
    exc = libxc.eval_xc1("r2scan", rho_from_variables(density.variables, spin), spin, 0)[0]
    total = density.variables[0] if spin == 0 else density.variables[:2].sum(0)
    assert density.spin == spin
    assert density.weights @ (total * exc) + density.energy_rest == pytest.approx(
        mf.e_tot, abs=1e-8
    )
    assert density.xc_energy + density.energy_rest == pytest.approx(mf.e_tot, abs=1e-9)
    assert density.weights @ total == pytest.approx(mf.mol.nelectron, abs=1e-3)


def test_another_grid_changes_points_not_the_rest(water):
    mf = dft.RKS(water, xc="pbe").run()
    fine, coarse = fixed_density(mf), fixed_density(mf, grid_level=1)
    assert coarse.weights.size < fine.weights.size
    assert coarse.energy_rest == fine.energy_rest
    assert np.isclose(coarse.xc_energy, fine.xc_energy, atol=1e-3)
    assert coarse.xc_energy != fine.xc_energy


def test_an_unconverged_calculation_is_refused(water):
    mf = dft.RKS(water, xc="pbe")
    mf.max_cycle = 1
    mf.kernel()
    with pytest.raises(ValueError, match="not converged"):
        fixed_density(mf)


def test_turned_grid_is_that_of_the_turned_molecule(radical):
    """Oracle: SCF of the turned molecule, which differs in second order of the grid noise only."""
    mf = dft.UKS(radical, xc="r2scan")
    mf.grids.level = 1
    mf.run(conv_tol=1e-11)
    rotation = Rotation.random(random_state=3).as_matrix()
    positions = radical.atom_coords() @ rotation.T
    turned = dft.UKS(radical.set_geom_(positions, unit="Bohr", inplace=False), xc="r2scan")
    turned.grids.level = 1
    turned.run(conv_tol=1e-11)
    density = fixed_density(mf, rotation=rotation)
    energy = density.xc_energy + density.energy_rest
    assert abs(energy - turned.e_tot) < 0.02 * abs(turned.e_tot - mf.e_tot)


def test_a_matrix_that_is_no_rotation_is_refused(water):
    mf = dft.RKS(water, xc="lda").run()
    with pytest.raises(ValueError, match="orthogonal"):
        fixed_density(mf, rotation=2.0 * np.eye(3))
