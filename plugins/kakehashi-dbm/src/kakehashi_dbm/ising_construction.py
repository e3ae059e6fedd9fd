"""The deep Boltzmann machine of a thermal Ising state, written down in closed form."""

from __future__ import annotations

from kakehashi_core.errors import InvalidInputError
from kakehashi_dbm.boltzmann_machine import BoltzmannMachine
from kakehashi_dbm.ising_model import IsingModel
from kakehashi_dbm.machine_builder import MachineBuilder


def ising_machine(model: IsingModel, beta: float, n_steps: int) -> BoltzmannMachine:
    """Return Psi(s, s') = <s| exp(-beta H / 2) |s'> up to the error of symmetric Trotter steps.

    The spins are those of the frame in which transverse fields are positive, see ``IsingModel.rotation``.

    Args:
        model: H.
        beta: Inverse temperature, positive.
        n_steps: Trotter steps of beta / (2 n_steps) each; the error falls as one over its square.

    Raises:
        InvalidInputError: If a number makes no sense.
    """
    if beta <= 0.0 or n_steps < 1:
        raise InvalidInputError(
            f"beta must be positive and n_steps at least 1, got {beta!r} and {n_steps!r}"
        )
    step = beta / (2.0 * n_steps)
    builder = MachineBuilder(model.n_sites)

    def diagonal(length: float) -> None:
        for (i, j), strength in zip(model.bonds, model.couplings, strict=True):
            builder.pair(int(i), int(j), length * float(strength))
        for site, strength in enumerate(model.longitudinal):
            builder.field(site, length * float(strength))

    diagonal(0.5 * step)
    for number in range(n_steps):
        for site, strength in enumerate(model.transverse):
            if strength > 0.0:
                builder.transverse(site, step * float(strength))
        diagonal(step if number < n_steps - 1 else 0.5 * step)
    machine = builder.machine()
    return BoltzmannMachine(
        n_sites=machine.n_sites,
        weights=machine.weights,
        unit_bias=machine.unit_bias,
        hidden_bias=machine.hidden_bias,
        log_factor=machine.log_factor - 0.5 * beta * model.constant,
    )
