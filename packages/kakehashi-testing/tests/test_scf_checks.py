"""Each check inside an SCF passes for PBE and fails for a mistake; needs the PySCF bridge."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kakehashi_testing import scf_checks as checks
from kakehashi_testing.errors import ConformanceError

pytest.importorskip("pyscf", reason="SCF checks need PySCF")


def prepare_pbe(mf: Any) -> Any:
    """libxc's PBE with the response of the grid in gradients, without the bridge."""
    mf.xc = "pbe"
    plain = mf.nuc_grad_method

    def with_grid_response() -> Any:
        gradients = plain()
        gradients.grid_response = True
        return gradients

    mf.nuc_grad_method = with_grid_response
    return mf


def prepare_without_grid_response(mf: Any) -> Any:
    mf.xc = "pbe"
    return mf


@pytest.fixture(scope="module")
def hydrogen_fluoride() -> Any:
    from pyscf import gto

    return gto.M(atom="F 0 0 0; H 0 0.1 0.95", basis="sto-3g", verbose=0)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_closed_shell_methods,
        checks.check_gradient,
        checks.check_size_consistency,
        checks.check_rotation,
        checks.check_potential_matrix,
        checks.check_kernel_matrix,
    ],
)
def test_pbe_of_libxc_passes(check: Any, hydrogen_fluoride: Any) -> None:
    """Oracle: libxc, whose derivatives are exact."""
    check(hydrogen_fluoride, prepare_pbe)


def test_open_shell_matrices_of_libxc_pass() -> None:
    from pyscf import gto

    radical = gto.M(atom="O 0 0 0; H 0 0.1 0.95", basis="sto-3g", spin=1, verbose=0)
    checks.check_potential_matrix(radical, prepare_pbe)
    checks.check_kernel_matrix(radical, prepare_pbe)


def test_missing_grid_response_is_found(hydrogen_fluoride: Any) -> None:
    with pytest.raises(ConformanceError, match="Is grid_response on"):
        checks.check_gradient(hydrogen_fluoride, prepare_without_grid_response)


def test_a_poor_grid_is_not_rotationally_invariant(hydrogen_fluoride: Any) -> None:
    with pytest.raises(ConformanceError, match="a rotated molecule has another energy"):
        checks.check_rotation(hydrogen_fluoride, prepare_pbe, grid_level=0)


def test_a_wrong_potential_is_found(hydrogen_fluoride: Any) -> None:
    """The energy of one functional with the potential of another."""

    def prepare(mf: Any) -> Any:
        mf = prepare_pbe(mf)
        numint = mf._numint
        integrate = numint.nr_rks

        def mixed(mol: Any, grids: Any, xc: Any, dm: Any, *args: Any, **kwargs: Any) -> Any:
            count, energy, _ = integrate(mol, grids, "pbe", dm, *args, **kwargs)
            return count, energy, integrate(mol, grids, "blyp", dm, *args, **kwargs)[2]

        numint.nr_rks = mixed
        return mf

    with pytest.raises(ConformanceError, match="<v_xc, change> is"):
        checks.check_potential_matrix(hydrogen_fluoride, prepare)


def test_a_wrong_kernel_is_found(hydrogen_fluoride: Any) -> None:
    """The potential of one functional with the kernel of another."""

    def prepare(mf: Any) -> Any:
        mf = prepare_pbe(mf)
        numint = mf._numint
        kernel = numint.nr_rks_fxc
        numint.nr_rks_fxc = lambda mol, grids, xc, *args, **kwargs: kernel(
            mol, grids, "blyp", *args, **kwargs
        )
        return mf

    with pytest.raises(ConformanceError, match="the response of the v_xc matrix differs"):
        checks.check_kernel_matrix(hydrogen_fluoride, prepare)


def test_spin_dependent_functionals_are_found(hydrogen_fluoride: Any) -> None:
    """RKS sees one functional, UKS and GKS another."""

    def prepare(mf: Any) -> Any:
        mf.xc = "pbe" if type(mf).__name__ == "RKS" else "blyp"
        return mf

    with pytest.raises(ConformanceError, match="RKS, UKS and GKS of a closed shell differ"):
        checks.check_closed_shell_methods(hydrogen_fluoride, prepare)


def test_non_additive_energies_are_found(hydrogen_fluoride: Any) -> None:
    """A functional that depends on the size of the molecule."""

    def prepare(mf: Any) -> Any:
        mf.xc = "pbe" if mf.mol.natm == 2 else "0.9999*pbe"
        return mf

    with pytest.raises(ConformanceError, match="two copies 100 Å apart"):
        checks.check_size_consistency(hydrogen_fluoride, prepare)


def test_a_molecule_without_forces_shows_nothing() -> None:
    from pyscf import gto

    atom = gto.M(atom="Ne 0 0 0", basis="sto-3g", verbose=0)
    with pytest.raises(ConformanceError, match="all components of the gradient are below"):
        checks.check_gradient(atom, prepare_pbe)


def test_an_scf_that_does_not_converge_is_an_error(hydrogen_fluoride: Any) -> None:
    def prepare(mf: Any) -> Any:
        mf = prepare_pbe(mf)
        mf.max_cycle = 1
        newton = mf.newton()
        newton.kernel = lambda **_: None
        mf.newton = lambda: newton
        return mf

    with pytest.raises(ConformanceError, match="did not converge"):
        checks.check_rotation(hydrogen_fluoride, prepare)


def test_attached_functionals_pass_and_fail(faulty: ModuleType, hydrogen_fluoride: Any) -> None:
    """A fast path that is wrong by 1e-4 in one row is felt by the matrix of the potential."""
    kakehashi_pyscf = pytest.importorskip("kakehashi_pyscf", reason="needs the PySCF bridge")

    def prepare(functional: Any) -> Any:
        return lambda mf: kakehashi_pyscf.attach(mf, functional, name="suite-test")

    checks.check_potential_matrix(hydrogen_fluoride, prepare(faulty.GoodFastPath()))
    wrong = faulty.WrongFastPath()
    wrong.fault = 1e-4
    with pytest.raises(ConformanceError, match="<v_xc, change> is"):
        checks.check_potential_matrix(hydrogen_fluoride, prepare(wrong))


def test_samples_are_chosen_by_size_and_spin() -> None:
    """Oracle: ASE's G2 set (H2O has 3 atoms, NH2 is a doublet)."""
    pytest.importorskip("ase", reason="the G2 set comes with ASE")
    assert checks.closed_shell(["C2H4", "H2O", "NH2", "H"]) == "H2O"
    assert checks.open_shell(["C2H4", "CH3", "NH2", "H"]) == "NH2"
    assert checks.open_shell(["OH", "NH2"]) == "NH2"
    assert checks.open_shell(["OH", "O2"]) == "OH"
    assert checks.open_shell(["H2O"]) == ""
    assert checks.closed_shell(["NH2"]) == "H2O"
    radical = checks.build_molecule("NH2")
    assert radical.spin == 1
    plain = checks.build_molecule("H2O", stretch=1.0)
    stretched = checks.build_molecule("H2O")
    assert np.allclose(stretched.atom_coords(), 1.05 * plain.atom_coords())


def test_water_is_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ase.build", None)
    assert checks.build_molecule("H2O").elements == ["O", "H", "H"]
    assert checks.open_shell(["NH2"]) == ""
