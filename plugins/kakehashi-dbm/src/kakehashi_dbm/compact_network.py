"""Few learned layers instead of many equal ones: a compact thermal state of an Ising model.

    Psi = exp(-a_L V) [prod_{l = L ... 1} exp(-b_l X) exp(-a_{l-1} V)],  H = V + X,

with V the terms of z and X the transverse fields. a and b are positive and read the same from both ends. The
machine is that of the Trotter product with other couplings, and is sampled alike.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import expm
from scipy.optimize import minimize

from kakehashi_core.errors import DomainWarning, InvalidInputError, UnsupportedError
from kakehashi_core.files import write_json
from kakehashi_dbm.free_fermions import RingLayer, log_layered_trace
from kakehashi_dbm.ising_loop import FROZEN, IsingLoop
from kakehashi_dbm.ising_model import IsingModel
from kakehashi_dbm.machine_builder import transverse_coupling
from kakehashi_quspin.spin_model import SpinModel

FloatArray = npt.NDArray[np.float64]

FILE_FORMAT = "kakehashi compact network 1"
LARGEST_DENSE = 10
"""Sites up to which matrices are written out."""
MOST_ITERATIONS = 200


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CompactNetwork:
    """Imaginary times of the layers.

    Attributes:
        beta: Inverse temperature of the state.
        diagonal: a_0 ... a_L, (n_layers + 1,), or one for each bond and field along z, (n_layers + 1,
            n_bonds + n_sites).
        transverse: b_1 ... b_L, (n_layers,), or one for each site, (n_layers, n_sites).
        model: Digest of the model that it was learned for; empty if it is not known.
    """

    beta: float
    diagonal: FloatArray
    transverse: FloatArray
    model: str = ""

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
        a, b = (len(np.atleast_2d(times.T)) for times in (self.diagonal, self.transverse))
        return a * ((self.n_layers + 2) // 2) + b * ((self.n_layers + 1) // 2)

    def loop(self, model: IsingModel) -> IsingLoop:
        """Return the loop of |Psi|^2, of 2 L slices; the first and the opposite one are physical."""
        return overlap_loop(model, self, self)

    def check(self, model: SpinModel, beta: float) -> None:
        """Compare with what the network is used for; another model of the same temperature warns only.

        Raises:
            InvalidInputError: If it was learned for another temperature.
        """
        if abs(self.beta - beta) > 1e-9 * beta:
            raise InvalidInputError(
                f"the network was learned for beta = {self.beta:g}, not for {beta:g}"
            )
        if self.model and self.model != model_digest(model):
            warnings.warn(
                "the network was learned for another model; its layers are used as they are. fit_network or "
                "refine make one for this model",
                DomainWarning,
                stacklevel=3,
            )

    def save(self, path: str | Path) -> None:
        """Write a JSON file."""
        write_json(
            path,
            {
                "format": FILE_FORMAT,
                "beta": self.beta,
                "diagonal": self.diagonal.tolist(),
                "transverse": self.transverse.tolist(),
                "model": self.model,
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            InvalidInputError: If the file is no network.
        """
        try:
            found = json.loads(Path(path).read_text())
            if found.get("format") != FILE_FORMAT:
                raise InvalidInputError(f"{path} has another format than {FILE_FORMAT!r}")
            network = cls(
                beta=float(found["beta"]),
                diagonal=np.array(found["diagonal"], dtype=float),
                transverse=np.array(found["transverse"], dtype=float),
                model=str(found.get("model", "")),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(f"{path} is no saved network: {error}") from error
        if len(network.diagonal) != len(network.transverse) + 1:
            raise InvalidInputError(f"{path} has layers that do not fit together")
        return network


def model_digest(model: SpinModel) -> str:
    """Return a digest of the terms of a model."""
    terms = sorted(
        [[list(one) for one in string], round(c, 12)] for string, c in model.terms.items()
    )
    return hashlib.sha256(json.dumps([model.n_sites, terms]).encode()).hexdigest()[:16]


def overlap_loop(model: IsingModel, ket: CompactNetwork, bra: CompactNetwork) -> IsingLoop:
    """Return the loop of <bra|ket>; slice 0 is s, slice ``ket.n_layers`` is s'.

    From s on, layers of the ket come in falling order, then those of the bra in rising order.

    Raises:
        InvalidInputError: If a network has other numbers of bonds or sites than the model.
    """
    n_bonds, n_sites = len(model.bonds), model.n_sites
    up, down = (_columns(n.diagonal, n_bonds + n_sites) for n in (ket, bra))
    times = np.concatenate([[up[-1] + down[-1]], up[-2:0:-1], [up[0] + down[0]], down[1:-1]])
    links = np.concatenate(
        [_columns(ket.transverse, n_sites)[::-1], _columns(bra.transverse, n_sites)]
    )
    temporal = np.full((len(links), n_sites), FROZEN)
    for t, i in np.argwhere(links * model.transverse > 0.0):
        temporal[t, i] = min(FROZEN, transverse_coupling(float(links[t, i] * model.transverse[i])))
    return IsingLoop(
        bonds=model.bonds,
        spatial=times[:, :n_bonds] * model.couplings,
        fields=times[:, n_bonds:] * model.longitudinal,
        temporal=temporal,
        physical=np.array([0, ket.n_layers]),
    )


def _columns(times: FloatArray, n: int) -> FloatArray:
    wide = times[:, None] if times.ndim == 1 else times
    if wide.shape[1] not in {1, n}:
        raise InvalidInputError(
            f"the network has times for {wide.shape[1]} couplings, the model has {n}"
        )
    return np.broadcast_to(wide, (len(wide), n))


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
            diagonal=mirrored(half, n_layers + 1),
            transverse=mirrored(other, n_layers),
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
    half = expm(-0.5 * beta * dense_hamiltonian(model))
    norm = float((half**2).sum())

    def log_infidelity(network: CompactNetwork) -> float:
        psi = dense_state(network, model)
        overlap = float((psi * half).sum())
        return _log_rest(float(np.log(overlap**2 / ((psi**2).sum() * norm))))

    return log_infidelity


def dense_hamiltonian(model: IsingModel) -> FloatArray:
    """Return H without its constant, in QuSpin's order of states, (2^n, 2^n)."""
    rows = np.arange(1 << model.n_sites)
    found = np.diag(-_strengths(model) @ _diagonal_terms(model))
    for i, g in enumerate(model.transverse):
        found[rows, rows ^ (1 << (model.n_sites - 1 - i))] -= g
    return found


def dense_state(network: CompactNetwork, model: IsingModel) -> FloatArray:
    """Return Psi, (2^n, 2^n), in QuSpin's order of states.

    Raises:
        UnsupportedError: If there are too many sites.
    """
    n = model.n_sites
    terms, strengths = _diagonal_terms(model), _strengths(model)
    diagonal = np.exp(_columns(network.diagonal, len(strengths)) * strengths @ terms)
    psi = np.diag(diagonal[0]).reshape(*[2] * n, 1 << n)
    for b, weights in zip(_columns(network.transverse, n), diagonal[1:], strict=True):
        for i, g in enumerate(b * model.transverse):
            other = np.flip(psi, axis=i)
            psi = np.cosh(g) * psi + np.sinh(g) * other
        psi = weights.reshape(*[2] * n, 1) * psi
    return psi.reshape(1 << n, 1 << n)


def _diagonal_terms(model: IsingModel) -> FloatArray:
    """Return z z of each bond and z of each site in all states, (n_bonds + n_sites, 2^n)."""
    n = model.n_sites
    if n > LARGEST_DENSE:
        raise UnsupportedError(f"{n} sites are too many for matrices; the limit is {LARGEST_DENSE}")
    z = np.array(np.meshgrid(*[[1.0, -1.0]] * n, indexing="ij")).reshape(n, -1)
    return np.concatenate([z[model.bonds[:, 0]] * z[model.bonds[:, 1]], z])


def _strengths(model: IsingModel) -> FloatArray:
    return np.concatenate([model.couplings, model.longitudinal])


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


def mirrored(half: FloatArray, length: int) -> FloatArray:
    """Return times of layers that read the same from both ends, (length, ...), from their first half."""
    return np.concatenate([half, half[: length - len(half)][::-1]])


def _log_rest(log_overlap: float) -> float:
    """Return log(1 - exp(log_overlap)), not below what rounding leaves."""
    return float(np.log(max(-np.expm1(min(log_overlap, 0.0)), 1e-14)))
