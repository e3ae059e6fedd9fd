"""Coupled-cluster energies at the basis-set limit, the labels of our own training molecules.

    E = HF(T,Q) + CCSD(T)(T) + [MP2(T,Q) - MP2(T)] + core-valence

in cc-pVTZ and cc-pVQZ with one more tight d function on Al to Cl: the step from the triple-zeta basis to the
limit comes from MP2, for atoms and molecules alike. Correlation of the cores is the difference of two MP2
calculations in cc-pCVTZ. ``control_errors`` compares with W4-11: 0.9 kcal/mol root mean square.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kakehashi_core.ensembles import run_ensemble
from kakehashi_core.errors import ConvergenceError
from kakehashi_core.files import write_json
from kakehashi_nnxc._units import HARTREE_IN_KCAL_PER_MOL
from kakehashi_nnxc.molecular_calculations import as_json, build, from_json
from kakehashi_nnxc.reaction_sets import Molecule, Reaction, reaction_set
from kakehashi_nnxc.reaction_sets.g2 import molecule as g2_molecule
from kakehashi_nnxc.training.label_molecules import CONTROLS, EQUILIBRIUM, SADDLES

ATOMS = ("H", "Li", "Be", "B", "C", "N", "O", "F", "Na", "Al", "Si", "P", "S", "Cl")

PARTS = ("hartree_fock", "correlation", "basis_step", "core_valence")

LARGEST_T1 = 0.06
"""Norm of the singles amplitudes (of Lee and Taylor) above which one determinant does not do."""

MEMORY = 9000  # MB
TIGHT_RATIO = 2.5
FIRST_ROW = frozenset(["Li", "Be", "B", "C", "N", "O", "F"])
SECOND_ROW = frozenset(["Na", "Mg", "Al", "Si", "P", "S", "Cl"])
TIGHT_D = frozenset(["Al", "Si", "P", "S", "Cl"])


def label_molecule(name: str) -> Molecule:
    """Return a molecule of ``label_molecules`` at its geometry."""
    from pyscf import gto

    spin, text = (EQUILIBRIUM.get(name) or SADDLES[name][:2])[:2]
    rows = gto.from_zmatrix(text.replace(";", "\n"))
    return Molecule(
        name=name,
        symbols=tuple(row[0] for row in rows),
        positions=tuple((float(r[0]), float(r[1]), float(r[2])) for _, r in rows),
        spin=spin,
    )


def label(molecule_data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of the energy of one species at the basis-set limit, hartree."""
    molecule = from_json(molecule_data)
    mean_field = _hartree_fock(build(molecule, _basis(molecule, "cc-pvtz")))
    triple = _correlated(molecule, mean_field, "cc-pvtz", coupled_cluster=True)
    larger = _hartree_fock(build(molecule, _basis(molecule, "cc-pvqz")), start=mean_field)
    quadruple = _correlated(molecule, larger, "cc-pvqz", coupled_cluster=False)
    return {
        "hartree_fock": _hartree_fock_limit(triple["hf"], quadruple["hf"]),
        "correlation": triple["ccsd_t"],
        "basis_step": _correlation_limit(triple["mp2"], quadruple["mp2"]) - triple["mp2"],
        "core_valence": _core_valence(molecule, mean_field),
        "triples_share": triple["triples"],
        "t1": triple["t1"],
    }


def _hartree_fock_limit(triple: float, quadruple: float) -> float:
    """Extrapolate (X+1) exp(-9 sqrt X), Karton and Martin, Theor. Chem. Acc. 115, 330 (2006)."""
    a, b = (4.0 * np.exp(-9.0 * np.sqrt(3.0)), 5.0 * np.exp(-9.0 * np.sqrt(4.0)))
    return float(quadruple - (triple - quadruple) * b / (a - b))


def _correlation_limit(triple: float, quadruple: float) -> float:
    """Extrapolate X^-3, Helgaker et al., J. Chem. Phys. 106, 9639 (1997)."""
    return float((64.0 * quadruple - 27.0 * triple) / 37.0)


def _n_core(molecule: Molecule) -> int:
    return sum(1 if s in FIRST_ROW else 5 if s in SECOND_ROW else 0 for s in molecule.symbols)


