"""Checks of a functional inside self-consistent calculations with PySCF. Hartree atomic units.

Every check takes ``prepare``, which gives a Kohn-Sham object the functional under test (usually
``kakehashi_pyscf.attach`` with a name), and asserts on numbers that are first shown to be non-trivial.
Molecules are PySCF ``Mole`` objects; basis sets and grids are small, because the identities checked here
hold in every basis and on every grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_testing.errors import require
from kakehashi_testing.finite_differences import matrix_difference
from kakehashi_testing.tolerances import tolerance

Prepare = Callable[[Any], Any]
Array = npt.NDArray[np.float64]

WATER: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("O", (0.0, 0.0, 0.119262)),
    ("H", (0.0, 0.763239, -0.477047)),
    ("H", (0.0, -0.763239, -0.477047)),
)
"""Geometry in Å used where ASE is not installed."""

_CONVERGENCE = 1e-11
_DISPLACEMENT = 2e-3  # bohr, of nuclei
_SEED = 11


def build_molecule(name: str, *, basis: str = "sto-3g", stretch: float = 1.05) -> Any:
    """Build a molecule from its name in ASE's G2 set, or water where ASE is not installed.

    Args:
        name: Name that ``ase.build.molecule`` knows.
        basis: PySCF basis name.
        stretch: Factor on all coordinates; off equilibrium, so that gradients are not zero.

    Returns:
        A PySCF ``Mole`` whose spin is the sum of ASE's magnetic moments.
    """
    from pyscf import gto

    symbols, positions, spin = _geometry(name)
    return gto.M(
        atom=list(zip(symbols, (stretch * positions).tolist(), strict=True)),
        basis=basis,
        spin=spin,
        verbose=0,
    )


def _geometry(name: str) -> tuple[list[str], Array, int]:
    try:
        from ase.build import molecule
    except ImportError:
        return [s for s, _ in WATER], np.array([r for _, r in WATER]), 0
    atoms = molecule(name)
    moment = atoms.get_initial_magnetic_moments().sum()
    return list(atoms.symbols), np.array(atoms.positions), round(float(moment))


def kohn_sham(
    mol: Any, prepare: Prepare, *, method: str = "", grid_level: int = 1, verbose: int = 0
) -> Any:
    """Set up a tightly converging Kohn-Sham object: RKS or UKS by the spin, unless told otherwise."""
    from pyscf import dft

    mf = getattr(dft, method or ("UKS" if mol.spin else "RKS"))(mol)
    mf.verbose = verbose
    # Nobody reads the checkpoint; closed here, it does not warn when the garbage collector meets it.
    checkpoint = getattr(mf, "_chkfile", None)
    if checkpoint is not None:
        mf.chkfile = None
        checkpoint.close()
    mf.grids.level = grid_level
    mf.conv_tol = _CONVERGENCE
    mf.max_cycle = 100
    return prepare(mf)


def run(mf: Any) -> float:
    """Run the SCF, with a second-order solver if plain DIIS fails, and return the energy."""
    mf.kernel()
    if not mf.converged:
        newton = mf.newton()
        newton.max_cycle = 30
        newton.kernel(dm0=mf.make_rdm1())
        mf.mo_coeff, mf.mo_occ, mf.mo_energy = newton.mo_coeff, newton.mo_occ, newton.mo_energy
        mf.e_tot, mf.converged = newton.e_tot, newton.converged
    require(
        mf.converged,
        f"the SCF of {mf.mol.atom!r} with xc={mf.xc!r} did not converge to {_CONVERGENCE:.0e} "
        "hartree, neither by DIIS nor by the second-order solver",
    )
    energy = float(np.real(mf.e_tot))
    require(energy < -0.1, f"nothing to test: the total energy is {energy} hartree")
    return energy


def check_closed_shell_methods(
    mol: Any, prepare: Prepare, *, methods: Sequence[str] = ("RKS", "UKS", "GKS")
) -> None:
    """Check that several Kohn-Sham methods give one energy for a closed shell."""
    require(mol.spin == 0, f"a closed shell is needed, got spin {mol.spin}")
    energies = {name: run(kohn_sham(mol, prepare, method=name)) for name in methods}
    spread = max(energies.values()) - min(energies.values())
    require(
        spread <= tolerance("scf_equivalence"),
        f"{', '.join(methods[:-1])} and {methods[-1]} of a closed shell differ by {spread:.1e} hartree: "
        f"{energies}; the spin-0 "
        "and spin-1 forms of the functional disagree, or its non-collinear use fails",
    )


def check_gradient(mol: Any, prepare: Prepare, *, n_coordinates: int = 2) -> None:
    """Check the analytic nuclear gradient against differences of SCF energies."""
    mf = kohn_sham(mol, prepare)
    run(mf)
    density = mf.make_rdm1()
    gradient = mf.nuc_grad_method().kernel()
    largest = np.argsort(np.abs(gradient).ravel())[::-1][:n_coordinates]
    require(
        abs(gradient.ravel()[largest[0]]) > 1e-3,
        "nothing to test: all components of the gradient are below 1e-3 hartree/bohr",
    )
    positions = mol.atom_coords()
    for flat in largest:
        atom, axis = np.unravel_index(flat, gradient.shape)

        def energy(step: float, atom: Any = atom, axis: Any = axis) -> Array:
            moved = positions.copy()
            moved[atom, axis] += step
            displaced = kohn_sham(mol.set_geom_(moved, unit="Bohr", inplace=False), prepare)
            displaced.kernel(dm0=density)
            require(displaced.converged, f"the SCF did not converge {step} bohr away")
            return np.asarray(np.real(displaced.e_tot))

        numeric = (energy(_DISPLACEMENT) - energy(-_DISPLACEMENT)) / (2.0 * _DISPLACEMENT)
        error = abs(float(numeric) - gradient[atom, axis])
        require(
            error <= tolerance("scf_gradient"),
            f"nuclear gradient of atom {atom} along {'xyz'[axis]}: {gradient[atom, axis]:.8f} "
            f"analytic, {float(numeric):.8f} from energies, error {error:.1e} hartree/bohr, allowed "
            f"{tolerance('scf_gradient'):.0e}. Is grid_response on?",
        )


def check_size_consistency(mol: Any, prepare: Prepare) -> None:
    """Check that two copies 100 Å apart have twice the energy of one."""
    from pyscf import gto

    single = run(kohn_sham(mol, prepare))
    # The same copy twice: a closed shell of each, or all unpaired spins parallel.
    positions = mol.atom_coords()
    shift = np.array([0.0, 0.0, 100.0 / 0.529177210903])
    atoms = [(mol.atom_symbol(i), r) for i, r in enumerate(positions)]
    atoms += [(symbol, r + shift) for symbol, r in atoms]
    pair = gto.M(atom=atoms, unit="Bohr", basis=mol.basis, spin=2 * mol.spin, verbose=0)
    double = run(kohn_sham(pair, prepare))
    error = abs(double - 2.0 * single)
    require(
        error <= tolerance("scf_size_consistency"),
        f"two copies 100 Å apart have {double:.9f} hartree, one has {single:.9f}: not additive by "
        f"{error:.1e} hartree, allowed {tolerance('scf_size_consistency'):.0e}",
    )


def check_rotation(
    mol: Any, prepare: Prepare, *, grid_level: int = 4, row: str = "scf_rotation"
) -> None:
    """Check that rotating the molecule leaves the energy within the noise of the grid.

    Args:
        mol: Molecule.
        prepare: Gives a Kohn-Sham object the functional.
        grid_level: PySCF grid level.
        row: Row of the tolerance table.
    """
    rng = np.random.default_rng(_SEED)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    positions = mol.atom_coords()
    moved = positions @ rotation.T
    require(np.abs(moved - positions).max() > 0.1, "nothing to test: the rotation moves no atom")
    energies = [
        run(kohn_sham(mol.set_geom_(r, unit="Bohr", inplace=False), prepare, grid_level=grid_level))
        for r in (positions, moved)
    ]
    error = abs(energies[1] - energies[0])
    require(
        error <= tolerance(row),
        f"a rotated molecule has another energy by {error:.1e} hartree on a level {grid_level} grid, "
        f"allowed {tolerance('scf_rotation'):.0e}",
    )


def check_potential_matrix(mol: Any, prepare: Prepare) -> None:
    """Check the matrix of v_xc against the change of E_xc when the density matrix changes."""
    integrate, density, change = _integrator(mol, prepare)

    def energy(step: float) -> Array:
        return np.asarray(integrate(density + step * change)[0])

    analytic = float(np.sum(integrate(density)[1] * change))
    numeric = float(matrix_difference(energy, 1e-3))
    scale = float(np.sum(np.abs(integrate(density)[1] * change)))
    require(abs(analytic) > 1e-4, f"nothing to test: the change of E_xc is {analytic:.1e} hartree")
    error = abs(analytic - numeric) / scale
    require(
        error <= tolerance("scf_potential_matrix"),
        f"<v_xc, change> is {analytic:.10f}, the change of E_xc {numeric:.10f} hartree: relative "
        f"error {error:.1e}, allowed {tolerance('scf_potential_matrix'):.0e}",
    )


def check_kernel_matrix(mol: Any, prepare: Prepare) -> None:
    """Check the response of the v_xc matrix (f_xc, as TDDFT uses it) against its differences."""
    mf = kohn_sham(mol, prepare)
    integrate, density, change = _integrator(mol, prepare)
    mf.grids.build()
    response = _kernel(mf, density, change)
    numeric = matrix_difference(lambda step: integrate(density + step * change)[1], 1e-3)
    size = np.abs(response).max()
    require(size > 1e-4, f"nothing to test: the response of v_xc is at most {size:.1e} hartree")
    error = np.abs(response - numeric).max() / size
    require(
        error <= tolerance("scf_kernel_matrix"),
        f"the response of the v_xc matrix differs from its finite difference by {error:.1e} "
        f"(relative), allowed {tolerance('scf_kernel_matrix'):.0e}",
    )


def _integrator(
    mol: Any, prepare: Prepare
) -> tuple[Callable[[Array], tuple[float, Array]], Array, Array]:
    """Return E_xc and v_xc as a function of the density matrix, a density matrix and a change of it.

    The grid is fixed. The change mixes occupied and virtual orbitals, so that the density stays
    positive where it matters; in an open shell the two spins change differently.
    """
    mf = kohn_sham(mol, prepare)
    run(mf)
    orbitals, occupations = np.asarray(mf.mo_coeff), np.asarray(mf.mo_occ)
    density = np.asarray(mf.make_rdm1())
    rng = np.random.default_rng(_SEED)
    if density.ndim == 2:
        change = _mixing(orbitals, occupations, rng)
    else:
        change = np.stack([_mixing(c, o, rng) for c, o in zip(orbitals, occupations, strict=True)])
    numint, grids, xc = mf._numint, mf.grids, mf.xc
    evaluate = numint.nr_rks if density.ndim == 2 else numint.nr_uks

    def integrate(dm: Array) -> tuple[float, Array]:
        _, energy, potential = evaluate(mol, grids, xc, dm)
        return float(energy), np.asarray(potential)

    return integrate, density, change


def _mixing(orbitals: Array, occupations: Array, rng: np.random.Generator) -> Array:
    occupied, virtual = orbitals[:, occupations > 0], orbitals[:, occupations == 0]
    weights = rng.uniform(-0.3, 0.3, (occupied.shape[1], virtual.shape[1]))
    half = occupied @ weights @ virtual.T
    return np.asarray(half + half.T)


def _kernel(mf: Any, density: Array, change: Array) -> Array:
    numint, mol, xc = mf._numint, mf.mol, mf.xc
    if density.ndim == 2:
        # hermi=1: the change is symmetric, as the response of a static field is.
        return np.asarray(numint.nr_rks_fxc(mol, mf.grids, xc, density, change, hermi=1))
    return np.asarray(numint.nr_uks_fxc(mol, mf.grids, xc, density, change, hermi=1))


def closed_shell(names: Sequence[str]) -> str:
    """Return the smallest closed-shell molecule among ``names``, "H2O" if there is none."""
    return _smallest([name for name in names if _geometry(name)[2] == 0]) or "H2O"


def open_shell(names: Sequence[str]) -> str:
    """Return the smallest open-shell molecule among ``names``, an empty string if there is none."""
    return _smallest([name for name in names if _geometry(name)[2] != 0])


def _smallest(names: Sequence[str]) -> str:
    """Return the molecule with the fewest atoms; linear ones only if there is no other.

    A linear radical such as OH has a degenerate state: its unpaired electron may point anywhere around the
    axis, so that energies and gradients depend on where an SCF happens to stop. Atoms have no gradient.
    """

    def key(name: str) -> tuple[bool, int]:
        symbols, positions, _ = _geometry(name)
        spread = np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)
        return bool(spread[1] < 1e-6), len(symbols)

    return min((name for name in names if len(_geometry(name)[0]) > 1), key=key, default="")
