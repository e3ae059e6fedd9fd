"""Kohn-Sham calculations of atoms and molecules of the G2 set; needs kakehashi-pyscf[ase]."""

from __future__ import annotations

from typing import Any

from kakehashi_core.contracts import XCFunctional

BASIS = "def2-tzvp"
AUXILIARY_BASIS = "def2-universal-jfit"
GRID_LEVEL = 3


def kohn_sham(species: str, functional: str | XCFunctional, *, basis: str = BASIS) -> Any:
    """Set up RKS or UKS in the ground state's spin, with a fitted Coulomb interaction.

    Args:
        species: Name in ASE's G2 set; atoms by their symbol.
        functional: Registry or libxc name, or a functional object.
        basis: Orbital basis.

    Returns:
        A mean-field object from ``kakehashi_pyscf.attach``, not yet converged.
    """
    from pyscf import dft, gto

    import kakehashi_pyscf as kp
    from kakehashi_ase.g2 import g2_molecule, n_unpaired_electrons

    atoms = g2_molecule(species)
    mol = gto.M(
        atom=list(zip(atoms.get_chemical_symbols(), atoms.positions.tolist(), strict=True)),
        basis=basis,
        spin=n_unpaired_electrons(species),
        verbose=0,
    )
    method = dft.UKS if mol.spin else dft.RKS
    mf = kp.attach(method(mol).density_fit(AUXILIARY_BASIS), functional)
    mf.grids.level = GRID_LEVEL
    return mf
