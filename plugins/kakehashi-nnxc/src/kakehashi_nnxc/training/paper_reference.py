"""Reference data of the paper's training: energies and densities of H2O, NH3, NO and of their atoms.

Atomization energies are the experimental ones (as in AE147, electronic, from ASE's G2 thermochemistry): they
are known to 0.1 kcal/mol, and the set on which the functionals are judged is experimental too. Densities
are those of CCSD, with all electrons correlated, in the basis of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from kakehashi_core.ensembles import run_ensemble
from kakehashi_core.errors import ConvergenceError
from kakehashi_nnxc.molecular_calculations import BASIS, as_json, build, from_json
from kakehashi_nnxc.reaction_sets.g2 import atomization, molecule
from kakehashi_nnxc.reaction_sets.reactions import Reaction

MOLECULES = ("H2O", "NH3", "NO")
"""The three molecules of the paper."""

ATOMS = ("H", "N", "O")
SPECIES = (*ATOMS, *MOLECULES)


def atomizations() -> tuple[Reaction, ...]:
    """Return the atomization energies that train."""
    return tuple(atomization(name) for name in MOLECULES)


def compute_coupled_cluster(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run UCCSD for one species.

    Args:
        request: "molecule" (see ``molecular_calculations.as_json``) and "basis".

    Returns:
        "density_matrix" (2, n_ao, n_ao) in the atomic-orbital basis (without orbital relaxation), and
        "total_energy", hartree.

    Raises:
        ConvergenceError: If Hartree-Fock, the amplitudes or the lambda equations do not converge.
    """
    import numpy as np
    from pyscf import cc, scf

    mol = build(from_json(request["molecule"]), request["basis"])
    mf = scf.UHF(mol)
    mf.conv_tol = 1e-10
    mf.kernel()
    if not mf.converged:
        mf = mf.newton().run()
    if mol.nelectron == 1:
        return {"density_matrix": np.asarray(mf.make_rdm1()), "total_energy": float(mf.e_tot)}
    coupled = cc.UCCSD(mf)
    coupled.kernel()
    coupled.solve_lambda()
    if not (mf.converged and coupled.converged and coupled.converged_lambda):
        raise ConvergenceError(
            f"CCSD of {request['molecule']['name']} in {request['basis']} did not converge; the "
            "reference densities of the paper's training need all of Hartree-Fock, amplitudes and "
            "lambda equations"
        )
    orbitals = np.asarray(mf.mo_coeff)
    in_orbitals = np.asarray(coupled.make_rdm1())
    return {
        "density_matrix": np.einsum("spi,sij,sqj->spq", orbitals, in_orbitals, orbitals),
        "total_energy": float(coupled.e_tot),
    }


def reference_densities(
    directory: Path, *, basis: str = BASIS, executor: Executor | None = None
) -> dict[str, Any]:
    """Return species to the CCSD density matrix (2, n_ao, n_ao); computed once and kept.

    Args:
        directory: Where results are kept.
        basis: Orbital basis.
        executor: Runs the calculations; None for one after the other in this process.
    """
    results = run_ensemble(
        compute_coupled_cluster,
        [{"molecule": as_json(molecule(name)), "basis": basis} for name in SPECIES],
        directory=directory,
        executor=executor,
        description="CCSD densities",
    )
    return {name: result["density_matrix"] for name, result in zip(SPECIES, results, strict=True)}
