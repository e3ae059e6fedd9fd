"""Functionals inside self-consistent calculations, through the PySCF bridge."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from kakehashi_core.registry import Plugin
from kakehashi_core.specs import XCSpec
from kakehashi_testing import scf_checks
from kakehashi_testing.scf_checks import Prepare

pytest.importorskip("pyscf", reason="SCF checks need PySCF: pip install kakehashi-pyscf")
pytest.importorskip(
    "kakehashi_pyscf", reason="SCF checks need the PySCF bridge: pip install kakehashi-pyscf"
)


@pytest.fixture(scope="module")
def prepare(kakehashi_xc: Plugin) -> Prepare:
    """Give a Kohn-Sham object the functional under test."""
    from kakehashi_pyscf import attach

    return partial(attach, xc=kakehashi_xc.qualified_name)


@pytest.fixture(scope="module")
def samples(kakehashi_xc: Plugin) -> tuple[str, ...]:
    """Names of the molecules in the spec; an empty list is a failure, not a pass."""
    if kakehashi_xc.spec is None or not kakehashi_xc.spec.samples:
        pytest.fail("spec.samples is empty; name molecules of ASE's G2 set", pytrace=False)
    return kakehashi_xc.spec.samples


@pytest.fixture(scope="module")
def molecule(samples: tuple[str, ...]) -> Any:
    """The smallest closed-shell molecule among the samples."""
    return scf_checks.build_molecule(scf_checks.closed_shell(samples))


@pytest.fixture(scope="module")
def radical(samples: tuple[str, ...]) -> Any:
    """The smallest open-shell molecule among the samples."""
    name = scf_checks.open_shell(samples)
    if not name:
        pytest.skip(f"no open-shell molecule among spec.samples {samples}, or ASE is missing")
    return scf_checks.build_molecule(name)


def test_rks_uks_gks_agree_on_a_closed_shell(
    molecule: Any, prepare: Prepare, kakehashi_xc: Plugin
) -> None:
    """Oracle: each other; three code paths, one energy."""
    spec = kakehashi_xc.spec
    # The bridge offers convolved densities for RKS, UKS and ROKS only.
    nonlocal_form = isinstance(spec, XCSpec) and spec.family == "NONLOCAL"
    methods = ("RKS", "UKS", "ROKS") if nonlocal_form else ("RKS", "UKS", "GKS")
    scf_checks.check_closed_shell_methods(molecule, prepare, methods=methods)


def test_gradient_of_a_closed_shell(molecule: Any, prepare: Prepare) -> None:
    """Oracle: central differences of SCF energies."""
    scf_checks.check_gradient(molecule, prepare)


def test_gradient_of_a_radical(radical: Any, prepare: Prepare) -> None:
    """Oracle: central differences of UKS energies."""
    scf_checks.check_gradient(radical, prepare)


def test_two_distant_copies_add_up(molecule: Any, prepare: Prepare) -> None:
    """Oracle: twice the energy of one molecule."""
    scf_checks.check_size_consistency(molecule, prepare)


def test_rotation(molecule: Any, prepare: Prepare, kakehashi_xc: Plugin) -> None:
    """Oracle: the molecule before the rotation, at the tolerance of the grid."""
    trained = kakehashi_xc.spec is not None and bool(kakehashi_xc.spec.checkpoint)
    row = "scf_rotation_trained" if trained else "scf_rotation"
    scf_checks.check_rotation(molecule, prepare, row=row)


def test_potential_matrix(molecule: Any, prepare: Prepare) -> None:
    """Oracle: five-point difference of E_xc along a change of the density matrix."""
    scf_checks.check_potential_matrix(molecule, prepare)


def test_potential_matrix_of_a_radical(radical: Any, prepare: Prepare) -> None:
    """Oracle: the same with both spin density matrices changed independently."""
    scf_checks.check_potential_matrix(radical, prepare)


def test_kernel_matrix(molecule: Any, prepare: Prepare, kakehashi_xc: Plugin) -> None:
    """Oracle: five-point difference of the v_xc matrix."""
    if kakehashi_xc.spec.max_deriv < 2:  # type: ignore[union-attr]
        pytest.skip("max_deriv < 2: no second derivatives on offer")
    scf_checks.check_kernel_matrix(molecule, prepare)


def test_kernel_matrix_of_a_radical(radical: Any, prepare: Prepare, kakehashi_xc: Plugin) -> None:
    """Oracle: the same with both spin density matrices changed independently."""
    if kakehashi_xc.spec.max_deriv < 2:  # type: ignore[union-attr]
        pytest.skip("max_deriv < 2: no second derivatives on offer")
    scf_checks.check_kernel_matrix(radical, prepare)
