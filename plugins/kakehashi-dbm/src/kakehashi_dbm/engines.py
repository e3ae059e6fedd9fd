"""What a sampler needs to know of a class of models: how to move, and how to read what moved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import Kernel
from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_dbm.cluster_updates import ClusterUpdate, random_loops
from kakehashi_dbm.compact_network import CompactNetwork
from kakehashi_dbm.exchange_model import ExchangeModel
from kakehashi_dbm.ising_loop import IsingLoop
from kakehashi_dbm.ising_model import IsingModel
from kakehashi_dbm.line_averages import line_averages
from kakehashi_dbm.loop_operators import operator_values
from kakehashi_dbm.loop_updates import LoopUpdate, straight_lines
from kakehashi_dbm.world_lines import WorldLines
from kakehashi_quspin.pauli_strings import PauliString
from kakehashi_quspin.spin_model import SpinModel

FloatArray = npt.NDArray[np.float64]
Spins = npt.NDArray[np.int8]
Terms = Mapping[PauliString, float]

LEAST_ISING, LEAST_EXCHANGE = 48, 16
"""Fewest slices: at high temperature the error of an energy falls with their number, not with the step."""
SMALLEST_BETA = 1e-12


class Engine(Protocol):
    """A class of models at one temperature."""

    @property
    def beta(self) -> float:
        """Inverse temperature."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the position of one chain."""

    @property
    def is_uniform(self) -> bool:
        """Whether all slices are alike, so that their distance is imaginary time."""

    @property
    def n_slices(self) -> int:
        """Slices in imaginary time that are physical states."""

    @property
    def kernel(self) -> Kernel:
        """What moves chains."""

    def random_start(self, rng: np.random.Generator, n_chains: int) -> Spins:
        """Return where chains start, (n_chains, ...)."""

    def states(self, positions: Spins) -> Spins:
        """Return physical states, (n_chains, n_slices, n_sites)."""

    def energies(self, positions: Spins) -> FloatArray:
        """Return estimates of <H>, (n_chains,)."""

    def averages(self, positions: Spins, terms: Terms) -> FloatArray:
        """Return estimates of an operator in the frame of the user, (n_chains,)."""

    def features(self, positions: Spins) -> FloatArray:
        """Return what couplings are multiplied with in log-weights, (n_chains, n_features)."""

    @property
    def couplings(self) -> FloatArray:
        """Log-weights are features @ couplings; engines of one size differ in these, (n_features,)."""


def engine_for(
    model: SpinModel,
    beta: float,
    trotter_step: float,
    *,
    n_slices: int | None = None,
    network: CompactNetwork | None = None,
    device: str = "cpu",
) -> Engine:
    """Return the engine of a model.

    Args:
        model: Spin model.
        beta: Inverse temperature, at least 0.
        trotter_step: Imaginary time of a slice times the largest coupling.
        n_slices: The number of slices instead.
        network: Learned layers instead.
        device: Where chains move, see ``kakehashi_core.devices``; Ising models only have a choice.

    Raises:
        UnsupportedError: If no engine treats it; the message says why each does not.
    """
    try:
        ising = IsingModel.from_spin_model(model)
    except UnsupportedError as not_ising:
        if device not in {"cpu", "auto"}:
            raise UnsupportedError(
                f"world lines of exchange models move on the CPU only, not on {device!r}"
            ) from not_ising
        try:
            exchange = ExchangeModel.from_spin_model(model)
        except UnsupportedError as not_exchange:
            raise UnsupportedError(
                f"'thermal-dbm' does not treat this model; 'purified-nqs' may, up to 20 sites. As an Ising "
                f"model: {not_ising}. As an exchange model: {not_exchange}"
            ) from None
        return ExchangeEngine(
            exchange, model.n_up, beta, trotter_step, n_slices=n_slices, network=network
        )
    if model.n_up is not None:
        raise UnsupportedError(
            f"the basis fixes {model.n_up} spins up, which cluster updates do not keep; leave Nup out"
        )
    return IsingEngine(ising, beta, trotter_step, n_slices=n_slices, network=network, device=device)


