"""Checks of predictors of Hamiltonians as initial guesses of PySCF. Hartree atomic units.

Needs kakehashi-pyscf. ``name`` is the registry name of the predictor; molecules, functional and basis set
come from its spec: ``samples`` name molecules of ASE's G2 set that are inside its domain.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core import registry
from kakehashi_core.contracts import GuessRequest, GuessResult
from kakehashi_testing.errors import ConformanceError, require

FloatArray = npt.NDArray[np.float64]

ENERGY = 1e-8
"""Converged energies do not depend on where the SCF started, hartree."""
IDEMPOTENCY = 1e-8
ROTATION = 1e-9
"""Eigenvalues of a turned or mirrored molecule, hartree."""


def sample_calculation(name: str, **options: Any) -> Any:
    """Return a calculation of the first sample of a predictor, not converged.

    Args:
        name: Registry name.
        options: Of ``pyscf.gto.M``, such as ``charge``.
    """
    from ase.build import molecule
    from pyscf import dft, gto

    spec = registry.find("init_guess", name).spec
    if spec is None or not (spec.samples and spec.domain.xc and spec.domain.basis):
        raise ConformanceError(
            f"the spec of {name!r} needs samples (molecules of ASE's G2 set), domain.xc and domain.basis"
        )
    atoms = molecule(spec.samples[0])
    turn = options.pop("turn", np.eye(3))
    mol = gto.M(
        atom=list(zip(atoms.symbols, atoms.positions @ turn.T, strict=True)),
        basis=spec.domain.basis,
        spin=None,
        verbose=0,
        **options,
    )
    mf = (dft.UKS if mol.spin else dft.RKS)(mol, xc=spec.domain.xc)
    mf.conv_tol = 1e-10
    return mf


def predicted(name: str, mf: Any) -> tuple[GuessRequest, GuessResult]:
    """Return what a predictor is told about a calculation, and what it says."""
    from kakehashi_pyscf import guess_request

    request = guess_request(mf)
    return request, registry.load("init_guess", name)(request)


def check_prediction(name: str) -> None:
    """Check shapes, Hermiticity, number of electrons and idempotency of a prediction, and its report."""
    mf = sample_calculation(name)
    request, result = predicted(name, mf)
    n = mf.mol.nao
    h, d, s = result.hamiltonian, result.density_matrix, request.overlap
    require(h.shape == d.shape == (n, n), f"shapes are {h.shape} and {d.shape} instead of {(n, n)}")
    require(bool(np.abs(h - h.T).max() < IDEMPOTENCY), "the Hamiltonian is not symmetric")
    electrons = float(np.trace(d @ s))
    require(
        abs(electrons - mf.mol.nelectron) < IDEMPOTENCY * n,
        f"the density holds {electrons} electrons",
    )
    error = float(np.abs(d @ s @ d - 2.0 * d).max())
    require(
        error < IDEMPOTENCY * n, f"orbitals are not doubly occupied: D S D - 2 D is {error:.1e}"
    )
    require(
        not result.report.warnings,
        f"the sample is said to be doubtful: {'; '.join(result.report.warnings)}",
    )
    require(bool(result.rejection_threshold > 0.0), "the rejection threshold is not positive")


def check_scf(name: str) -> None:
    """Check that an SCF from the prediction ends where it ends without, with no more Fock matrices."""
    from kakehashi_pyscf import counted_builds, initial_guess

    plain = sample_calculation(name)
    with counted_builds(plain) as without:
        plain.kernel()
    mf = initial_guess(sample_calculation(name), name)
    with counted_builds(mf) as builds:
        mf.kernel()
    error = abs(mf.e_tot - plain.e_tot)
    require(error < ENERGY, f"the converged energy changes by {error:.1e} hartree")
    require(mf.guess_outcome.decision == "used", f"the prediction is not used: {mf.guess_outcome}")
    require(
        builds.n < without.n,
        f"{builds.n} Fock matrices with the prediction, {without.n} without: nothing is saved",
    )


def check_turned_molecule(name: str) -> None:
    """Check that eigenvalues of the prediction do not change when the molecule is turned and mirrored."""
    import scipy.linalg
    from scipy.spatial.transform import Rotation

    turn = -Rotation.from_euler("xyz", [0.3, 1.1, -0.7]).as_matrix()
    found = []
    for one in (np.eye(3), turn):
        request, result = predicted(name, sample_calculation(name, turn=one))
        found.append(scipy.linalg.eigh(result.hamiltonian, request.overlap, eigvals_only=True))
    error = float(np.abs(found[0] - found[1]).max())
    require(error < ROTATION, f"eigenvalues change by {error:.1e} hartree when the molecule turns")


def check_what_is_outside(name: str) -> None:
    """Check that ions, stretched molecules and other basis sets cost at most one Fock matrix more."""
    from kakehashi_core.errors import DomainWarning
    from kakehashi_pyscf import counted_builds, initial_guess

    stretched = sample_calculation(name)
    stretched.mol.set_geom_(stretched.mol.atom_coords() * 1.5, unit="Bohr")
    other = sample_calculation(name)
    other.mol.basis = "sto-3g"
    other.mol.build(dump_input=False, parse_arg=False)
    cases = {
        "a cation": sample_calculation(name, charge=1),
        "a stretched molecule": stretched,
        "another basis set": other,
    }
    for what, plain in cases.items():
        mf = initial_guess(plain, name)
        with counted_builds(plain) as without:
            plain.kernel()
        with warnings.catch_warnings(record=True) as caught, counted_builds(mf) as builds:
            warnings.simplefilter("always")
            mf.kernel()
        refused = mf.guess_outcome.decision == "refused"
        require(
            not refused or any(issubclass(w.category, DomainWarning) for w in caught),
            f"{what} is refused without a DomainWarning",
        )
        require(
            builds.n <= without.n + 1,
            f"{what} costs {builds.n} Fock matrices, {without.n} without the prediction",
        )
        if plain.converged and mf.converged:
            error = abs(mf.e_tot - plain.e_tot)
            require(error < 1e-6, f"the energy of {what} changes by {error:.1e} hartree")
