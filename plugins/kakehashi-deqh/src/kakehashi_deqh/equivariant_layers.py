"""Layers on features that turn with a molecule: the same number of channels of every kind up to l = 4.

Features are (N_COMPONENTS, n, n_channels): components of all kinds one after the other, those of a vector in
the order y, z, x. Products of many small matrices become few large ones that way.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from e3nn import o3

if TYPE_CHECKING:
    from kakehashi_deqh.coupling_kernel import NonzeroCouplings

KINDS = o3.Irreps("0e+1o+2e+3o+4e+1e+2o+3e")
"""What blocks between s, p and d shells are made of."""
N_KINDS = len(KINDS)
N_COMPONENTS = KINDS.dim
FEW_COLUMNS = 256
"""So many are multiplied by all coefficients on CPUs too, without the kernel for those that are not zero."""


def kind_of_component() -> torch.Tensor:
    """Return the kind that each component belongs to, (N_COMPONENTS,)."""
    return torch.repeat_interleave(torch.arange(N_KINDS), torch.tensor([ir.dim for _, ir in KINDS]))


class Mixing(torch.nn.Module):
    """Linear combinations of channels, other ones for every kind; scalars get a bias.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        scale: Standard deviation of the outputs at the start, relative to that of the inputs.
    """

    _kinds: torch.Tensor

    def __init__(self, n_in: int, n_out: int, scale: float = 1.0) -> None:
        super().__init__()
        weight = torch.randn(N_KINDS, n_in, n_out) * (scale / n_in**0.5)
        self.weight = torch.nn.Parameter(weight)
        self.bias = torch.nn.Parameter(torch.zeros(n_out))
        self.register_buffer("_kinds", kind_of_component(), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (N_COMPONENTS, n, n_out) of (N_COMPONENTS, n, n_in)."""
        mixed = torch.bmm(features, self.weight[self._kinds])
        return torch.cat([mixed[:1] + self.bias, mixed[1:]])


class Couplings:
    """Numbers C in out_k = sum_ij C_kij left_i right_j, and in the derivatives of that.

    Args:
        numbers: (N_COMPONENTS, N_COMPONENTS, N_COMPONENTS).
    """

    def __init__(self, numbers: torch.Tensor) -> None:
        self.numbers = numbers
        self.matrix = numbers.reshape(len(numbers), -1)
        self._others: dict[tuple[int, int, int], Couplings] = {}

    @cached_property
    def nonzero(self) -> NonzeroCouplings:
        """Those that are not zero, for CPUs."""
        from kakehashi_deqh.coupling_kernel import NonzeroCouplings

        return NonzeroCouplings.of(self.numbers.numpy())

    @staticmethod
    @cache
    def standard(dtype: torch.dtype, device: torch.device) -> Couplings:
        """Return Clebsch-Gordan coefficients."""
        return Couplings(_coupling_table().to(dtype=dtype, device=device))

    def permuted(self, order: tuple[int, int, int]) -> Couplings:
        """Return the same numbers with other roles of the factors."""
        if order not in self._others:
            self._others[order] = Couplings(self.numbers.permute(order).contiguous())
        return self._others[order]


class _Coupled(torch.autograd.Function):
    """The product and its derivatives, which are products again.

    Automatic differentiation would add up outer products, which takes longer than all matrix products.
    """

    @staticmethod
    def forward(
        ctx: Any, left: torch.Tensor, right: torch.Tensor, table: Couplings
    ) -> torch.Tensor:
        ctx.save_for_backward(left, right)
        ctx.table = table
        return _product(left, right, table)

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        left, right = ctx.saved_tensors
        by_left = by_right = None
        if ctx.needs_input_grad[0]:
            by_left = coupled(gradient, right, ctx.table.permuted((1, 0, 2)))
        if ctx.needs_input_grad[1]:
            by_right = coupled(gradient, left, ctx.table.permuted((2, 0, 1)))
        return by_left, by_right, None