def _basis(molecule: Molecule, name: str) -> dict[str, Any]:
    from pyscf import gto

    basis: dict[str, Any] = {}
    for symbol in set(molecule.symbols):
        shells = gto.basis.load(name, symbol)
        if symbol in TIGHT_D:
            tightest = max(row[0] for shell in shells if shell[0] == 2 for row in shell[1:])
            shells = [*shells, [2, [TIGHT_RATIO * tightest, 1.0]]]
        basis[symbol] = shells
    return basis


def _hartree_fock(mol: Any, *, start: Any = None, fitted: bool = True) -> Any:
    """Converge RHF or UHF, from the solution in another basis or to a stable one."""
    from pyscf import scf

    mf = (scf.UHF if mol.spin else scf.RHF)(mol)
    if fitted:
        mf = mf.density_fit("def2-universal-jkfit")
    mf.conv_tol, mf.max_cycle = 1e-9, 100
    guess = None
    if start is not None:
        guess = scf.addons.project_dm_nr2nr(start.mol, np.asarray(start.make_rdm1()), mol)
    mf.kernel(guess)
    if not mf.converged:
        mf = mf.newton()
        mf.kernel()
    if mol.spin and start is None:  # UHF has several solutions; follow instabilities once
        orbitals = mf.stability()[0]
        stable = mf.newton()
        stable.kernel(orbitals, mf.mo_occ)
        if stable.e_tot < mf.e_tot - 1e-6:
            mf.kernel(stable.make_rdm1())
    return mf


def _correlated(
    molecule: Molecule, mf: Any, basis: str, *, coupled_cluster: bool
) -> dict[str, float]:
    from pyscf import cc, df, mp, scf

    out = {"hf": float(mf.e_tot), "mp2": 0.0, "ccsd_t": 0.0, "triples": 0.0, "t1": 0.0}
    n_core = _n_core(molecule)
    n_beta = mf.mol.nelec[1]
    if sum(mf.mol.nelec) - 2 * n_core < 2 or (n_beta == 0 and mf.mol.nelec[0] < 2):
        return out  # one electron outside the core has no correlation
    # A spin channel without electrons outside the core is beyond PySCF's unrestricted codes.
    # The auxiliary basis of the mean field lacks the high angular momenta of correlation, and DF-MP2 would
    # take it over: hand the orbitals on to an object without density fitting.
    plain = (scf.UHF if mf.mol.spin else scf.RHF)(mf.mol)
    plain.max_memory = MEMORY
    for name in ("mo_coeff", "mo_occ", "mo_energy", "e_tot", "converged"):
        setattr(plain, name, getattr(mf, name))
    mp2 = (mp.dfump2.DFUMP2 if mf.mol.spin else mp.dfmp2.DFMP2)(plain, frozen=n_core)
    mp2.with_df = df.DF(mf.mol, auxbasis=f"{basis}-ri")
    out["mp2"] = float(mp2.kernel()[0])
    if coupled_cluster:
        method = cc.CCSD(plain, frozen=n_core or None)
        method.set(max_cycle=100, max_memory=MEMORY, conv_tol=1e-6, conv_tol_normt=1e-4)
        integrals = method.ao2mo()
        method.kernel(eris=integrals)
        if not method.converged:
            raise ConvergenceError(f"CCSD of {molecule.name} in {basis} did not converge")
        triples = float(method.ccsd_t(eris=integrals))
        out["ccsd_t"] = float(method.e_corr) + triples
        out["triples"] = triples / out["ccsd_t"] if out["ccsd_t"] else 0.0
        t1 = method.t1 if isinstance(method.t1, tuple) else (method.t1, method.t1)
        out["t1"] = float(
            np.sqrt(
                sum(np.linalg.norm(t) ** 2 for t in t1) / max(1, sum(mf.mol.nelec) - 2 * n_core)
            )
        )
    return out


