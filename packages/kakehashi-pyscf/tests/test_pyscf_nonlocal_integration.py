"""Energies, potentials and response of non-local functionals, and everything that is refused."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from closed_form_functionals import NearRegion
from pyscf import dft, gto
from pyscf.dft import libxc
from pyscf.pbc import dft as pbc_dft
from pyscf.pbc import gto as pbc_gto

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_pyscf import FunctionalLibrary, attach, converge
from kakehashi_pyscf.scf_driver import LADDER

MODES = ["density-fit", "grid"]


class FirstOrderOnly(NearRegion):
    name, max_deriv = "test-near-region-1", 1


class Detached(NearRegion):
    """Reads R but hides its derivative with respect to R."""

    name = "test-detached"

    def energy_density(self, variables, spin):
        blind = torch.cat([variables[:-1], variables[-1:].detach()])
        return super().energy_density(blind, spin)


class Hybrid(NearRegion):
    name, hybrid = "test-near-region-hybrid", 0.25


def prepared(mol, kind="RKS", functional=None, level=0, **options):
    mf = attach(getattr(dft, kind)(mol), functional or NearRegion(), **options)
    mf.grids.level = level
    mf.conv_tol = 1e-11
    return mf


@pytest.fixture
def beryllium_hydride() -> gto.Mole:
    """A radical with a non-degenerate ground state."""
    return gto.M(atom="Be 0 0 0; H 0.1 0.2 1.3", basis="sto-3g", spin=1, verbose=0)


@pytest.fixture
def closed(bent_water):
    """A mean-field object, its grid, a density matrix near the ground state, and changes of it."""
    mf = prepared(bent_water)
    mf.grids.build(with_non0tab=True)
    rng = np.random.default_rng(11)
    change = rng.normal(size=(2, bent_water.nao, bent_water.nao)) * 0.02
    return mf, mf.get_init_guess(key="minao"), change + change.transpose(0, 2, 1)


def slope(function, step=2e-3):
    """Central difference of fourth order at zero."""
    near, far = function(step) - function(-step), function(2 * step) - function(-2 * step)
    return (8 * near - far) / (12 * step)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("spin", [0, 1])
def test_potential_is_the_derivative_of_the_energy(closed, mode, spin):
    """Oracle: finite change of E_xc with the density matrix, relative 1e-8."""
    mf, dm, change = closed
    integrator = attach(mf, convolution=mode)._numint
    if spin:
        dm, integrate = np.stack([0.6 * dm, 0.4 * dm]), integrator.nr_uks
    else:
        change, integrate = change[0], integrator.nr_rks

    def energy(step):
        return integrate(mf.mol, mf.grids, mf.xc, dm + step * change)[1]

    expected = slope(energy)
    potential = integrate(mf.mol, mf.grids, mf.xc, dm)[2]
    assert abs(expected) > 1e-3
    assert np.sum(potential * change) == pytest.approx(expected, rel=1e-8)


def test_the_nonlocal_part_of_the_potential_is_not_small(closed):
    """Guards the tests around it: the same energy without dE/dR has another potential, by 1e-2."""
    mf, dm, _ = closed
    _, energy, full = mf._numint.nr_rks(mf.mol, mf.grids, mf.xc, dm)
    blind = attach(mf, Detached())._numint
    _, same, local = blind.nr_rks(mf.mol, mf.grids, Detached.name, dm)
    assert same == energy
    assert abs(full - local).max() > 1e-2


@pytest.mark.parametrize("mode", MODES)
def test_response_is_the_derivative_of_the_potential(closed, mode):
    """Oracle: finite change of the potential, 1e-9 of matrices of size 1e-3."""
    mf, dm, change = closed
    integrator = attach(mf, convolution=mode)._numint
    half = np.stack([dm, dm]) / 2
    arguments = (mf.mol, mf.grids, mf.xc)
    kernels = [integrator.cache_xc_kernel1(*arguments, dm, spin)[2] for spin in (0, 1)]

    restricted = slope(lambda s: integrator.nr_rks(*arguments, dm + s * change[0])[2])
    answer = integrator.nr_rks_fxc(*arguments, None, change[0], hermi=1, fxc=kernels[0])
    assert abs(restricted).max() > 1e-3
    np.testing.assert_allclose(answer, restricted, atol=1e-9)

    unrestricted = slope(lambda s: integrator.nr_uks(*arguments, half + s * change)[2])
    answer = integrator.nr_uks_fxc(*arguments, None, change, hermi=1, fxc=kernels[1])
    np.testing.assert_allclose(answer, unrestricted, atol=1e-9)

    for singlet, sign in ((True, 1), (False, -1)):
        pair = np.stack([change[0], sign * change[0]])
        expected = integrator.nr_uks_fxc(*arguments, None, pair, hermi=1, fxc=kernels[1])[0]
        answer = integrator.nr_rks_fxc_st(
            *arguments, None, change[:1], hermi=1, singlet=singlet, fxc=kernels[1]
        )
        np.testing.assert_allclose(answer[0], expected, atol=1e-13)


def test_spins_agree_for_a_closed_shell(bent_water):
    """Oracle: RKS = UKS = ROKS, 1e-9 hartree; with density fitting in RKS and UKS as well."""
    energies = [prepared(bent_water, kind).run().e_tot for kind in ("RKS", "UKS", "ROKS")]
    assert np.ptp(energies) < 1e-9
    fitted = [prepared(bent_water, kind).density_fit().run().e_tot for kind in ("RKS", "UKS")]
    assert np.ptp(fitted) < 1e-9
    assert 1e-7 < abs(fitted[0] - energies[0]) < 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_memory_and_block_size_do_not_matter(closed, mode):
    """Oracle: the same call with other blocks, nothing cached: 1e-12 hartree."""
    mf, dm, change = closed
    arguments = (mf.mol, mf.grids, mf.xc, np.stack([dm + 0.1 * change[0], dm]) / 2)
    results = [
        attach(mf, convolution=mode)._numint.nr_uks(*arguments, max_memory=memory)
        for memory in (4000, 3, 0.5)
    ]
    for result in results[1:]:
        assert result[1] == pytest.approx(results[0][1], abs=1e-12)
        np.testing.assert_allclose(result[2], results[0][2], atol=1e-12)


def test_cached_integrals_and_recomputed_ones_agree(closed):
    mf, dm, _ = closed
    rich, poor = attach(mf)._numint, attach(mf)._numint
    a = rich.nr_rks(mf.mol, mf.grids, mf.xc, dm, max_memory=4000)
    b = poor.nr_rks(mf.mol, mf.grids, mf.xc, dm, max_memory=0.01)
    assert rich._basis.kept is not None
    assert poor._basis.kept is None
    assert rich._fitted[1]._integrals is not None
    assert poor._fitted[1]._integrals is None
    np.testing.assert_allclose(a[2], b[2], atol=1e-12)


def test_lists_of_densities(closed):
    mf, dm, change = closed
    integrator = mf._numint
    several = np.stack([dm, dm + change[0]])
    n, energies, potentials = integrator.nr_rks(mf.mol, mf.grids, mf.xc, several)
    for k in range(2):
        one = integrator.nr_rks(mf.mol, mf.grids, mf.xc, several[k])
        assert n[k] == pytest.approx(one[0], abs=1e-12)
        assert energies[k] == pytest.approx(one[1], abs=1e-12)
        np.testing.assert_allclose(potentials[k], one[2], atol=1e-12)
    pair = integrator.nr_uks(mf.mol, mf.grids, mf.xc, np.stack([several, several]) / 2)
    np.testing.assert_allclose(pair[1], energies, atol=1e-11)
    np.testing.assert_allclose(pair[2][0], potentials, atol=1e-11)


def test_two_molecules_far_apart():
    """Oracle: twice the energy of one, 100 angstrom apart, 1e-6 hartree."""
    one = "H 0 0 0; F 0 0 0.92"
    far = "; H 0 100 0; F 0 100 0.92"
    energies = [
        prepared(gto.M(atom=atom, basis="sto-3g", verbose=0), level=1).run().e_tot
        for atom in (one, one + far)
    ]
    assert abs(energies[1] - 2 * energies[0]) < 1e-6


def test_fit_agrees_with_the_quadrature(bent_water):
    """Oracle: the published quadrature; rms of ln R up to 0.16 (mostly its 3 % cutoff)."""
    mf = prepared(bent_water, level=1)
    dm = mf.get_init_guess(key="minao")
    mf.grids.build(with_non0tab=True)
    fit, quadrature = (
        attach(mf, convolution=mode)._numint.convolved_density(mf.mol, mf.grids, mf.xc, dm)
        for mode in MODES
    )
    inside = mf._numint.get_rho(mf.mol, dm, mf.grids) > 1e-3
    difference = np.log(fit[inside] / quadrature[inside])
    assert np.sqrt(np.mean(difference**2)) < 0.16
    dense = mf._numint.get_rho(mf.mol, dm, mf.grids)[inside] > 1.0
    assert np.sqrt(np.mean(difference[dense] ** 2)) < 2e-3


def test_newton_and_stability(bent_water, beryllium_hydride):
    """Oracle: the first-order SCF, 1e-9 hartree."""
    for mol, kind in ((bent_water, "RKS"), (beryllium_hydride, "UKS"), (beryllium_hydride, "ROKS")):
        mf = prepared(mol, kind)
        assert mf.newton().run().e_tot == pytest.approx(prepared(mol, kind).run().e_tot, abs=1e-9)
    assert prepared(bent_water).run().stability(return_status=True)[2]


def test_excitations_of_rks_and_uks_agree(bent_water):
    """Oracle: singlets and triplets of RKS are the excitations of UKS, 1e-5 hartree."""
    restricted = prepared(bent_water).run()
    states = [restricted.TDA().run(nstates=2, conv_tol=1e-8).e]
    states.append(restricted.TDA().set(singlet=False).run(nstates=2, conv_tol=1e-8).e)
    unrestricted = prepared(bent_water, "UKS").run().TDA().run(nstates=4, conv_tol=1e-8)
    lowest = np.sort(np.concatenate(states))[:2]
    np.testing.assert_allclose(unrestricted.e[:2], lowest, atol=1e-5)
    assert np.all(restricted.TDDFT().run(nstates=1).e < states[0][0])


def test_the_ladder_climbs_over_missing_second_derivatives(bent_water):
    mf = prepared(bent_water, functional=FirstOrderOnly())
    with pytest.raises(UnsupportedError, match="derivatives up to order 1"):
        mf.newton().run()
    report = converge(mf, ladder=(*LADDER[2:], LADDER[1]))
    assert report.converged
    assert [stage.converged for stage in report.stages] == [False, False, False, True]
    assert "order 1" in report.stages[0].message
    assert mf.e_tot == pytest.approx(prepared(bent_water).run().e_tot, abs=1e-8)


def test_geometry_changes_are_noticed(bent_water):
    """Oracle: a fresh object; scanner, reset and copy share caches with the first geometry."""
    mf = prepared(bent_water)
    here = mf.run().e_tot
    moved = bent_water.set_geom_(bent_water.atom_coords() * 1.06, unit="B", inplace=False)
    there = prepared(moved).run().e_tot
    assert abs(here - there) > 1e-3
    scanner = mf.as_scanner()
    assert scanner(moved) == pytest.approx(there, abs=1e-8)
    assert scanner(bent_water) == pytest.approx(here, abs=1e-8)
    fresh = prepared(bent_water)
    fresh.run()
    assert fresh.copy().reset(moved).run().e_tot == pytest.approx(there, abs=1e-8)


def test_pickle_and_copy(bent_water):
    mf = prepared(bent_water).run()
    size = len(pickle.dumps(mf._numint))
    assert mf._numint._basis.kept.nbytes > 10 * size  # caches stay at home
    for twin in (pickle.loads(pickle.dumps(mf)), copy.deepcopy(mf), mf.copy()):
        assert twin._numint.convolution == "density-fit"
        assert twin.kernel() == pytest.approx(mf.e_tot, abs=1e-9)
    assert mf.to_uks().run().e_tot == pytest.approx(mf.e_tot, abs=1e-8)


def test_local_functionals_pass_through(bent_water):
    """Oracle: PySCF. An attached object may go back to a name of libxc."""
    mf = prepared(bent_water)
    mf.xc = "pbe"
    reference = dft.RKS(bent_water, xc="pbe")
    reference.grids.level = 0
    reference.conv_tol = 1e-11
    reference.run()
    assert mf.run().e_tot == pytest.approx(reference.e_tot, abs=1e-12)
    expected = reference.nuc_grad_method().set(grid_response=True).kernel()
    np.testing.assert_allclose(mf.nuc_grad_method().kernel(), expected, atol=1e-10)
    response = reference.TDA().run(nstates=1).e
    np.testing.assert_allclose(mf.TDA().run(nstates=1).e, response, atol=1e-7)
    np.testing.assert_allclose(mf.Hessian().kernel(), reference.Hessian().kernel(), atol=1e-7)
    assert libxc.xc_type(mf.xc) == "GGA"


def test_hybrids_and_ghosts_run(bent_water):
    """Oracle: RKS = UKS for a hybrid; a ghost atom lowers the energy, by basis functions only."""
    energies = [prepared(bent_water, k, Hybrid()).run().e_tot for k in ("RKS", "UKS")]
    assert np.ptp(energies) < 1e-9
    assert abs(energies[0] - prepared(bent_water).run().e_tot) > 1e-3
    atom = [("H", (0, 0, 0)), ("F", (0, 0, 0.92))]
    alone = prepared(gto.M(atom=atom, basis="sto-3g", verbose=0), level=1).run().e_tot
    ghost = gto.M(atom=[*atom, ("ghost-F", (0, 0, 3.0))], basis="sto-3g", verbose=0)
    assert -1e-2 < prepared(ghost, level=1).run().e_tot - alone < 1e-4


def test_what_does_not_exist_is_refused_by_name(bent_water):
    mf = prepared(bent_water).run()
    with pytest.raises(UnsupportedError, match="Hessians of the non-local functional"):
        mf.Hessian()
    with pytest.raises(UnsupportedError, match=r"\(GKS\) of the non-local functional"):
        mf.to_gks()
    with pytest.raises(UnsupportedError, match="silently drop"):
        mf.to_gpu()
    with pytest.raises(UnsupportedError, match="does not exist for non-local"):
        mf._numint.to_gpu()
    with pytest.raises(UnsupportedError, match="non-local functional"):
        mf.TDA().get_ab()
    with pytest.raises(UnsupportedError, match="order 3"):
        mf.TDA().run(nstates=1).nuc_grad_method().kernel()
    with pytest.raises(InvalidInputError, match="one of density-fit, grid"):
        attach(dft.RKS(bent_water), NearRegion(), convolution="fit")
    with pytest.raises(UnsupportedError, match="got GKS with the integrator"):
        attach(dft.GKS(bent_water), NearRegion())
    cell = pbc_gto.M(atom="He 0 0 0", a=np.eye(3) * 4, basis="sto-3g", verbose=0)
    with pytest.raises(UnsupportedError, match="molecular RKS, UKS and ROKS"):
        attach(pbc_dft.RKS(cell), NearRegion())


def test_attaching_again_keeps_the_mode(bent_water):
    mf = attach(dft.RKS(bent_water), NearRegion(), convolution="grid")
    assert attach(mf)._numint.convolution == "grid"
    assert attach(mf, convolution="density-fit")._numint.convolution == "density-fit"
    assert attach(attach(mf, "pbe"), NearRegion())._numint.convolution == "density-fit"


def test_pyscfs_own_integrator_is_stopped(bent_water):
    """As under enable(): the functional is known, but nothing builds its convolved density."""
    mf = dft.RKS(bent_water, xc="near")
    mf._numint.libxc = FunctionalLibrary({"near": NearRegion()})
    with pytest.raises(UnsupportedError, match=r"that kakehashi_pyscf\.attach"):
        mf.run()
    with pytest.raises(InvalidInputError, match="is not a non-local functional"):
        prepared(bent_water)._numint.convolved_density(bent_water, mf.grids, "pbe", np.eye(7))
