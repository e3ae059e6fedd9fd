"""Exact thermodynamics of the models for which there is any: free fermions, and small systems."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kakehashi_core.errors import UnsupportedError
from kakehashi_dbm.free_fermions import Thermodynamics, chain_thermodynamics, ring_thermodynamics
from kakehashi_dbm.ising_model import IsingModel, clean_ring
from kakehashi_quspin.exact_thermal import (
    ExactThermal,
    n_states,
    quspin_hamiltonian,
    thermal_of_spectrum,
)
from kakehashi_quspin.spin_model import SpinModel

LARGEST_SPECTRUM = 1 << 11
"""States up to which a spectrum is computed."""

Reference = Callable[[float], Thermodynamics]


def exact_reference(model: SpinModel) -> tuple[str, Reference] | None:
    """Return how a model is solved, and its thermodynamics as a function of beta > 0; None if it is not.

    Args:
        model: Spin model. Ising rings without disorder and open Ising chains with any are free fermions;
            other models need few states.
    """
    try:
        ising = IsingModel.from_spin_model(model)
    except UnsupportedError:
        ising = None
    if ising is not None and model.n_up is None:
        n, shift = model.n_sites, model.constant
        ring = clean_ring(ising)
        if ring is not None:
            j, g = ring
            return "free fermions", lambda b: _shifted(ring_thermodynamics(n, j, g, b), shift, b)
        chain = _open_chain(ising)
        if chain is not None:
            fields = ising.transverse
            return "free fermions", lambda b: _shifted(
                chain_thermodynamics(chain, fields, b), shift, b
            )
    if n_states(model) <= LARGEST_SPECTRUM:
        spectrum = np.linalg.eigvalsh(quspin_hamiltonian(model).toarray())
        return "diagonalization", lambda b: _diagonalized(thermal_of_spectrum(spectrum, b))
    return None


def _open_chain(ising: IsingModel) -> list[float] | None:
    """Return the coupling of each neighboring pair, if there are no others and no longitudinal field."""
    couplings = [0.0] * (ising.n_sites - 1)
    for (i, j), c in zip(np.sort(ising.bonds, axis=1), ising.couplings, strict=True):
        if j != i + 1:
            return None
        couplings[int(i)] = float(c)
    return None if ising.longitudinal.any() or not couplings else couplings


def _shifted(found: Thermodynamics, constant: float, beta: float) -> Thermodynamics:
    return Thermodynamics(
        log_partition=found.log_partition - beta * constant,
        energy=found.energy + constant,
        specific_heat=found.specific_heat,
    )


def _diagonalized(found: ExactThermal) -> Thermodynamics:
    return Thermodynamics(
        log_partition=found.log_partition.mean,
        energy=found.energy.mean,
        specific_heat=found.specific_heat.mean,
    )