def _core_valence(molecule: Molecule, start: Any) -> float:
    from pyscf import gto, mp

    n_core = _n_core(molecule)
    if n_core == 0:
        return 0.0
    basis = {
        s: gto.basis.load("cc-pvtz" if s == "H" else "cc-pcvtz", s) for s in set(molecule.symbols)
    }
    mf = _hartree_fock(build(molecule, basis), start=start, fitted=False)
    inner = sum(s in SECOND_ROW for s in molecule.symbols)
    everything = float(mp.MP2(mf, frozen=inner or None).kernel()[0])
    if sum(mf.mol.nelec) - 2 * n_core < 2:
        return everything
    return everything - float(mp.MP2(mf, frozen=n_core).kernel()[0])


def label_species() -> list[Molecule]:
    """Return every species that needs a label: molecules, saddle points, their reactants, and atoms."""
    reactants = sorted({n for _, _, pair in SADDLES.values() for n in pair})
    others = [g2_molecule(n) for n in dict.fromkeys([*ATOMS, *reactants])]
    every = [*others, *controls(), *(label_molecule(n) for n in (*EQUILIBRIUM, *SADDLES))]
    return sorted(every, key=lambda m: (m.name in SADDLES, m.n_heavy, len(m.symbols)))


def controls() -> list[Molecule]:
    """Return molecules of W4-11 outside AE148, whose atomization energies are known."""
    found = reaction_set("w4-11").molecules
    return [replace(m, name=n) for n, m in found.items() if n.split("_")[1] in CONTROLS]


def compute_labels(
    directory: Path, *, executor: Executor | None = None
) -> dict[str, dict[str, Any]]:
    """Return species to {"molecule", "label"}; what is done is not repeated, what fails is left out.

    Args:
        directory: Where results are kept.
        executor: Runs the calculations.
    """
    every = label_species()
    labels = run_ensemble(
        label,
        [as_json(m) for m in every],
        directory=directory,
        executor=executor,
        on_error="return",
        description="coupled cluster",
    )
    return {
        m.name: {"molecule": as_json(m), "label": found}
        for m, found in zip(every, labels, strict=True)
        if isinstance(found, Mapping)
    }


def control_errors(labels: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return errors (kcal/mol) of atomization energies from labels, against those of W4-11.

    Args:
        labels: As returned by ``compute_labels``.
    """
    found = reaction_set("w4-11")
    energies = {name: _energy(entry) for name, entry in labels.items()}
    return {
        r.name: Reaction(
            name=r.name,
            coefficients={
                found.molecules[n].symbols[0] if found.molecules[n].is_atom else n: c
                for n, c in r.coefficients.items()
            },
            reference=r.reference,
        ).error(energies)
        for r in found.reactions
        if all(
            n in labels for n, m in found.molecules.items() if n in r.coefficients and not m.is_atom
        )
    }


def _energy(entry: Mapping[str, Any]) -> float:
    return sum(float(entry["label"][part]) for part in PARTS)


def reactions(labels: Mapping[str, Mapping[str, Any]]) -> list[tuple[Reaction, str]]:
    """Return atomizations and barriers from labels, with their kind.

    Args:
        labels: As returned by ``compute_labels`` or read from the shipped file. Reactions of species with
            strong static correlation are left out.
    """
    found: list[tuple[Reaction, str]] = []
    for name, entry in labels.items():
        if name in EQUILIBRIUM:
            counts = Counter(entry["molecule"]["symbols"])
            coefficients = {**{s: float(n) for s, n in counts.items()}, name: -1.0}
            kind = "atomization"
        elif name in SADDLES:
            coefficients = {**dict.fromkeys(SADDLES[name][2], -1.0), name: 1.0}
            kind = "barrier"
        else:
            continue
        if not set(coefficients) <= set(labels) or any(
            float(labels[n]["label"]["t1"]) > LARGEST_T1 for n in coefficients
        ):
            continue
        energy = sum(c * _energy(labels[n]) for n, c in coefficients.items())
        found.append(
            (
                Reaction(
                    name=name, coefficients=coefficients, reference=HARTREE_IN_KCAL_PER_MOL * energy
                ),
                kind,
            )
        )
    return found


def write_labels(path: Path, labels: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the file that ships with the plugin."""
    write_json(path, {"format_version": 1, "species": labels})


def read_labels(path: Path) -> dict[str, dict[str, Any]]:
    """Read a file of ``write_labels``."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return dict(data["species"])
