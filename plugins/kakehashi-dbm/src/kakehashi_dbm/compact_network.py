"""Few learned layers instead of many equal ones: a compressed thermal state of an Ising model.

    Psi = exp(-a_L V) [prod_{l = L ... 1} exp(-b_l X) exp(-a_{l-1} V)],  H = V + X,

with V the terms of z and X the transverse fields. a and b are positive and read the same from both ends. The
machine is that of the Trotter product with other couplings, and is sampled alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import expm
from scipy.optimize import minimize

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_dbm.free_fermions import RingLayer, log_layered_trace
from kakehashi_dbm.ising_loop import FROZEN, IsingLoop
from kakehashi_dbm.ising_model import IsingModel
from kakehashi_dbm.machine_builder import transverse_coupling

FloatArray = npt.NDArray[np.float64]

LARGEST_DENSE = 10
"""Sites up to which matrices are written out."""
MOST_ITERATIONS = 200


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CompactNetwork:
    """Imaginary times of the layers.

    Attributes:
        beta: Inverse temperature of the state.
        diagonal: a_0 ... a_L, (n_layers + 1,).
        transverse: b_1 ... b_L, (n_layers,).
    """

    beta: float
    diagonal: FloatArray
    transverse: FloatArray

    @classmethod
    def uniform(cls, beta: float, n_layers: int) -> Self:
        """Return the layers of symmetric Trotter steps, all alike.

        Raises:
            InvalidInputError: If beta is not positive, or there is no layer.
        """
        if not (np.isfinite(beta) and beta > 0.0) or n_layers < 1:
            raise InvalidInputError(
                f"beta must be positive and n_layers at least 1, got {beta!r} and {n_layers!r}"
            )
        step = 0.5 * beta / n_layers
        diagonal = np.full(n_layers + 1, step)
        diagonal[[0, -1]] = 0.5 * step
        return cls(beta=float(beta), diagonal=diagonal, transverse=np.full(n_layers, step))

    @property
    def n_layers(self) -> int:
        """Transverse layers of Psi."""
        return len(self.transverse)

    @property
    def n_parameters(self) -> int:
        """Free numbers: half of them, for the layers read the same from both ends."""
        return (self.n_layers + 2) // 2 + (self.n_layers + 1) // 2

    def loop(self, model: IsingModel) -> IsingLoop:
        """Return the loop of |Psi|^2, of 2 L slices; the first and the opposite one are physical."""
        inner = self.diagonal[1:-1]
        times = np.concatenate(
            [[2.0 * self.diagonal[-1]], inner[::-1], [2.0 * self.diagonal[0]], inner]
        )
        links = np.concatenate([self.transverse[::-1], self.transverse])
        temporal = np.full((len(links), model.n_sites), FROZEN)
        for t, time in enumerate(links):
            for i, g in enumerate(model.transverse):
                if g > 0.0:
                    temporal[t, i] = min(FROZEN, transverse_coupling(float(time * g)))
        return IsingLoop(
            bonds=model.bonds,
            spatial=times[:, None] * model.couplings,
            fields=times[:, None] * model.longitudinal,
            temporal=temporal,
            physical=np.array([0, self.n_layers]),
        )


def fit_compact(
    beta: float, n_layers: int, log_infidelity: Callable[[CompactNetwork], float]
) -> CompactNetwork:
    """Return the layers that are closest to the thermal state.

    Args:
        beta: Inverse temperature.
        n_layers: Transverse layers.
        log_infidelity: Logarithm of 1 - |<Psi|Phi>|^2 of normalized states: ``ring_infidelity`` for rings of
            any size, ``dense_infidelity`` for small systems.
    """
    start = CompactNetwork.uniform(beta, n_layers)
    n_diagonal = (n_layers + 2) // 2

    def network(logs: FloatArray) -> CompactNetwork:
        half, other = np.exp(logs[:n_diagonal]), np.exp(logs[n_diagonal:])
        return CompactNetwork(
            beta=start.beta,
            diagonal=_mirrored(half, n_layers + 1),
            transverse=_mirrored(other, n_layers),
        )

    first = np.log(
        np.concatenate([start.diagonal[:n_diagonal], start.transverse[: (n_layers + 1) // 2]])
    )
    found = minimize(
        lambda logs: log_infidelity(network(logs)),
        first,
        method="BFGS",
        options={"maxiter": MOST_ITERATIONS, "gtol": 1e-4, "eps": 1e-6},
    )
    return network(found.x)


def ring_infidelity(
    n_sites: int, coupling: float, field: float, beta: float
) -> Callable[[CompactNetwork], float]:
    """Return the logarithm of the infidelity on a clean ring, by free fermions, for any number of sites.

    Args:
        n_sites: N.
        coupling: J.
        field: G, positive.
        beta: Inverse temperature.
    """
    exact = [RingLayer(bonds=0.5 * beta * coupling, fields=0.5 * beta * field)]
    norm = log_layered_trace(n_sites, [*exact, *exact])

    def log_infidelity(network: CompactNetwork) -> float:
        layers = ring_layers(network, coupling, field)
        overlap = log_layered_trace(n_sites, [*layers, *exact])
        own = log_layered_trace(n_sites, [*layers, *layers])
        return _log_rest(2.0 * overlap - own - norm)

    return log_infidelity


def dense_infidelity(model: IsingModel, beta: float) -> Callable[[CompactNetwork], float]:
    """Return the logarithm of the infidelity of a small system, by matrices.

    Raises:
        UnsupportedError: If there are too many sites.
    """
    diagonal, fields = dense_parts(model)
    half = expm(-0.5 * beta * (np.diag(diagonal) + fields))
    norm = float((half**2).sum())

    def log_infidelity(network: CompactNetwork) -> float:
        psi = dense_state(network, diagonal, fields)
        overlap = float((psi * half).sum())
        return _log_rest(float(np.log(overlap**2 / ((psi**2).sum() * norm))))

    return log_infidelity


def dense_parts(model: IsingModel) -> tuple[FloatArray, FloatArray]:
    """Return the diagonal of V, (2^n,), and the matrix of X, (2^n, 2^n), in QuSpin's order of states."""
    n = model.n_sites
    if n > LARGEST_DENSE:
        raise UnsupportedError(f"{n} sites are too many for matrices; the limit is {LARGEST_DENSE}")
    states = np.array(np.meshgrid(*[[1, -1]] * n, indexing="ij"), dtype=np.int8).reshape(n, -1).T
    fields = np.zeros((1 << n, 1 << n))
    rows = np.arange(1 << n)
    for i, g in enumerate(model.transverse):
        fields[rows, rows ^ (1 << (n - 1 - i))] = -g
    return model.diagonal(states), fields


