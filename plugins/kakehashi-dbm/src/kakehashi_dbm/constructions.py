"""Deep Boltzmann machines of thermal states, written down in closed form as Trotter products."""

from __future__ import annotations

from dataclasses import replace

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_dbm.boltzmann_machine import BoltzmannMachine
from kakehashi_dbm.exchange_model import ExchangeModel
from kakehashi_dbm.ising_model import IsingModel
from kakehashi_dbm.machine_builder import ExchangeForm, MachineBuilder
from kakehashi_quspin.pauli_strings import PauliString
from kakehashi_quspin.spin_model import SpinModel


def ising_machine(model: IsingModel, beta: float, n_steps: int) -> BoltzmannMachine:
    """Return Psi(s, s') = <s| exp(-beta H / 2) |s'> up to the error of symmetric Trotter steps.

    All weights are real. The spins are those of the frame in which transverse fields are positive, see
    ``IsingModel.rotation``.

    Args:
        model: H.
        beta: Inverse temperature, positive.
        n_steps: Trotter steps of beta / (2 n_steps) each; the error falls as one over its square.

    Raises:
        InvalidInputError: If a number makes no sense.
    """
    step = _step(beta, n_steps)
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
    return _with_constant(builder, beta * model.constant)


def exchange_machine(
    model: ExchangeModel, beta: float, n_steps: int, *, form: ExchangeForm = "two-deep"
) -> BoltzmannMachine:
    """Return Psi(s, s') of an exchange model, in symmetric products over its bonds.

    Weights that conserve spin are complex, amplitudes positive. The spins are those of the frame in which
    exchange is positive, see ``ExchangeModel.rotation``.

    Args:
        model: H.
        beta: Inverse temperature, positive.
        n_steps: Trotter steps of beta / (2 n_steps) each.
        form: Units of a bond, see ``MachineBuilder.exchange``.

    Raises:
        InvalidInputError: If a number makes no sense.
    """
    step = _step(beta, n_steps)
    builder = MachineBuilder(model.n_sites, ancillas_apart=form == "one-deep")

    def fields(length: float) -> None:
        for site, strength in enumerate(model.longitudinal):
            builder.field(site, length * float(strength))

    fields(0.5 * step)
    for number in range(n_steps):
        for bond, share in _there_and_back(len(model.bonds)):
            i, j = (int(k) for k in model.bonds[bond])
            jz, jx = float(model.along[bond]), float(model.across[bond])
            builder.exchange(i, j, jz, jx, share * step, form=form)
        fields(step if number < n_steps - 1 else 0.5 * step)
    return _with_constant(builder, beta * model.constant)


def pauli_machine(model: SpinModel, beta: float, n_steps: int) -> BoltzmannMachine:
    """Return Psi(s, s') of any model of one- and two-spin terms, with complex weights, in the user's frame.

    Amplitudes have any sign, so that such machines can be evaluated for small systems, not sampled.

    Args:
        model: H.
        beta: Inverse temperature, positive.
        n_steps: Trotter steps of beta / (2 n_steps) each.

    Raises:
        InvalidInputError: If a number makes no sense.
        UnsupportedError: If a term has more than two spins.
    """
    step = _step(beta, n_steps)
    builder = MachineBuilder(model.n_sites)
    gates = _gates(model)
    for _ in range(n_steps):
        for number, share in _there_and_back(len(gates)):
            _apply(builder, gates[number], share * step)
    return _with_constant(builder, beta * model.constant)


def _step(beta: float, n_steps: int) -> float:
    if beta <= 0.0 or n_steps < 1:
        raise InvalidInputError(
            f"beta must be positive and n_steps at least 1, got {beta!r} and {n_steps!r}"
        )
    return beta / (2.0 * n_steps)


def _with_constant(builder: MachineBuilder, exponent: float) -> BoltzmannMachine:
    machine = builder.machine()
    return replace(machine, log_factor=machine.log_factor - 0.5 * exponent)


def _there_and_back(n: int) -> list[tuple[int, float]]:
    """Return gates of a symmetric step with their share: halves there and back, the last one whole."""
    halves = [(k, 0.5) for k in range(n - 1)]
    return [*halves, (n - 1, 1.0), *reversed(halves)] if n else []


def _gates(model: SpinModel) -> list[dict[PauliString, float]]:
    """Return the terms in groups that are applied as one gate each.

    x x + y y of a pair, with its z z, is one gate; any other string is its own.
    """
    rest = dict(model.terms)
    gates = []
    for string, c in model.terms.items():
        if len(string) > 2:
            text = " ".join(f"{a}_{i}" for i, a in string)
            raise UnsupportedError(
                f"{text} acts on {len(string)} spins; machines have terms of two at most"
            )
        sites = [i for i, _ in string]
        if [a for _, a in string] != ["x", "x"]:
            continue
        i, j = sites
        yy: PauliString = ((i, "y"), (j, "y"))
        if abs(rest.get(yy, 0.0) - c) <= 1e-12 * abs(c):
            group: list[PauliString] = [string, yy, ((i, "z"), (j, "z"))]
            gates.append({s: rest.pop(s) for s in group if s in rest})
    return [*gates, *({string: c} for string, c in rest.items())]


def _apply(builder: MachineBuilder, gate: dict[PauliString, float], step: float) -> None:
    string = next(iter(gate))
    letters = "".join(a for _, a in string)
    sites = [i for i, _ in string]
    if letters == "xx" and len(gate) > 1:
        zz: PauliString = ((sites[0], "z"), (sites[1], "z"))
        builder.exchange(sites[0], sites[1], gate.get(zz, 0.0), -gate[string], step)
        return
    strength = -step * gate[string]
    if letters == "x" and strength > 0.0:
        builder.transverse(sites[0], strength)
        return
    for site, letter in string:
        builder.turn_to_z(site, letter)
    if len(string) == 2:
        builder.pair(sites[0], sites[1], strength)
    else:
        builder.field(sites[0], strength)
    for site, letter in string:
        builder.turn_from_z(site, letter)
