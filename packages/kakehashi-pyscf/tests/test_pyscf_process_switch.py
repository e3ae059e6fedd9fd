"""enable() and disable(): what changes, what does not, and how it is undone."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from closed_form_functionals import PBEExchange, SlaterExchange
from pyscf import dft, gto
from pyscf.df import addons
from pyscf.dft import libxc
from pyscf.dft.numint import LibXCMixin

import kakehashi_pyscf as kp
from kakehashi_core.errors import InvalidInputError, UnknownNameError
from kakehashi_pyscf import functional_library
from kakehashi_pyscf.process_switch import SwitchError


@pytest.fixture
def registered(monkeypatch):
    """Serve the closed forms under registry names without installing a distribution."""
    known = {"test-slater": SlaterExchange(), "test-pbe-x": PBEExchange()}
    monkeypatch.setattr(functional_library.REGISTRY_LIBRARY, "_functionals", known)


def test_names_work_inside_and_only_inside(water, registered):
    """Oracle: libxc's own name."""
    expected = dft.RKS(water, xc="pbe,").run(conv_tol=1e-11).e_tot
    with kp.enable():
        assert kp.is_enabled()
        for spelling in ("test-pbe-x", "TEST_PBE_X", "Test-PBE_x"):
            mf = dft.RKS(water, xc=spelling).run(conv_tol=1e-11)
            assert abs(mf.e_tot - expected) < 1e-10
    assert not kp.is_enabled()
    with pytest.raises(KeyError):
        dft.RKS(water, xc="test-pbe-x").run()


def test_everything_is_given_back_also_after_an_exception(registered):
    auxbasis = addons.predefined_auxbasis
    with pytest.raises(ZeroDivisionError), kp.enable():
        assert LibXCMixin.libxc is not libxc
        raise ZeroDivisionError
    assert LibXCMixin.libxc is libxc
    assert addons.predefined_auxbasis is auxbasis


def test_calls_are_counted():
    outer = kp.enable()
    with kp.enable():
        pass
    assert kp.is_enabled()
    outer.disable()
    outer.disable()
    assert not kp.is_enabled()
    with pytest.raises(SwitchError, match="not enabled"):
        kp.disable()


def test_refuses_when_somebody_else_replaced_the_library(monkeypatch):
    monkeypatch.setattr(LibXCMixin, "libxc", object())
    with pytest.raises(SwitchError, match="another package has replaced it"):
        kp.enable()


def test_leaves_alone_what_was_put_there_meanwhile():
    handle = kp.enable()
    ours = LibXCMixin.libxc
    other = object()
    LibXCMixin.libxc = other
    try:
        with pytest.raises(SwitchError, match="left as it is"):
            handle.disable()
        assert LibXCMixin.libxc is other
    finally:
        LibXCMixin.libxc = ours
        kp.disable()
    assert LibXCMixin.libxc is libxc


def test_a_second_thread_is_warned():
    caught: list[Warning] = []

    def other_thread() -> None:
        with pytest.warns(RuntimeWarning, match="process-wide") as record, kp.enable():
            pass
        caught.extend(entry.message for entry in record)

    with kp.enable():
        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()
    assert len(caught) == 1


def test_bare_gradients_warn_and_say_what_to_set(water, registered):
    """Control: no warning with grid_response on, none for libxc names."""
    with kp.enable():
        mf = dft.RKS(water, xc="test-pbe-x").run()
        gradients = mf.nuc_grad_method()
        with pytest.warns(kp.GridResponseWarning, match="grid_response = True"):
            gradients.kernel()
        gradients.set(grid_response=True).kernel()
        dft.RKS(water, xc="pbe").run().nuc_grad_method().kernel()


def test_density_fit_finds_its_auxiliary_basis(registered):
    """Oracle: the choice PySCF makes for PBE."""
    mol = gto.M(atom="H 0 0 0; H 0 0 .74", basis="def2-svp", verbose=0)
    expected = dft.RKS(mol, xc="pbe").density_fit().with_df.auxbasis
    with kp.enable():
        assert dft.RKS(mol, xc="test-pbe-x").density_fit().with_df.auxbasis == expected


@pytest.mark.parametrize(
    "name", ["pbe", "scan", "b3lyp", "wb97x_v", "lda,vwn", "0.5*pbe+0.5*hf,pbe"]
)
def test_libxc_names_are_bit_identical(name):
    """Oracle: libxc itself."""
    rng = np.random.default_rng(0)
    rho = abs(rng.standard_normal((5, 20)))
    family = libxc.xc_type(name)
    rho = {"LDA": rho[0], "GGA": rho[:4], "MGGA": rho}[family]
    library = functional_library.REGISTRY_LIBRARY
    assert np.array_equal(library.eval_xc1(name, rho, 0, 2), libxc.eval_xc1(name, rho, 0, 2))
    assert library.xc_type(name) == family
    assert library.hybrid_coeff(name) == libxc.hybrid_coeff(name)
    assert library.rsh_coeff(name) == libxc.rsh_coeff(name)
    assert library.is_nlc(name) == libxc.is_nlc(name)


@pytest.mark.parametrize(
    "expression", ["0.5*test-slater", "test-slater,pbe", "0.2*hf + test-slater"]
)
def test_arithmetic_on_our_names_is_refused(registered, expression):
    with pytest.raises(InvalidInputError, match="cannot be scaled or combined"):
        functional_library.REGISTRY_LIBRARY.xc_type(expression)


@pytest.mark.parametrize("suffix", ["-d3bj", "-d4", "-D3BJ"])
def test_dispersion_suffixes_are_refused(water, registered, suffix):
    with kp.enable(), pytest.raises(InvalidInputError, match="no dispersion correction"):
        dft.RKS(water, xc="test-slater" + suffix).run()


def test_unknown_names_list_the_closest(water, registered):
    with kp.enable(), pytest.raises(UnknownNameError, match="'test-slater'"):
        dft.RKS(water, xc="test-slatr").run()