def dense_state(network: CompactNetwork, diagonal: FloatArray, fields: FloatArray) -> FloatArray:
    """Return Psi, (2^n, 2^n), of parts as ``dense_parts`` gives them."""
    psi = np.diag(np.exp(-network.diagonal[0] * diagonal))
    for b, a in zip(network.transverse, network.diagonal[1:], strict=True):
        psi = np.exp(-a * diagonal)[:, None] * (expm(-b * fields) @ psi)
    return np.asarray(psi)


def ring_layers(network: CompactNetwork, coupling: float, field: float) -> list[RingLayer]:
    """Return the layers of Psi on a clean ring, from the left."""
    layers = [RingLayer(bonds=float(network.diagonal[-1]) * coupling)]
    for b, a in zip(network.transverse[::-1], network.diagonal[-2::-1], strict=True):
        layers += [RingLayer(fields=float(b) * field), RingLayer(bonds=float(a) * coupling)]
    return layers


def ring_energy(
    network: CompactNetwork, n_sites: int, coupling: float, field: float, *, step: float = 1e-4
) -> float:
    """Return <Psi|H|Psi> / <Psi|Psi> on a clean ring, exactly, for any number of sites."""
    layers = ring_layers(network, coupling, field)
    values = [
        log_layered_trace(
            n_sites, [*layers, RingLayer(bonds=s * coupling, fields=s * field), *layers]
        )
        for s in (step, -step)
    ]
    return -(values[0] - values[1]) / (2.0 * step)


def _mirrored(half: FloatArray, length: int) -> FloatArray:
    return np.concatenate([half, half[: length - len(half)][::-1]])


def _log_rest(log_overlap: float) -> float:
    """Return log(1 - exp(log_overlap)), not below what rounding leaves."""
    return float(np.log(max(-np.expm1(min(log_overlap, 0.0)), 1e-14)))