class IsingEngine:
    """Ising models in a transverse field: Swendsen-Wang updates, averages over histories of spins."""

    def __init__(
        self,
        model: IsingModel,
        beta: float,
        trotter_step: float,
        *,
        n_slices: int | None = None,
        network: CompactNetwork | None = None,
        device: str = "cpu",
    ) -> None:
        self._model, self.beta = model, beta
        self.is_uniform = network is None
        if network is not None:
            self._loop = network.loop(model)
        else:
            sizes = (model.couplings, model.longitudinal, model.transverse)
            number = n_slices or _n_slices(sizes, beta, trotter_step, LEAST_ISING)
            self._loop = IsingLoop.thermal(model, max(beta, SMALLEST_BETA), number)
        self.kernel: Kernel = ClusterUpdate(self._loop)
        if device != "cpu":
            from kakehashi_core.devices import resolve_device
            from kakehashi_dbm.torch_clusters import TorchClusterUpdate

            found = resolve_device(device)
            if found.type != "cpu":
                self.kernel = TorchClusterUpdate(self._loop, device=found)
        self.shape = self._loop.temporal.shape

    @property
    def n_slices(self) -> int:
        """See the protocol."""
        return self._loop.n_slices

    def random_start(self, rng: np.random.Generator, n_chains: int) -> Spins:
        """See the protocol."""
        return random_loops(self._loop, rng, n_chains)

    def states(self, positions: Spins) -> Spins:
        """See the protocol."""
        return np.asarray(positions[:, self._loop.physical])

    def energies(self, positions: Spins) -> FloatArray:
        """See the protocol."""
        model = self._model
        z, x = line_averages(self._loop, positions)
        i, j = model.bonds.T
        # Both ends of a bond are averaged over in turn.
        s = self.states(positions)
        pairs = 0.5 * (z[..., i] * s[..., j] + s[..., i] * z[..., j])
        total = pairs @ model.couplings + z @ model.longitudinal + x @ model.transverse
        return np.asarray(model.constant - total.mean(axis=1))

    def averages(self, positions: Spins, terms: Terms) -> FloatArray:
        """See the protocol."""
        turned = self._model.rotation.apply(terms)
        return np.asarray(operator_values(self._loop, positions, turned).mean(axis=1))

    def features(self, positions: Spins) -> FloatArray:
        """See the protocol."""
        return self._loop.features(positions)

    @property
    def couplings(self) -> FloatArray:
        """See the protocol."""
        loop = self._loop
        return np.concatenate([loop.spatial[0], loop.fields[0], loop.temporal[0]])


class ExchangeEngine:
    """XXZ models without a sign problem: loop updates of world lines."""

    def __init__(
        self,
        model: ExchangeModel,
        n_up: int | None,
        beta: float,
        trotter_step: float,
        *,
        n_slices: int | None = None,
        network: CompactNetwork | None = None,
    ) -> None:
        if beta == 0.0:
            raise InvalidInputError("beta = 0 needs no sampling: all states are alike")
        if network is not None:
            raise UnsupportedError("learned layers are known for Ising models only")
        self._model, self._n_up, self.beta = model, n_up, beta
        self.is_uniform = True
        # A bond is as strong as its largest energy.
        sizes = (np.abs(model.along) + 2.0 * model.across, model.longitudinal)
        number = n_slices or _n_slices(sizes, beta, trotter_step, LEAST_EXCHANGE)
        self._lines = WorldLines.thermal(model, beta, number)
        self.kernel: Kernel = LoopUpdate(self._lines, conserve=n_up is not None)
        self.shape = (self._lines.n_pieces,)

    @property
    def n_slices(self) -> int:
        """See the protocol."""
        return len(self._lines.boundaries)

    def random_start(self, rng: np.random.Generator, n_chains: int) -> Spins:
        """See the protocol."""
        n = self._model.n_sites
        if self._n_up is None:
            return straight_lines(self._lines, rng.choice([-1, 1], size=(n_chains, n)))
        one = np.where(np.arange(n) < self._n_up, 1, -1)
        return straight_lines(
            self._lines, np.array([rng.permutation(one) for _ in range(n_chains)])
        )

    def states(self, positions: Spins) -> Spins:
        """See the protocol."""
        return self._lines.boundary_spins(positions)

    def energies(self, positions: Spins) -> FloatArray:
        """See the protocol."""
        return self._lines.energies(positions)

    def averages(self, positions: Spins, terms: Terms) -> FloatArray:
        """See the protocol; x x and y y are known on bonds, where both are half of their sum."""
        model = self._model
        states = self.states(positions).astype(float)
        numbers = {(int(i), int(j)): b for b, (i, j) in enumerate(model.bonds)}
        bonds: FloatArray | None = None
        total = np.zeros(len(positions))
        for string, c in terms.items():
            letters = "".join(a for _, a in string)
            sites = tuple(i for i, _ in string)
            if set(letters) <= {"z"}:
                total += c * np.prod(states[:, :, list(sites)], axis=2).mean(axis=1)
            elif letters in {"xx", "yy"} and sites in numbers:
                if bonds is None:
                    bonds = self._lines.bond_energies(positions)
                b = numbers[sites]
                pair = (states[:, :, sites[0]] * states[:, :, sites[1]]).mean(axis=1)
                across = (model.along[b] * pair - bonds[:, b]) / (2.0 * model.across[b])
                turned = model.rotation.sites[list(sites)].sum() % 2
                total += c * across * (-1.0 if turned else 1.0)
            else:
                text = " ".join(f"{a}_{i}" for i, a in string)
                raise UnsupportedError(
                    f"{text} is not known: exchange models give products of z, and x x and y y on bonds"
                )
        return total

    def features(self, positions: Spins) -> FloatArray:
        """See the protocol."""
        return self._lines.features(positions)

    @property
    def couplings(self) -> FloatArray:
        """See the protocol."""
        return np.concatenate([np.log(self._lines.gate_weights()).ravel(), self._lines.fields])


def _n_slices(sizes: tuple[FloatArray, ...], beta: float, trotter_step: float, least: int) -> int:
    """Return the even number of slices that keeps imaginary time times the largest coupling small."""
    largest = max((float(np.abs(s).max()) for s in sizes if s.size), default=0.0)
    return max(least, 2 * math.ceil(0.5 * beta * largest / trotter_step))
