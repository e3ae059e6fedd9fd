"""attach(): the oracle is PySCF with libxc's own version of the same functional."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from closed_form_functionals import (
    KineticCorrection,
    PBEExchange,
    SlaterExchange,
    Unsound,
    WithoutKernel,
)
from pyscf import dft, gto, scf
from pyscf.pbc import dft as pbc_dft
from pyscf.pbc import gto as pbc_gto

from kakehashi_core.errors import (
    InvalidInputError,
    NonFiniteError,
    UnknownNameError,
    UnsupportedError,
)
from kakehashi_pyscf import attach

PAIRS = [(SlaterExchange(), "lda,"), (PBEExchange(), "pbe,")]


@pytest.mark.parametrize(("functional", "libxc_name"), PAIRS)
@pytest.mark.parametrize("method", [dft.RKS, dft.UKS, dft.GKS])
def test_closed_shell_energy(water, functional, libxc_name, method):
    """Oracle: libxc, 1e-10 hartree; RKS, UKS and GKS."""
    reference = method(water, xc=libxc_name).run(conv_tol=1e-11)
    mf = attach(method(water), functional).run(conv_tol=1e-11)
    assert mf.xc == functional.name
    assert abs(mf.e_tot - reference.e_tot) < 1e-10


@pytest.mark.parametrize("method", [dft.UKS, dft.ROKS])
def test_open_shell_energy_and_gradient(radical, method):
    """Oracle: libxc with the same grid response; energy 1e-10 hartree, gradient 1e-8 hartree/bohr."""
    reference = method(radical, xc="pbe,").run(conv_tol=1e-12)
    mf = attach(method(radical), PBEExchange()).run(conv_tol=1e-12)
    expected = reference.nuc_grad_method().set(grid_response=True).kernel()
    assert abs(expected).max() > 1e-2
    assert abs(mf.e_tot - reference.e_tot) < 1e-10
    assert abs(mf.nuc_grad_method().kernel() - expected).max() < 1e-8


@pytest.mark.parametrize("spin", [0, 1])
def test_meta_gga_gradient_against_finite_differences(bent_water, radical, spin):
    """Oracle: central difference of SCF energies, step 1e-3 bohr, 2e-5 hartree/bohr."""
    mol = radical if spin else bent_water
    method = dft.UKS if spin else dft.RKS

    def energy(shift: float) -> float:
        coordinates = mol.atom_coords().copy()
        coordinates[0, 2] += shift
        moved = mol.set_geom_(coordinates, unit="bohr", inplace=False)
        return float(attach(method(moved), KineticCorrection()).run(conv_tol=1e-12).e_tot)

    gradient = attach(method(mol), KineticCorrection()).run(conv_tol=1e-12).nuc_grad_method()
    difference = (energy(1e-3) - energy(-1e-3)) / 2e-3
    assert abs(difference) > 1e-2
    assert gradient.kernel()[0, 2] == pytest.approx(difference, abs=2e-5)


def test_gradients_have_grid_response_however_they_are_reached(water):
    """Control: PySCF's own default is off."""
    mf = attach(dft.RKS(water), SlaterExchange())
    assert not dft.RKS(water).nuc_grad_method().grid_response
    routes = [
        mf,
        mf.density_fit(),
        attach(dft.RKS(water).density_fit(), SlaterExchange()),
        mf.to_uks(),
        mf.copy(),
        mf.PCM(),
    ]
    for route in routes:
        assert route.nuc_grad_method().grid_response, type(route)
    assert mf.Gradients().grid_response
    assert mf.nuc_grad_method().as_scanner().grid_response


def test_density_fitting_without_naming_an_auxiliary_basis():
    """Oracle: libxc's PBE exchange with PySCF's default auxiliary basis; energy and gradient."""
    mol = gto.M(atom="O 0 0 0; H 0 .76 .59; H 0 -.74 .58", basis="def2-svp", verbose=0)
    reference = dft.RKS(mol, xc="pbe,").density_fit().run(conv_tol=1e-11)
    mf = attach(dft.RKS(mol), PBEExchange()).density_fit().run(conv_tol=1e-11)
    assert mf.with_df.auxbasis == reference.with_df.auxbasis
    assert mf.xc == "test-pbe-x"
    assert abs(mf.e_tot - reference.e_tot) < 1e-10
    expected = reference.nuc_grad_method().set(grid_response=True).kernel()
    assert abs(mf.nuc_grad_method().kernel() - expected).max() < 1e-8


def test_second_order_methods(water):
    """Oracle: libxc; TDDFT and TDA energies 1e-8, Hessian 1e-6, Newton 1e-9 hartree, stability runs."""
    reference = dft.RKS(water, xc="pbe,").run(conv_tol=1e-12)
    mf = attach(dft.RKS(water), PBEExchange()).run(conv_tol=1e-12)
    assert np.allclose(mf.TDDFT().run(nstates=3).e, reference.TDDFT().run(nstates=3).e, atol=1e-8)
    assert np.allclose(mf.TDA().run(nstates=3).e, reference.TDA().run(nstates=3).e, atol=1e-8)
    assert abs(mf.Hessian().kernel() - reference.Hessian().kernel()).max() < 1e-6
    newton = attach(dft.RKS(water), PBEExchange()).newton().run(conv_tol=1e-11)
    assert abs(newton.e_tot - reference.e_tot) < 1e-9
    assert np.allclose(mf.stability()[0], mf.mo_coeff)


