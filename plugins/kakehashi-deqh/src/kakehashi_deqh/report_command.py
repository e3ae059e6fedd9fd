"""``kakehashi hamiltonian report mol.xyz``: how a prediction came about, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from kakehashi_core import registry
from kakehashi_core.consoles import result_console
from kakehashi_core.contracts import GuessResult
from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_core.files import write_json
from kakehashi_deqh.atomic_units import HARTREE
from kakehashi_deqh.hamiltonian_model import HamiltonianModel
from kakehashi_deqh.json_values import without_nan
from kakehashi_deqh.orbitals import orbitals_of
from kakehashi_deqh.pair_contributions import pair_contributions
from kakehashi_deqh.predictor import HamiltonianPredictor, HamiltonianReport, molecule_of


def hamiltonian_report(
    file: Path,
    *,
    model: str = "deqh-water",
    output: Path = Path("hamiltonian-report"),
    fock: bool = True,
    charge: int = 0,
) -> int:
    """Predict the Hamiltonian of a molecule and say how: residuals, doubts, contributions of pairs of atoms.

    Args:
        file: Geometry that ASE reads.
        model: Registered predictor.
        output: Folder for report.json and report.png.
        fock: Build one Fock matrix, which says how far the prediction is from self-consistency.
        charge: Total charge.
    """
    from ase.io import read
    from pyscf import dft, gto

    import kakehashi_pyscf as kp

    if not file.is_file():
        raise InvalidInputError(f"there is no file {file}")
    atoms: Any = read(file)
    spec = registry.find("init_guess", model).spec
    predictor = registry.load("init_guess", model)
    if spec is None or not isinstance(predictor, HamiltonianPredictor):
        raise UnsupportedError(f"{model!r} is no predictor of kakehashi-deqh")
    mol = gto.M(
        atom=list(zip(atoms.symbols, atoms.positions, strict=True)),
        basis=spec.domain.basis,
        charge=charge,
        spin=None,
        verbose=0,
    )
    mf = dft.RKS(mol, xc=spec.domain.xc)
    request = kp.guess_request(mf)
    result = predictor(request)
    found = orbitals_of(result.hamiltonian, request.overlap, mol.nelectron)
    report: dict[str, Any] = {
        "model": model,
        "file": file.name,
        "report": result.report.to_dict(),
        "gap, eV": found.gap * HARTREE,
        "orbital energies, hartree": found.energies.tolist(),
    }
    if fock:
        vhf = mf.get_veff(mol, result.density_matrix)
        matrix = np.asarray(request.start_hamiltonians["hcore"] + vhf)
        d, s = result.density_matrix, request.overlap
        report["first Fock matrix"] = {
            "energy, hartree": float(mf.energy_tot(d, request.start_hamiltonians["hcore"], vhf)),
            "estimated energy error, hartree": kp.estimated_energy_error(
                matrix, result.hamiltonian, s, mol.nelectron
            ),
            "commutator, hartree": float(np.abs(matrix @ d @ s - s @ d @ matrix).max()),
        }
        first = report["first Fock matrix"]
        first["better than minao"] = (
            first["estimated energy error, hartree"] <= result.rejection_threshold
        )
    report["verdict"] = _verdict(result, report.get("first Fock matrix"))
    own: HamiltonianModel = predictor.model
    contributions = pair_contributions(own, molecule_of(request, own.settings.start))
    report["contributions of pairs of atoms, hartree"] = {
        name: table.tolist() for name, table in contributions.items()
    }
    console = result_console()
    console.print(str(result.report), highlight=False, markup=False)
    for quantity, value in report.get("first Fock matrix", {}).items():
        name, _, unit = quantity.partition(", ")
        text = str(value)
        if isinstance(value, float):
            text = f"{value:.8f}" if name == "energy" else f"{value:.3g}"
        console.print(f"  {name}: {text} {unit}".rstrip(), highlight=False, markup=False)
    console.print(f"  gap: {report['gap, eV']:.3f} eV", highlight=False, markup=False)
    console.print(f"  verdict: {report['verdict']}", highlight=False, markup=False)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "report.json", without_nan(report))
    try:
        from kakehashi_deqh.report_plot import save_report_plot
    except ImportError:
        console.print("no plot: pip install 'kakehashi-deqh[plots]'", highlight=False, markup=False)
    else:
        labels = [f"{s}{k}" for k, s in enumerate(atoms.symbols)]
        save_report_plot(
            cast("HamiltonianReport", result.report), contributions, labels, output / "report.png"
        )
        console.print(f"plot: {output / 'report.png'}", highlight=False, markup=False)
    console.print(f"report: {output / 'report.json'}", highlight=False, markup=False)
    return 0


def _verdict(result: GuessResult, first: Mapping[str, Any] | None) -> str:
    """Say what an SCF would do with a prediction."""
    report = cast("HamiltonianReport", result.report)
    if report.outside:
        return "refused as initial guess: " + "; ".join(report.outside)
    if first is None:
        return "unknown without a Fock matrix"
    if not first["better than minao"]:
        return "rejected as initial guess: its estimated error is larger than that of minao"
    return "used as initial guess; the energy is good to about the estimated error"
