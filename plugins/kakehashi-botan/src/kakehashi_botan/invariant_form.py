"""A graph network of glassy dynamics whose input, and so whose answer, no rotation changes.

Particles carry invariant descriptors, edges carry distances only. Messages are sums over neighbors of
source values times a learned function of distance. Three heads read the result: one the mobility of each
particle, one (symmetric in its ends) the change of each distance, one the temperature of the whole. The last
one receives and never sends: nothing of a configuration's mean reaches its particles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch.nn import Dropout, Linear, ModuleList, Sequential, SiLU

from kakehashi_botan.structure_features import InputKind

MESSAGE_SCALE = 10.0
"""Divides sums over neighbors, of which there are some twenty within reach; keeps values of order one."""
SKIP_SCALE = 0.3
CLIP = 6.0
"""Standardized descriptors beyond this many standard deviations are cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Shape of the network.

    Attributes:
        kind: What it reads.
        n_descriptors: Numbers that describe a particle.
        n_species: Species of the mixture.
        width: Numbers that a particle carries.
        n_layers: How often messages are sent.
        n_radial: Gaussians that a distance is expanded in.
        cutoff: Distance up to which messages are sent, sigma_AA.
        dropout: Share of hidden values that training drops.
        global_width: Numbers that the whole configuration carries; 0 for no global head.
        n_global: Numbers that describe the whole configuration.
        conditioned: Whether particles are told the temperature.
    """

    kind: InputKind
    n_descriptors: int
    n_species: int = 2
    width: int = 24
    n_layers: int = 3
    n_radial: int = 10
    cutoff: float = 2.0
    dropout: float = 0.1
    global_width: int = 0
    n_global: int = 1
    conditioned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkInput:
    """One configuration or several side by side, as tensors.

    Attributes:
        descriptors: (n, n_descriptors).
        types: Species, (n,).
        edge_index: Source and destination of each message, (2, n_edges).
        lengths: Their distances, (n_edges,), sigma_AA.
        pair_index: Pairs whose change is asked for, each once, (2, n_pairs).
        pair_lengths: Thermal and, if the network reads it, inherent distance, (n_pairs, 1 or 2).
        configuration: Numbers of each whole configuration, (n_configurations, n_global).
        membership: Which configuration a particle belongs to, (n,).
        temperature: Given temperature, (n_configurations,); read by conditioned networks only.
    """

    descriptors: torch.Tensor
    types: torch.Tensor
    edge_index: torch.Tensor
    lengths: torch.Tensor
    pair_index: torch.Tensor
    pair_lengths: torch.Tensor
    configuration: torch.Tensor
    membership: torch.Tensor
    temperature: torch.Tensor

    @property
    def n_configurations(self) -> int:
        """How many configurations stand side by side."""
        return len(self.configuration)

    def to(self, device: torch.device | str) -> Self:
        """Return the same on a device."""
        moved = {name: getattr(self, name).to(device) for name in self.__slots__}
        return replace(self, **moved)


def side_by_side(inputs: Sequence[NetworkInput]) -> NetworkInput:
    """Return several inputs as one, particles and pairs in order."""
    if len(inputs) == 1:
        return inputs[0]
    atoms = configurations = 0
    shifted = []
    for one in inputs:
        shifted.append(
            replace(
                one,
                edge_index=one.edge_index + atoms,
                pair_index=one.pair_index + atoms,
                membership=one.membership + configurations,
            )
        )
        atoms += len(one.types)
        configurations += one.n_configurations
    columns = {"edge_index", "pair_index"}
    return NetworkInput(
        **{
            name: torch.cat([getattr(one, name) for one in shifted], dim=int(name in columns))
            for name in NetworkInput.__slots__
        }
    )


class NetworkOutput(NamedTuple):
    """What the heads say.

    Attributes:
        field: Mobility of each particle up to a constant of its species and configuration, (n,), sigma_AA.
        changes: Change of each distance, (n_pairs,), sigma_AA.
        state: What the whole configuration carries at the end, (n_configurations, global_width).
        whole: Temperature, epsilon_AA / k_B, and mean mobility of each species, sigma_AA,
            (n_configurations, 1 + n_species); no columns without a global head.
    """

    field: torch.Tensor
    changes: torch.Tensor
    state: torch.Tensor
    whole: torch.Tensor


class InvariantNetwork(torch.nn.Module):
    """See the module. Buffers that training sets hold means and spreads of what goes in and comes out.

    Attributes:
        settings: Shape of the network.
    """

    center: torch.Tensor
    scale: torch.Tensor
    global_center: torch.Tensor
    global_scale: torch.Tensor
    temperature_center: torch.Tensor
    temperature_scale: torch.Tensor
    field_scale: torch.Tensor
    change_center: torch.Tensor
    change_scale: torch.Tensor
    whole_center: torch.Tensor
    whole_scale: torch.Tensor
    radii: torch.Tensor

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        w, species = settings.width, settings.n_species
        n_lengths = 2 if settings.kind == "TS+IS" else 1
        read = settings.n_descriptors + species + settings.conditioned
        shape = (species, settings.n_descriptors)
        self.register_buffer("center", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.register_buffer("global_center", torch.zeros(settings.n_global))
        self.register_buffer("global_scale", torch.ones(settings.n_global))
        self.register_buffer("temperature_center", torch.zeros(()))
        self.register_buffer("temperature_scale", torch.ones(()))
        n_kinds = species * (species + 1) // 2
        self.register_buffer("field_scale", torch.ones(species))
        self.register_buffer("change_center", torch.zeros(n_kinds))
        self.register_buffer("change_scale", torch.ones(n_kinds))
        self.register_buffer("whole_center", torch.zeros(1 + species))
        self.register_buffer("whole_scale", torch.ones(1 + species))
        radii = torch.linspace(0.7, settings.cutoff, settings.n_radial)
        self.register_buffer("radii", radii, persistent=False)
        self.linear = Linear(read, w)
        self.encoder = Sequential(Linear(read, 2 * w), SiLU(), Linear(2 * w, w))
        layers = range(settings.n_layers)
        # What an edge is made of is worked out once; each layer weighs it anew.
        self.edge = Sequential(Linear(settings.n_radial + species, w), SiLU())
        self.filters = ModuleList(Linear(w, w, bias=False) for _ in layers)
        self.senders = ModuleList(Linear(w, w, bias=False) for _ in layers)
        self.updates = ModuleList(
            Sequential(Linear(2 * w, w), SiLU(), Dropout(settings.dropout), Linear(w, w))
            for _ in layers
        )
        self.skips = ModuleList(Linear(2 * w, w, bias=False) for _ in layers)
        carried = w * (settings.n_layers + 1)
        self.mobility = Linear(carried, species)
        # A pair knows sums and squared differences of what its ends carry and of their mobility.
        self.end = Linear(carried, w)
        pair_read = 2 * w + 2 + n_lengths * settings.n_radial + n_kinds
        self.pair = Sequential(Linear(pair_read, 2 * w), SiLU(), Linear(2 * w, w), SiLU())
        self.change = Linear(w, 1)
        g = settings.global_width
        if g:
            self.collect = Sequential(
                Linear(g + species * w + settings.n_global, 2 * g), SiLU(), Linear(2 * g, g)
            )
            self.whole = Sequential(Linear(g, 2 * g), SiLU(), Linear(2 * g, 1 + species))
            self.whole_linear = Linear(settings.n_global, 1 + species)

    def forward(self, inputs: NetworkInput) -> NetworkOutput:
        """Return what all heads say about all configurations."""
        s = self.settings
        kinds = torch.nn.functional.one_hot(inputs.types, s.n_species).to(inputs.descriptors.dtype)
        known = self._read(inputs, kinds)
        h = self.linear(known) + self.encoder(known)
        source, destination = inputs.edge_index
        edges = self._edges(inputs.lengths, kinds.index_select(0, source))
        carried = [h]
        whole = (inputs.configuration - self.global_center) / self.global_scale
        state = h.new_zeros(inputs.n_configurations, s.global_width)
        for filtered, sender, update, skip in zip(
            self.filters, self.senders, self.updates, self.skips, strict=True
        ):
            messages = filtered(edges) * sender(h).index_select(0, source)
            sums = torch.zeros_like(h).index_add(0, destination, messages) / MESSAGE_SCALE
            both = torch.cat([h, sums], dim=1)
            h = h + update(both) + SKIP_SCALE * skip(both)
            carried.append(h)
            if s.global_width:
                means = self._species_means(h, kinds, inputs)
                state = state + self.collect(torch.cat([state, means, whole], dim=1))
        everything = torch.cat(carried, dim=1)
        field = (self.mobility(everything) * kinds).sum(dim=1)
        changes = self._changes(everything, field, inputs)
        if s.global_width:
            answer = self.whole_linear(whole) + self.whole(state)
            answer = self.whole_center + self.whole_scale * answer
        else:
            answer = h.new_zeros(inputs.n_configurations, 0)
        return NetworkOutput(field * self.field_scale[inputs.types], changes, state, answer)

    def _read(self, inputs: NetworkInput, kinds: torch.Tensor) -> torch.Tensor:
        standard = (inputs.descriptors - self.center[inputs.types]) / self.scale[inputs.types]
        read = [standard.clamp(-CLIP, CLIP), kinds]
        if self.settings.conditioned:
            told = (inputs.temperature - self.temperature_center) / self.temperature_scale
            read.append(told[inputs.membership, None])
        return torch.cat(read, dim=1)

    def _radial(self, lengths: torch.Tensor) -> torch.Tensor:
        width = self.radii[1] - self.radii[0]
        return torch.exp(-0.5 * ((lengths[:, None] - self.radii) / width) ** 2)

    def _edges(self, lengths: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """Return what edges are made of, zero at the cutoff, (n_edges, width)."""
        made = self.edge(torch.cat([self._radial(lengths), kinds], dim=1))
        envelope = 0.5 * (torch.cos(math.pi * lengths / self.settings.cutoff) + 1.0)
        found: torch.Tensor = made * envelope[:, None]
        return found

    def _species_means(
        self, h: torch.Tensor, kinds: torch.Tensor, inputs: NetworkInput
    ) -> torch.Tensor:
        """Return the mean over the particles of each species, (n_configurations, n_species * width)."""
        by_species = (kinds[:, :, None] * h[:, None, :]).flatten(1)
        sums = h.new_zeros(inputs.n_configurations, by_species.shape[1])
        sums = sums.index_add(0, inputs.membership, by_species)
        counts = h.new_zeros(inputs.n_configurations, self.settings.n_species)
        counts = counts.index_add(0, inputs.membership, kinds).clamp(min=1.0)
        return sums / counts.repeat_interleave(self.settings.width, dim=1)

    def _changes(
        self, everything: torch.Tensor, field: torch.Tensor, inputs: NetworkInput
    ) -> torch.Tensor:
        first, second = inputs.pair_index
        ends = self.end(everything)
        a, b = ends.index_select(0, first), ends.index_select(0, second)
        mobility_a, mobility_b = field.index_select(0, first), field.index_select(0, second)
        n = self.settings.n_species
        kind = pair_kinds(inputs.types, inputs.pair_index, n)
        columns = [
            a + b,
            (a - b) ** 2,
            (mobility_a + mobility_b)[:, None],
            (mobility_a - mobility_b)[:, None] ** 2,
            *(self._radial(length) for length in inputs.pair_lengths.unbind(dim=1)),
            torch.nn.functional.one_hot(kind, n * (n + 1) // 2).to(a.dtype),
        ]
        found = self.change(self.pair(torch.cat(columns, dim=1))).squeeze(1)
        changes: torch.Tensor = self.change_center[kind] + self.change_scale[kind] * found
        return changes


def pair_kinds(types: torch.Tensor, pair_index: torch.Tensor, n_species: int) -> torch.Tensor:
    """Return a number for the species of each pair, (n_pairs,): AA, AB, ..., BB, ..."""
    ends = types[pair_index]
    low, high = ends.amin(dim=0), ends.amax(dim=0)
    return low * n_species - low * (low - 1) // 2 + high - low