def test_unrestricted_second_order(radical):
    """Oracle: libxc; TDA 1e-8, Hessian 1e-6."""
    reference = dft.UKS(radical, xc="pbe,").run(conv_tol=1e-12)
    mf = attach(dft.UKS(radical), PBEExchange()).run(conv_tol=1e-12, dm0=reference.make_rdm1())
    mf.kernel(dm0=reference.make_rdm1())
    assert np.allclose(mf.TDA().run(nstates=3).e, reference.TDA().run(nstates=3).e, atol=1e-7)
    assert abs(mf.Hessian().kernel() - reference.Hessian().kernel()).max() < 1e-6


def test_third_derivatives_are_refused(water):
    """TDDFT gradients need order 3."""
    mf = attach(dft.RKS(water), PBEExchange()).run()
    excited = mf.TDA().run(nstates=1)
    with pytest.raises(NotImplementedError, match="order 3"):
        excited.nuc_grad_method().kernel()


def test_solvent_scanner_and_chkfile(water, tmp_path):
    """Oracle: libxc in the same PCM; the scanner and the checkpoint file give the energy back."""
    mf = attach(dft.RKS(water), SlaterExchange()).run(conv_tol=1e-10)
    solvated = attach(dft.RKS(water), SlaterExchange()).PCM().run(conv_tol=1e-10)
    assert abs(solvated.e_tot - dft.RKS(water, xc="lda,").PCM().run(conv_tol=1e-10).e_tot) < 1e-8
    assert abs(solvated.e_tot - mf.e_tot) > 1e-3
    assert mf.as_scanner()(water) == pytest.approx(mf.e_tot, abs=1e-8)
    saved = attach(dft.RKS(water), SlaterExchange())
    saved.chkfile = str(tmp_path / "scf.chk")
    saved.kernel()
    again = attach(dft.RKS(water), SlaterExchange())
    again.init_guess = "chkfile"
    again.chkfile = saved.chkfile
    again.kernel()
    assert again.e_tot == pytest.approx(mf.e_tot, abs=1e-8)
    assert again.cycles < saved.cycles


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
@pytest.mark.parametrize("fit", [False, True])
def test_copies_keep_the_functional(water, duplicate, fit):
    """Oracle: the energy of the original; a lost functional would raise or give another energy."""
    mf = attach(dft.RKS(water), SlaterExchange())
    mf = (mf.density_fit() if fit else mf).run()
    twin = duplicate(mf)
    assert type(twin) is type(mf)
    assert twin.kernel() == pytest.approx(mf.e_tot, abs=1e-8)
    assert twin.nuc_grad_method().grid_response


def test_periodic_calculations():
    """Oracle: libxc, RKS at the Gamma point and KRKS on two k-points, 1e-10 hartree."""
    cell = pbc_gto.M(
        atom="He 0 0 0; He 1.4 0 0", a=np.eye(3) * 3.2, basis="6-31g", mesh=[15] * 3, verbose=0
    )
    reference = pbc_dft.RKS(cell, xc="pbe,").run(conv_tol=1e-10)
    mf = attach(pbc_dft.RKS(cell), PBEExchange()).run(conv_tol=1e-10)
    assert abs(mf.e_tot - reference.e_tot) < 1e-10
    kpts = cell.make_kpts([2, 1, 1])
    reference = pbc_dft.KRKS(cell, kpts, xc="pbe,").run(conv_tol=1e-10)
    mf = attach(pbc_dft.KRKS(cell, kpts), PBEExchange()).run(conv_tol=1e-10)
    assert abs(mf.e_tot - reference.e_tot) < 1e-10


def test_the_original_object_is_untouched(water):
    original = dft.RKS(water, xc="pbe")
    attach(original, SlaterExchange())
    assert original.xc == "pbe"
    assert type(original) is dft.rks.RKS
    assert original._numint.libxc is dft.libxc


def test_libxc_names_pass_through(water):
    """Oracle: bit-identical totals."""
    for name in ("pbe", "b3lyp"):
        assert attach(dft.RKS(water, xc=name)).run().e_tot == dft.RKS(water, xc=name).run().e_tot


def test_to_gpu_is_refused(water):
    with pytest.raises(UnsupportedError, match="silently drop"):
        attach(dft.RKS(water), SlaterExchange()).to_gpu()


def test_bad_input_is_refused_before_the_first_cycle(water):
    with pytest.raises(UnknownNameError, match="Did you mean"):
        attach(dft.RKS(water, xc="r2scann"))
    with pytest.raises(InvalidInputError, match="needs a Kohn-Sham object"):
        attach(scf.RHF(water))
    with pytest.raises(InvalidInputError, match="attribute 'convolution' is None"):
        attach(dft.RKS(water), WithoutKernel())
    broken = water.copy()
    broken._env[broken._atm[1, gto.PTR_COORD]] = np.nan
    with pytest.raises(InvalidInputError, match=r"atom 1 \(H\)"):
        attach(dft.RKS(broken), SlaterExchange())


def test_nonlocal_correlation_on_top_is_refused(water):
    """Control: libxc functionals keep it."""
    mf = attach(dft.RKS(water), SlaterExchange())
    mf.nlc = "vv10"
    with pytest.raises(InvalidInputError, match="no non-local correlation"):
        mf.run()
    assert attach(dft.RKS(water, xc="wb97x_v")).do_nlc()


def test_nan_never_leaves_silently(water):
    with pytest.raises(NonFiniteError, match="grid point"):
        attach(dft.RKS(water), Unsound()).run()
