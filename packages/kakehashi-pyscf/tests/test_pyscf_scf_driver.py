"""converge(): what it reports, and that it climbs."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from pyscf import dft, gto

from kakehashi_pyscf import SCFConvergenceError, converge
from kakehashi_pyscf.scf_driver import LADDER, Rung


def test_an_easy_case_needs_the_first_rung_and_equals_pyscf(water):
    """Oracle: mf.kernel()."""
    mf = dft.RKS(water, xc="pbe")
    report = converge(mf)
    reference = dft.RKS(water, xc="pbe").run()
    assert report.converged
    assert report.method == "DIIS"
    assert report.n_iterations == reference.cycles
    assert mf.e_tot == reference.e_tot
    assert mf.converged
    assert report.residual < 1e-3
    assert not report.warnings


@pytest.mark.parametrize("rung", LADDER[1:], ids=lambda rung: rung.name)
def test_every_rung_reaches_the_same_state(water, rung):
    """Oracle: plain DIIS, 1e-7 hartree; occupations are integers again after smearing."""
    reference = dft.RKS(water, xc="pbe").run()
    mf = dft.RKS(water, xc="pbe")
    report = converge(mf, ladder=[rung])
    assert report.method == rung.name
    assert mf.e_tot == pytest.approx(reference.e_tot, abs=1e-7)
    assert np.array_equal(mf.mo_occ, reference.mo_occ)
    assert mf.level_shift == 0


@pytest.mark.parametrize(("atom", "spin"), [("He", 0), ("H", 1)])
def test_atoms_without_virtual_orbitals(atom, spin):
    """Oracle: mf.kernel(); the orbital gradient is empty, not an error."""
    mol = gto.M(atom=atom, spin=spin, basis="sto-3g", verbose=0)
    mf = dft.KS(mol, xc="pbe")
    report = converge(mf)
    assert report.converged
    assert report.residual == 0.0
    assert mf.e_tot == dft.KS(mol, xc="pbe").run().e_tot


def test_it_climbs_when_the_first_rung_fails():
    """The oxygen atom with two cycles of DIIS cannot converge; the next rung does."""
    mol = gto.M(atom="O", basis="6-31g", spin=2, verbose=0)
    mf = dft.UKS(mol, xc="pbe")
    mf.max_cycle = 2
    report = converge(mf)
    assert [stage.converged for stage in report.stages] == [False, True]
    assert report.n_iterations == sum(stage.n_iterations for stage in report.stages)
    assert report.stages[0].n_iterations == 2
    assert mf.max_cycle == 2


def test_failure_raises_with_the_report(water):
    def hopeless(mf, dm0):
        mf.max_cycle = 1
        mf.kernel(dm0=dm0)
        return mf

    mf = dft.RKS(water, xc="pbe")
    with pytest.raises(SCFConvergenceError, match="did not converge by any of 2") as caught:
        converge(mf, ladder=[Rung("once", hopeless), Rung("again", hopeless)])
    assert not caught.value.report.converged
    assert [stage.name for stage in caught.value.report.stages] == ["once", "again"]
    assert mf.mo_coeff is None
    assert pickle.loads(pickle.dumps(caught.value)).report == caught.value.report


def test_a_users_callback_still_runs(water):
    seen: list[float] = []
    mf = dft.RKS(water, xc="pbe")
    mf.callback = lambda environment: seen.append(environment["e_tot"])
    report = converge(mf)
    assert len(seen) == report.n_iterations
