"""How good predictions are on calculations that were not trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kakehashi_deqh.hamiltonian_model import HamiltonianModel
from kakehashi_deqh.orbitals import orbitals_of
from kakehashi_deqh.predictor import molecule_of
from kakehashi_deqh.training.scf_data import Calculation

MICRO = 1e6


def measured_accuracy(
    model: HamiltonianModel, calculations: Sequence[Calculation]
) -> dict[str, float]:
    """Return errors of matrices and of what follows from them without a further calculation.

    Returns:
        Quantity with its unit to a mean over molecules, or to the worst one where it says so.
    """
    molecules = [molecule_of(c.request, model.settings.start) for c in calculations]
    found = model.predict(molecules)
    rows: list[dict[str, float]] = []
    for calculation, molecule, prediction in zip(calculations, molecules, found, strict=True):
        wanted = molecule.layout.taken(calculation.hamiltonian)
        overlap = molecule.matrices["overlap"]
        n_electrons = int(np.sum(molecule.numbers))
        own = orbitals_of(prediction.hamiltonian, overlap, n_electrons)
        true = orbitals_of(wanted, overlap, n_electrons)
        error = np.abs(prediction.hamiltonian - wanted)
        n = own.n_occupied
        energies = np.abs(own.energies - true.energies)
        shared = own.density_matrix @ overlap @ true.density_matrix @ overlap
        rows.append(
            {
                "H MAE, uHa": MICRO * float(error.mean()),
                "occupied orbital energies MAE, uHa": MICRO * float(energies[:n].mean()),
                "gap MAE, uHa": MICRO * abs(own.gap - true.gap),
                "1 - similarity of densities": 1.0 - float(np.trace(shared)) / (2.0 * n_electrons),
                "evaluations of the network": float(prediction.evaluations),
            }
        )
    means = {k: float(np.mean([row[k] for row in rows])) for k in rows[0]}
    means["worst H MAE, uHa"] = max(row["H MAE, uHa"] for row in rows)
    means["converged, share"] = float(np.mean([p.converged for p in found]))
    return means
