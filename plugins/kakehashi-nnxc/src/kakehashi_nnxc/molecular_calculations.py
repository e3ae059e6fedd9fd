"""Kohn-Sham calculations of the molecules of a reaction set; needs kakehashi-pyscf[ase]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kakehashi_core.contracts import XCFunctional
from kakehashi_nnxc.reaction_sets.reactions import Molecule

BASIS = "6-311++g(3df,3pd)"
"""The basis of the published comparison."""

AUXILIARY_BASIS = "def2-universal-jkfit"
GRID_LEVEL = 3


def kohn_sham(
    molecule: Molecule,
    functional: str | XCFunctional,
    *,
    basis: str = BASIS,
    auxiliary_basis: str = AUXILIARY_BASIS,
    grid_level: int = GRID_LEVEL,
) -> Any:
    """Set up RKS or UKS with fitted Coulomb (and exchange) integrals.

    Args:
        molecule: What to calculate.
        functional: Registry or libxc name, or a functional object.
        basis: Orbital basis.
        auxiliary_basis: Basis of the density fit.
        grid_level: PySCF grid level.

    Returns:
        A mean-field object from ``kakehashi_pyscf.attach``, not yet converged.
    """
    from pyscf import dft

    import kakehashi_pyscf as kp

    mol = build(molecule, basis)
    method = dft.UKS if mol.spin else dft.RKS
    mf = kp.attach(method(mol, xc="pbe").density_fit(auxiliary_basis), functional)
    mf.grids.level = grid_level
    return mf


def build(molecule: Molecule, basis: Any) -> Any:
    """Return the molecule as ``pyscf.gto.Mole``."""
    from pyscf import gto

    return gto.M(
        atom=list(zip(molecule.symbols, molecule.positions, strict=True)),
        basis=basis,
        charge=molecule.charge,
        spin=molecule.spin,
        verbose=0,
    )


def as_json(molecule: Molecule) -> dict[str, Any]:
    """Return the molecule as JSON-able data, the input of tasks that run elsewhere."""
    return {
        "name": molecule.name,
        "symbols": list(molecule.symbols),
        "positions": [list(position) for position in molecule.positions],
        "charge": molecule.charge,
        "spin": molecule.spin,
    }


def from_json(data: Mapping[str, Any]) -> Molecule:
    """Return the molecule that ``as_json`` described."""
    return Molecule(
        name=data["name"],
        symbols=tuple(data["symbols"]),
        positions=tuple((float(x), float(y), float(z)) for x, y, z in data["positions"]),
        charge=int(data["charge"]),
        spin=int(data["spin"]),
    )
