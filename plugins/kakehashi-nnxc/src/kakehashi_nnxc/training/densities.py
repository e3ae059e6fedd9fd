"""Fixed r2SCAN densities of the training species, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from kakehashi_core.ensembles import run_ensemble

BASIS = "def2-tzvp"
AUXILIARY_BASIS = "def2-universal-jfit"
BASE_FUNCTIONAL = "r2scan"
SCF_GRID_LEVEL = 3
POINT_GRID_LEVEL = 1
"""Level of the stored points. Only differences between functionals are taken on it, so its error cancels."""


def compute_density(species: str) -> dict[str, Any]:
    """Converge one atom or molecule of the G2 set and return its density as arrays.

    Args:
        species: Name in ASE's G2 set; atoms by their symbol.

    Returns:
        "variables" (n_var, n_points), "weights" (n_points,), "spin", "xc_energy" of the base functional on
        these points and "total_energy" of the calculation, atomic units; "xc_rows" (1 + n_var, n_points),
        energy per particle and first derivatives of the base functional.
    """
    from pyscf import dft, gto

    import kakehashi_pyscf as kp
    from kakehashi_ase.g2 import g2_molecule, n_unpaired_electrons
    from kakehashi_pyscf.density_variables import rho_from_variables

    atoms = g2_molecule(species)
    mol = gto.M(
        atom=list(zip(atoms.get_chemical_symbols(), atoms.positions.tolist(), strict=True)),
        basis=BASIS,
        spin=n_unpaired_electrons(species),
        verbose=0,
    )
    method = dft.UKS if mol.spin else dft.RKS
    mf = method(mol, xc=BASE_FUNCTIONAL).density_fit(AUXILIARY_BASIS)
    mf.grids.level = SCF_GRID_LEVEL
    mf.conv_tol = 1e-8
    kp.converge(mf)
    density = kp.fixed_density(mf, grid_level=POINT_GRID_LEVEL)
    rho = rho_from_variables(density.variables, density.spin)
    return {
        "variables": density.variables,
        "weights": density.weights,
        "spin": density.spin,
        "xc_energy": density.xc_energy,
        "total_energy": float(mf.e_tot),
        "xc_rows": mf._numint.eval_xc1(BASE_FUNCTIONAL, rho, density.spin, 1),
    }


def load_densities(
    species: Sequence[str], directory: Path, executor: Executor | None = None
) -> dict[str, dict[str, Any]]:
    """Return species to arrays; whatever is not on disk in ``directory`` yet is computed."""
    results = run_ensemble(
        compute_density,
        list(species),
        directory=directory,
        executor=executor,
        description="r2SCAN densities",
    )
    return dict(zip(species, results, strict=True))
