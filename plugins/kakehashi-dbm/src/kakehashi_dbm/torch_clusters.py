"""Cluster updates of many loops at once with torch, for a GPU; equal numbers give the flips of the CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.chains import ChainState, Kernel, Step
from kakehashi_dbm.ising_loop import IsingLoop

Spins = npt.NDArray[np.int8]

CHECK_EVERY = 4
"""Rounds between looks at whether labels still change: each look waits for the device."""


class TorchClusterUpdate(Kernel):
    """Swendsen-Wang updates of the whole loop of all chains; every one is accepted.

    Args:
        loop: Couplings.
        times: Updates of a step.
        device: As torch names it.
    """

    def __init__(self, loop: IsingLoop, *, times: int = 1, device: str | torch.device) -> None:
        self._loop, self._times, self._device = loop, times, torch.device(device)
        n_slices, n_sites = loop.n_slices, loop.n_sites
        sites = np.arange(n_sites)
        first, second, couplings = [], [], []
        ghost = n_slices * n_sites
        for t in range(n_slices):
            here, later = t * n_sites, (t + 1) % n_slices * n_sites
            first += [here + loop.bonds[:, 0], here + sites, here + sites]
            second += [here + loop.bonds[:, 1], later + sites, np.full(n_sites, ghost)]
            couplings += [loop.spatial[t], loop.temporal[t], loop.fields[t]]
        self._first = torch.as_tensor(np.concatenate(first), device=self._device)
        self._second = torch.as_tensor(np.concatenate(second), device=self._device)
        strength = np.concatenate(couplings)
        self._coupling = torch.as_tensor(np.sign(strength), device=self._device)
        self._chance = torch.as_tensor(-np.expm1(-2.0 * np.abs(strength)), device=self._device)
        self._n_units = ghost

    @property
    def n_numbers(self) -> int:
        """Random numbers of an update of one chain: for every coupling, then for every unit."""
        return len(self._first) + self._n_units

    def start(self, positions: Spins) -> ChainState:
        """See the base class; positions are (n_chains, n_slices, n_sites)."""
        return ChainState(positions, self._loop.log_weight(positions))

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """See the base class; numbers are drawn on the device, from a seed of ``rng``."""
        n_chains = state.n_chains
        generator = torch.Generator(device=self._device)
        generator.manual_seed(int(rng.integers(2**62)))
        units = torch.as_tensor(state.positions.reshape(n_chains, -1), device=self._device)
        for _ in range(self._times):
            numbers = torch.rand(
                (n_chains, self.n_numbers), generator=generator, device=self._device
            )
            units = self.updated(units, numbers)
        spins = units.cpu().numpy().reshape(state.positions.shape).astype(np.int8)
        everyone = np.ones(n_chains, dtype=bool)
        return Step(ChainState(spins, self._loop.log_weight(spins)), everyone, everyone)

    def updated(self, units: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Return units after one update.

        Args:
            units: +1 and -1, (n_chains, n_slices n_sites).
            numbers: Uniform in [0, 1), (n_chains, n_numbers).
        """
        n_links = len(self._first)
        ghost = torch.ones_like(units[:, :1])
        spins = torch.cat([units, ghost], dim=1)
        aligned = spins[:, self._first] * spins[:, self._second] * self._coupling > 0.0
        linked = aligned & (numbers[:, :n_links] < self._chance)
        labels = _components(linked, self._first, self._second, self._n_units + 1)
        # One number for each root, the smallest unit of its cluster; the cluster of the ghost stays.
        fixed = labels == labels[:, -1:]
        coins = torch.cat([numbers[:, n_links:], torch.ones_like(numbers[:, :1])], dim=1)
        flips = (coins.gather(1, labels) < 0.5) & ~fixed
        return torch.where(flips, -spins, spins)[:, :-1]


def _components(
    linked: torch.Tensor, first: torch.Tensor, second: torch.Tensor, n_units: int
) -> torch.Tensor:
    """Return the smallest unit of the cluster of every unit, (n_chains, n_units), by hooking and jumping."""
    n_chains = len(linked)
    labels = torch.arange(n_units, device=linked.device).repeat(n_chains, 1)
    u, v = first.expand(n_chains, -1), second.expand(n_chains, -1)
    while True:
        before = labels
        for _ in range(CHECK_EVERY):
            a, b = labels.gather(1, u), labels.gather(1, v)
            # Links that are not there hook a unit to itself.
            low = torch.where(linked, torch.minimum(a, b), n_units)
            labels = labels.scatter_reduce(1, a, low, "amin")
            labels = labels.scatter_reduce(1, b, low, "amin")
            labels = labels.gather(1, labels)
            labels = labels.gather(1, labels)
        if bool((labels == before).all()):
            return labels
