"""The four-layer form of Nagai, Akashi and Sugino, for all rungs and with smooth activations as a variant.

    E_xc = - int n^(4/3) phi y(x) dr,     x = ln(descriptors)

with y >= 0 the output of a network with three hidden layers. Exchange and correlation are not separated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import torch

from kakehashi_core.contracts import XCFamily
from kakehashi_core.devices import resolve_device
from kakehashi_core.gaussian_kernels import GaussianKernel
from kakehashi_nnxc.descriptors import DESCRIPTORS, log_descriptors

if TYPE_CHECKING:
    from kakehashi_core.model_card import ModelCard

N_HIDDEN = 100

CONVOLUTION_LENGTH = 0.2
"""Decay length of the kernel of R, bohr."""

Activation = Literal["elu", "silu"]

_ACTIVATIONS: dict[
    str, tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]
] = {
    # Hidden layers, output layer. "elu" is the published choice; its second derivative jumps at zero, so
    # "silu" has an infinitely differentiable pair with the same asymptotes.
    "elu": (torch.nn.functional.elu, lambda h: torch.nn.functional.elu(h) + 1.0),
    "silu": (torch.nn.functional.silu, torch.nn.functional.softplus),
}


def activations(
    name: str,
) -> tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]:
    """Return the activation of the hidden layers and that of the output layer."""
    return _ACTIVATIONS[name]


def parameter_shapes(family: XCFamily, n_hidden: int = N_HIDDEN) -> dict[str, tuple[int, ...]]:
    """Return name to shape of the eight tensors of a rung."""
    widths = [len(DESCRIPTORS[family]), n_hidden, n_hidden, n_hidden, 1]
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(1, 5):
        shapes[f"fc{layer}.weight"] = (widths[layer], widths[layer - 1])
        shapes[f"fc{layer}.bias"] = (widths[layer],)
    return shapes


def network(
    parameters: Mapping[str, torch.Tensor], inputs: torch.Tensor, activation: str
) -> torch.Tensor:
    """Evaluate y for (n_points, n_descriptors) logarithms; returns (n_points,), dimensionless."""
    hidden, output = _ACTIVATIONS[activation]
    x = inputs
    for layer in range(1, 4):
        x = hidden(
            torch.nn.functional.linear(
                x, parameters[f"fc{layer}.weight"], parameters[f"fc{layer}.bias"]
            )
        )
    return output(
        torch.nn.functional.linear(x, parameters["fc4.weight"], parameters["fc4.bias"])
    ).squeeze(-1)


class FourLayerFunctional:
    """A functional of the four-layer form, satisfying ``kakehashi_core.contracts.XCFunctional``.

    Args:
        name: Name under which hosts ask for it.
        family: Rung; decides which descriptors are read.
        parameters: Tensors with the names and shapes of ``parameter_shapes``; up-cast to float64.
        activation: "elu" (published) or "silu" (smooth).
        card: Model card of the weights.
        sha256: Digest of the weight file.
        device: Where hosts evaluate it, "cpu", "cuda[:i]" or "auto".

    The family NONLOCAL has the further attribute ``convolution``, the kernel exp(-r / 0.2 bohr) of R.
    """

    hybrid = 0.0
    max_deriv = 2
    convolution: GaussianKernel

    def __init__(
        self,
        *,
        name: str,
        family: XCFamily,
        parameters: Mapping[str, torch.Tensor],
        activation: Activation = "elu",
        card: ModelCard | None = None,
        sha256: str = "",
        device: str = "cpu",
    ) -> None:
        self.name = name
        self.device = str(resolve_device(device))
        self.family: XCFamily = family
        if family == "NONLOCAL":
            self.convolution = GaussianKernel.exponential(CONVOLUTION_LENGTH)
        self.activation: Activation = activation
        self.card = card
        self.sha256 = sha256
        self._parameters = {
            key: tensor.detach().to(self.device, torch.float64)
            for key, tensor in parameters.items()
        }

    def __repr__(self) -> str:
        return f"FourLayerFunctional({self.name!r}, {self.family}, {self.activation})"

    def energy_density(self, variables: torch.Tensor, spin: Literal[0, 1]) -> torch.Tensor:
        """Return the energy per volume (n_points,), hartree bohr^-3; see the contract for the rows."""
        inputs, prefactor = log_descriptors(
            variables, spin, self.family, smooth=self.activation == "silu"
        )
        # No copies where they are there already.
        parameters = {key: tensor.to(variables.device) for key, tensor in self._parameters.items()}
        return -prefactor * network(parameters, inputs, self.activation)
