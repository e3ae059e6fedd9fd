"""The equivariant Transformer of Nagai and Tomiya: attention between averages of spins.

Layers turn spins into effective spins; a linear model reads those. Vectors are combined with scalars only, so
that effective spins turn with the spins, and weights are tied to shells of distance, so that all lattice
symmetries are exact.

    X_i = sum_n w^X_n (A_n S)_i  for X = Q, K, V and n = 0 ... n_shells - 1,  A_0 the identity
    a_ij = relu(Q_i . K_j / sqrt(3))
    S'_i = N(S_i + sum_j a_ij V_j),  N(v) = v / |v|
    log W_eff = c_0 + sum_n c_n F_n(S^(L))

Source:
    Y. Nagai, A. Tomiya, J. Phys. Soc. Jpn. 93, 114007 (2024); normalization, scores and shells as above are
    an own choice, since the paper does not fix them in what is public.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.random_streams import torch_generator
from kakehashi_slmc.distance_shells import DistanceShells

FloatArray = npt.NDArray[np.float64]

SMALLEST_LENGTH = 1e-12
"""Keeps the normalization of a vector that happens to vanish finite."""
NOISE = 0.1
GROWN = 0.02
"""Size of a layer that is added to a trained network: nearly the identity, with a gradient."""
FIRST_VALUE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSettings:
    """Shape of the network.

    Attributes:
        n_layers: Layers of attention; 0 is the linear model.
        n_shells: Terms of the averages in queries, keys and values, the site itself among them.
        n_head: Shells of the linear model that reads the effective spins.
    """

    n_layers: int = 1
    n_shells: int = 4
    n_head: int = 9

    @property
    def n_parameters(self) -> int:
        """Trainable numbers."""
        return 3 * self.n_layers * self.n_shells + self.n_head + 1


class EquivariantAttention(torch.nn.Module):
    """The network, float64. Spins are tensors (n_chains, n_sites, 3).

    Args:
        shells: Classes of pairs.
        settings: Shape.
        seed: Of the first weights; at zero values the network is the linear model.
    """

    averages: torch.Tensor
    head_shells: torch.Tensor

    def __init__(self, shells: DistanceShells, settings: AttentionSettings, *, seed: int) -> None:
        super().__init__()
        self.settings = settings
        adjacency = [shells.adjacency(n) for n in range(settings.n_shells)]
        self.register_buffer("averages", torch.tensor(np.array(adjacency)), persistent=False)
        heads = shells.adjacencies(settings.n_head)
        self.register_buffer("head_shells", torch.tensor(heads), persistent=False)
        self.layers = torch.nn.Parameter(
            torch.zeros(settings.n_layers, 3, settings.n_shells, dtype=torch.float64)
        )
        self.coefficients = torch.nn.Parameter(torch.zeros(settings.n_head, dtype=torch.float64))
        self.constant = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
        with torch.no_grad():
            for layer in self.layers:
                layer.copy_(_first_weights(settings.n_shells, torch_generator(seed)))

    def effective_spins(self, spins: torch.Tensor) -> torch.Tensor:
        """Return the spins that the linear model reads, (n_chains, n_sites, 3)."""
        every = torch.einsum("lxn,nij->lxij", self.layers, self.averages)
        for mixed in every.flatten(1, 2):
            query, key, value = torch.matmul(mixed, spins).chunk(3, dim=1)
            scores = torch.relu(query @ key.transpose(1, 2) / math.sqrt(3.0))
            turned = spins + scores @ value
            length = turned.norm(dim=-1, keepdim=True).clamp(min=SMALLEST_LENGTH)
            spins = turned / length
        return spins

    def features(self, spins: torch.Tensor) -> torch.Tensor:
        """Return F_1 ... F_n of the effective spins, (n_chains, n_head)."""
        effective = self.effective_spins(spins)
        products = effective @ effective.transpose(1, 2)
        return torch.einsum("nij,bij->bn", self.head_shells, products)

    def forward(self, spins: torch.Tensor) -> torch.Tensor:
        """Return log W_eff of each chain, (n_chains,)."""
        found: torch.Tensor = self.constant + self.features(spins) @ self.coefficients
        return found

    def fit_head(self, spins: torch.Tensor, log_weights: torch.Tensor) -> None:
        """Set the linear model by least squares, with the layers as they are."""
        with torch.no_grad():
            features = self.features(spins)
            design = torch.cat([torch.ones_like(features[:, :1]), features], dim=1)
            found = torch.linalg.lstsq(design, log_weights[:, None], driver="gelsd").solution[:, 0]
            self.constant.copy_(found[0])
            self.coefficients.copy_(found[1:])

    def grown(self, shells: DistanceShells, *, seed: int) -> EquivariantAttention:
        """Return a network with one more layer, which does next to nothing yet."""
        settings = AttentionSettings(
            n_layers=self.settings.n_layers + 1,
            n_shells=self.settings.n_shells,
            n_head=self.settings.n_head,
        )
        larger = EquivariantAttention(shells, settings, seed=seed)
        with torch.no_grad():
            larger.layers[:-1] = self.layers
            larger.layers[-1] *= GROWN
            larger.coefficients.copy_(self.coefficients)
            larger.constant.copy_(self.constant)
        return larger

    def arrays(self) -> dict[str, FloatArray]:
        """Return the weights as NumPy arrays; their shapes are the settings."""
        return {name: p.detach().numpy().copy() for name, p in self.named_parameters()}

    @classmethod
    def from_arrays(
        cls, shells: DistanceShells, arrays: Mapping[str, FloatArray]
    ) -> EquivariantAttention:
        """Return the network with these weights."""
        n_layers, _, n_shells = np.shape(arrays["layers"])
        settings = AttentionSettings(
            n_layers=n_layers, n_shells=n_shells, n_head=len(arrays["coefficients"])
        )
        network = cls(shells, settings, seed=0)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(torch.as_tensor(np.asarray(arrays[name])))
        return network

    def log_weight(self, spins: FloatArray) -> FloatArray:
        """Return log W_eff from and to NumPy, (n_chains,)."""
        with torch.no_grad():
            return np.asarray(self(torch.as_tensor(spins)).numpy())

    def value_and_gradient(self, spins: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log W_eff, (n_chains,), and its derivative by S, (n_chains, n_sites, 3), as NumPy arrays."""
        leaf = torch.tensor(spins, requires_grad=True)
        value = self(leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach().numpy(), gradient.numpy()


def _first_weights(n_shells: int, generator: torch.Generator) -> torch.Tensor:
    """Return queries and keys near (1, 0, ...), values (0.05, 0, ...), (3, n_shells)."""
    weights = torch.zeros(3, n_shells, dtype=torch.float64)
    weights[:2, 0] = 1.0
    noise = torch.randn(2, n_shells, generator=generator, dtype=torch.float64)
    weights[:2] += NOISE * noise
    weights[2, 0] = FIRST_VALUE
    return weights
