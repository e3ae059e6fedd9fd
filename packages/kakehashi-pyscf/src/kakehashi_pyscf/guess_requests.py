"""What a predictor of Hamiltonians may know about a calculation before the first Fock matrix is built."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pyscf import gto
from pyscf.dft import libxc
from pyscf.gto.basis import load
from pyscf.scf import hf

from kakehashi_core.contracts import GuessRequest
from kakehashi_core.errors import UnsupportedError

FloatArray = npt.NDArray[np.float64]


def guess_request(mf: Any) -> GuessRequest:
    """Describe a molecular Kohn-Sham calculation to a predictor; no Fock matrix is built.

    Start Hamiltonians are "hcore", kinetic energy and attraction of the nuclei; and "sap", which adds the
    superposition of the potentials of atoms, in closed form.

    Args:
        mf: RKS object.

    Raises:
        UnsupportedError: If orbitals are Cartesian, the object is periodic, or there are ghost atoms, core
            potentials or relativistic terms.

    Source:
        S. Lehtola, L. Visscher, E. Engel, J. Chem. Phys. 152, 144105 (2020), for the potentials.
    """
    mol = mf.mol
    if hasattr(mol, "lattice_vectors"):
        raise UnsupportedError("periodic systems are not supported; use a molecule")
    if mol.cart:
        raise UnsupportedError(
            "Cartesian orbitals are not supported; build the molecule with cart=False"
        )
    if any(mol.atom_charge(i) == 0 for i in range(mol.natm)):
        raise UnsupportedError("ghost atoms are not supported")
    if mol.has_ecp():
        raise UnsupportedError("effective core potentials are not supported; use all electrons")
    if getattr(mf, "with_x2c", None) is not None:
        raise UnsupportedError("relativistic Hamiltonians (x2c) are not supported")
    core = np.asarray(mf.get_hcore(), dtype=np.float64)
    return GuessRequest(
        numbers=np.array([gto.charge(mol.atom_symbol(i)) for i in range(mol.natm)], dtype=np.int64),
        positions=np.asarray(mol.atom_coords(), dtype=np.float64),
        charge=int(mol.charge),
        spin=int(mol.spin),
        shells=shells_of(mol),
        overlap=np.asarray(mf.get_ovlp(), dtype=np.float64),
        start_hamiltonians={"hcore": core, "sap": core + atomic_potentials(mol, mf.sap_basis)},
        fingerprint=fingerprint(mf),
    )


def shells_of(mol: gto.Mole) -> list[tuple[int, int, int]]:
    """Return atom, angular momentum and number of functions of every shell."""
    return [
        (int(mol.bas_atom(i)), int(mol.bas_angular(i)), int(mol.bas_nctr(i)))
        for i in range(mol.nbas)
    ]


def atomic_potentials(mol: gto.Mole, basis: Any) -> FloatArray:
    """Return the matrix of what the electrons of free atoms would add to the core Hamiltonian."""
    table = {}
    for symbol in {atom[0] for atom in mol._atom}:
        found = load(basis, symbol) if isinstance(basis, str) else basis[symbol]
        rows = found[symbol] if isinstance(found, Mapping) else found
        table[symbol] = np.asarray(rows[0][1:], dtype=float)
    quiet = mol.copy()
    quiet.verbose = 0
    return np.asarray(hf.make_sap(quiet, sap_basis=table), dtype=np.float64)


def fingerprint(mf: Any) -> dict[str, str]:
    """Return functional and basis of a calculation so that equal ones read equal, whatever their names.

    "xc" lists what libxc makes of the name, because names change their meaning; "basis O" is a digest of the
    functions of oxygen.
    """
    mol = mf.mol
    found = {"xc": _functional(getattr(mf, "xc", "HF")), "grid": _grid(mf)}
    for symbol in sorted({mol.atom_pure_symbol(i) for i in range(mol.natm)}):
        atom = next(i for i in range(mol.natm) if mol.atom_pure_symbol(i) == symbol)
        text = []
        for shell in mol.atom_shell_ids(atom):
            exponents = ",".join(f"{x:.8e}" for x in mol.bas_exp(shell))
            weights = ",".join(f"{abs(x):.6e}" for x in np.ravel(mol.bas_ctr_coeff(shell)))
            text.append(f"{mol.bas_angular(shell)}:{exponents}:{weights}")
        if mol.atom_nelec_core(atom):
            text.append(f"core {mol.atom_nelec_core(atom)}")
        found[f"basis {symbol}"] = hashlib.sha256(";".join(text).encode()).hexdigest()[:16]
    return found


def _functional(name: str) -> str:
    try:
        hybrid, parts = libxc.parse_xc(name)
    except (KeyError, ValueError, NotImplementedError):
        return str(name).lower()
    terms = "+".join(f"{weight:g}*{number}" for number, weight in parts)
    return f"{terms}; exact exchange {', '.join(f'{x:g}' for x in hybrid)}"


def _grid(mf: Any) -> str:
    return f"level {mf.grids.level}" if hasattr(mf, "grids") else ""