class Gate(torch.nn.Module):
    """A nonlinearity: scalars and lengths decide how much of every channel passes.

    Args:
        n_channels: Channels.
    """

    _kinds: torch.Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.network = torch.nn.Sequential(
            torch.nn.Linear(N_KINDS * n_channels, 2 * n_channels),
            torch.nn.SiLU(),
            torch.nn.Linear(2 * n_channels, N_KINDS * n_channels),
        )
        self.register_buffer("_kinds", kind_of_component(), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        _, n, channels = features.shape
        found = self.network(invariants(features)).reshape(n, N_KINDS, channels)
        gates = torch.sigmoid(found[:, 1:]).permute(1, 0, 2)
        higher = features[1:] * gates[self._kinds[1:] - 1]
        scalar = features[0] + torch.nn.functional.silu(found[:, 0])
        return torch.cat([scalar[None], higher])


def invariants(features: torch.Tensor) -> torch.Tensor:
    """Return scalars, and lengths of everything else, (n, N_KINDS * n_channels)."""
    parts = torch.split(features, [ir.dim for _, ir in KINDS])
    lengths = [(part.square().sum(dim=0) + 1e-6).sqrt() for part in parts[1:]]
    return torch.cat([parts[0][0], *lengths], dim=1)


def bounded(features: torch.Tensor, largest: float) -> torch.Tensor:
    """Shorten what is long: no kind of any channel is longer than ``largest``."""
    kept = []
    for part in torch.split(features, [ir.dim for _, ir in KINDS]):
        length = (part.square().sum(dim=0, keepdim=True) / len(part) + 1e-12).sqrt()
        kept.append(part * (largest * torch.tanh(length / largest) / length))
    return torch.cat(kept)


def harmonics(vectors: torch.Tensor) -> torch.Tensor:
    """Return spherical harmonics of the directions of vectors, (N_COMPONENTS, n), zero for pseudo-tensors.

    Args:
        vectors: (n, 3), components in the order y, z, x.
    """
    # e3nn's l = 1 is (x, y, z) of its axes, which ours are called y, z, x.
    found = o3.spherical_harmonics([0, 1, 2, 3, 4], vectors, True, "component").T
    rest = torch.zeros(N_COMPONENTS - len(found), len(vectors)).to(found)
    return torch.cat([found, rest])


def coupled(left: torch.Tensor, right: torch.Tensor, table: Couplings) -> torch.Tensor:
    """Return sum_ij C_kij left_i right_j, (N_COMPONENTS, n), for factors of that shape."""
    found: torch.Tensor = cast("Any", _Coupled).apply(left, right, table)
    return found


def _product(left: torch.Tensor, right: torch.Tensor, table: Couplings) -> torch.Tensor:
    n = left.shape[1]
    if left.device.type != "cpu" or n <= FEW_COLUMNS:
        return table.matrix @ (left[:, None] * right[None]).reshape(-1, n)
    a, b = (x.detach().contiguous().numpy() for x in (left, right))
    return torch.from_numpy(table.nonzero.product(a, b, torch.get_num_threads()))


@cache
def _coupling_table() -> torch.Tensor:
    """Return coefficients C_kij that make outputs of unit size of inputs of unit size."""
    table = torch.zeros(N_COMPONENTS, N_COMPONENTS, N_COMPONENTS, dtype=torch.float64)
    slices = KINDS.slices()
    for c, (_, out) in enumerate(KINDS):
        paths = [
            (a, b)
            for a, (_, left) in enumerate(KINDS)
            for b, (_, right) in enumerate(KINDS)
            if out in left * right
        ]
        for a, b in paths:
            left, right = KINDS[a].ir, KINDS[b].ir
            coupling = o3.wigner_3j(left.l, right.l, out.l, dtype=torch.float64)
            table[slices[c], slices[a], slices[b]] = coupling.permute(2, 0, 1) * (
                out.dim**0.5 / len(paths) ** 0.5
            )
    return table
